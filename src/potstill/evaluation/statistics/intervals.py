"""Intervals in closed form: paired proportions, clusters, one proportion, quantiles."""

from __future__ import annotations

import math

import numpy as np

from .special import beta_ppf, bisect, normal_ppf, t_ppf

MIN_GROUPS = 30  # under so many, the cluster-robust bound is too optimistic to decide by


def tango(worse: int, better: int, n: int, alpha: float) -> tuple[float, float]:
    """Return the score interval of a difference of paired proportions, each bound one-sided at ``alpha``.

    ``worse``: rows that only the first (teacher) has right, ``better``: only the second (student). The difference is
    (worse - better) / n: the drop. Source: Tango 1998, Statistics in Medicine 17:891-908, eq. 5-8.
    """
    z = normal_ppf(1 - alpha)
    drop = (worse - better) / n
    low = -1.0 if drop <= -1 else bisect(lambda d: -_score(worse, better, n, d), -z, -1.0, drop)
    high = 1.0 if drop >= 1 else bisect(lambda d: -_score(worse, better, n, d), z, drop, 1.0)
    return low, high


def _score(worse: int, better: int, n: int, delta: float) -> float:
    """Return Tango's score statistic of the hypothesis that the drop is ``delta``; it falls as ``delta`` rises."""
    a = 2 * n
    b = -worse - better + (2 * n - worse + better) * delta
    c = -better * delta * (1 - delta)
    q = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)  # the likeliest share of "better" under the hypothesis
    variance = n * (2 * q + delta * (1 - delta))
    top = worse - better - n * delta
    if variance <= 0:
        return 0.0 if top == 0 else math.copysign(math.inf, top)
    return top / math.sqrt(variance)


def cluster_t(differences: np.ndarray, groups: np.ndarray, alpha: float) -> tuple[float, float]:
    """Return the cluster-robust t interval of the mean of ``differences``, each bound one-sided at ``alpha``.

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


def clopper_pearson(hits: int, n: int, alpha: float) -> tuple[float, float]:
    """Return the exact interval of a proportion, each bound one-sided at ``alpha`` (Clopper & Pearson 1934)."""
    low = 0.0 if hits == 0 else beta_ppf(alpha, hits, n - hits + 1)
    high = 1.0 if hits == n else beta_ppf(1 - alpha, hits + 1, n - hits)
    return low, high


def design_effect(differences: np.ndarray, groups: np.ndarray | None) -> float:
    """Return how many times the rows' own variance the groups give: 1 where rows are independent, never less."""
    if groups is None:
        return 1.0
    centered = differences - differences.mean()
    alone = float((centered**2).sum())
    if alone == 0:
        return 1.0
    return max(1.0, float((np.bincount(groups, weights=centered) ** 2).sum()) / alone)
