"""Intervals in closed form: paired proportions, clusters, one proportion. All are one-sided at ``alpha`` in each bound."""

from __future__ import annotations

import math

import numpy as np

from .special import beta_ppf, bisect, normal_ppf, t_ppf

MIN_GROUPS = 30  # under so many, the cluster-robust bound is too optimistic to decide by
STEPS = 45  # halvings: a bound is exact to 2 / 2**45


# ------------------------------------------------------------------------------------------------------ paired proportions
def tango(worse: float, better: float, n: float, alpha: float) -> tuple[float, float]:
    """Return the score interval of a difference of paired proportions, each bound one-sided at ``alpha``.

    ``worse``: rows that only the first (teacher) has right, ``better``: only the second (student). The difference is
    (worse - better) / n: the drop. Counts may be fractions: rows by their worth. Source: Tango 1998, Statistics in Medicine 17:891-908, eq. 5-8.
    """
    z, drop = normal_ppf(1 - alpha), (worse - better) / n
    low = -1.0 if drop <= -1 else bisect(lambda d: -_score(worse, better, n, d), -z, -1.0, drop, STEPS)
    high = 1.0 if drop >= 1 else bisect(lambda d: -_score(worse, better, n, d), z, drop, 1.0, STEPS)
    return low, high


def _score(worse: float, better: float, n: float, delta: float) -> float:
    """:func:`tango_score` of numbers, fifty times as fast; a test holds the two together."""
    b = -worse - better + (2 * n - worse + better) * delta
    c = -better * delta * (1 - delta)
    root = math.sqrt(max(0.0, b * b - 8 * n * c))
    q = (root - b) / (4 * n) if b <= 0 else -2 * c / (b + root)
    spread, top = 2 * n * q + n * delta * (1 - delta), worse - better - n * delta
    return top / math.sqrt(spread) if spread > 0 else 0.0 if top == 0 else math.copysign(math.inf, top)


def tango_bounds(worse: np.ndarray, better: np.ndarray, n: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Return :func:`tango` for arrays of counts, *Shapes:* any that broadcast."""
    drop = (worse - better) / n
    # Both bounds at once: the lower one lies between -1 and the drop, the upper one between the drop and 1.
    z = normal_ppf(1 - alpha) * np.array([1.0, -1.0]).reshape(2, *[1] * drop.ndim)
    low, high = np.stack([np.full_like(drop, -1.0), drop]), np.stack([drop, np.ones_like(drop)])
    for _ in range(STEPS):
        middle = (low + high) / 2
        above = tango_score(worse, better, n, middle) > z  # the score falls as the drop that it is asked about rises
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    least, most = (low + high) / 2
    return np.where(drop <= -1, -1.0, least), np.where(drop >= 1, 1.0, most)


def tango_score(worse: np.ndarray, better: np.ndarray, n: np.ndarray | float, delta: np.ndarray | float) -> np.ndarray:
    """Return Tango's score statistic of the hypothesis that the drop is ``delta``; it falls as ``delta`` rises.

    The upper bound is at most ``delta`` exactly where this is at most -z: the test and the interval are one.
    """
    spread = 2 * n * constrained_better(worse, better, n, delta) + n * delta * (1 - delta)
    top = worse - better - n * delta
    safe = np.sqrt(np.where(spread > 0, spread, 1.0))
    return np.asarray(np.where(spread > 0, top / safe, np.where(top == 0, 0.0, np.copysign(np.inf, top))))


def constrained_better(worse: np.ndarray, better: np.ndarray, n: np.ndarray | float, delta: np.ndarray | float) -> np.ndarray:
    """Return the likeliest share of rows that only the student has right, were the drop ``delta`` (Tango 1998, eq. 7)."""
    a = 2 * n
    b = -worse - better + (2 * n - worse + better) * delta
    c = -better * delta * (1 - delta)
    root = np.sqrt(np.maximum(0.0, b * b - 4 * a * c))
    # The root by the form that does not subtract two near numbers.
    return np.asarray(np.where(b > 0, -2 * c / np.where(b + root > 0, b + root, 1.0), (root - b) / (2 * a)))


# --------------------------------------------------------------------------------------------------------- one proportion
def clopper_pearson(hits: float, n: float, alpha: float) -> tuple[float, float]:
    """Return the exact interval of a proportion, each bound one-sided at ``alpha`` (Clopper & Pearson 1934). Counts may be fractions."""
    low = 0.0 if hits <= 0 else beta_ppf(alpha, hits, n - hits + 1)
    high = 1.0 if hits >= n else beta_ppf(1 - alpha, hits + 1, n - hits)
    return low, high


# ---------------------------------------------------------------------------------------------------------------- clusters
def cluster_t(differences: np.ndarray, groups: np.ndarray, alpha: float) -> tuple[float, float]:
    """Return the cluster-robust t interval of the mean of ``differences``, each bound one-sided at ``alpha``; infinite for one group.

    *Shape:* ``differences`` (rows,), ``groups`` integers (rows,). The mean is over rows; its variance is that of the groups' summed
    residuals with groups - 1 degrees of freedom (Liang & Zeger 1986; Cameron & Miller 2015, section II.C).
    """
    n = len(differences)
    mean = float(differences.mean())
    sums = np.bincount(groups, weights=differences - mean)
    sums = sums[np.bincount(groups) > 0]
    count = len(sums)
    if count < 2:
        return -math.inf, math.inf
    error = math.sqrt(count / (count - 1) * float((sums**2).sum())) / n
    reach = t_ppf(1 - alpha, count - 1) * error
    return mean - reach, mean + reach


def grouped_difference(worse: np.ndarray, better: np.ndarray, groups: np.ndarray, alpha: float) -> tuple[float, float]:
    """Return the interval of a paired difference of proportions in groups: the wider of two, so that few mistakes prove nothing.

    The cluster-robust t bound takes its spread from the mistakes that it sees: with none in 30 groups it is 0 +- 0, and a student
    that is wrong on one group in fifty would be shipped in more than half of all draws. So Tango's interval stands beside it, on the
    rows' worth, n / design effect. Measured at the edge in ``benchmarks/simulate_verdict.py``.
    """
    differences = worse.astype(float) - better
    low, high = cluster_t(differences, groups, alpha)
    effect = cautious_effect(differences, groups, alpha)
    least, most = tango(float(worse.sum()) / effect, float(better.sum()) / effect, len(groups) / effect, alpha)
    return max(-1.0, min(low, least)), min(1.0, max(high, most))


def grouped_share(hits: np.ndarray, groups: np.ndarray, alpha: float) -> tuple[float, float]:
    """Return the interval of a share in groups: the wider of the cluster-robust one and the exact one on the rows' worth.

    Source of the second: Korn & Graubard 1998, Survey Methodology 24:193-201.
    """
    low, high = cluster_t(hits.astype(float), groups, alpha)
    effect = cautious_effect(hits.astype(float), groups, alpha)
    least, most = clopper_pearson(float(hits.sum()) / effect, len(groups) / effect, alpha)
    return max(0.0, min(low, least)), min(1.0, max(high, most))


def design_effect(differences: np.ndarray, groups: np.ndarray | None) -> float:
    """Return how many times the rows' own variance the groups give: 1 where rows are independent, never less."""
    if groups is None:
        return 1.0
    centered = differences - differences.mean()
    alone = float((centered**2).sum())
    if alone == 0:
        return 1.0
    return max(1.0, float((np.bincount(groups, weights=centered) ** 2).sum()) / alone)


def group_size(groups: np.ndarray | None) -> float:
    """Return the size of the group that a row stands in, on average: the design effect where a group is right or wrong as one."""
    if groups is None or len(groups) == 0:
        return 1.0
    sizes = np.bincount(groups).astype(float)
    return float((sizes**2).sum() / sizes.sum())


def cautious_effect(differences: np.ndarray, groups: np.ndarray, alpha: float) -> float:
    """Return the design effect, drawn towards that of groups which are wrong as one by as much as few mistakes leave open.

    As if z^2 more mistakes had been seen (what a score bound allows for where none was), in groups that are wrong as one.
    """
    seen, unseen = float(np.abs(differences).sum()), normal_ppf(1 - alpha) ** 2
    return shrunk_effect(design_effect(differences, groups), group_size(groups), seen, unseen)


def shrunk_effect(effect: float, whole: float, seen: float, unseen: float) -> float:
    """Return the mean of ``effect`` and ``whole`` by the mistakes ``seen`` and ``unseen``; at least 1."""
    return max(1.0, (seen * effect + unseen * whole) / (seen + unseen))
