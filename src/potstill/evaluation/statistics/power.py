"""How many test rows a decision needs: before anything is spent, from assumptions; after training, from validation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .intervals import constrained_better, shrunk_effect, tango_score
from .special import beta_cdf, normal_ppf

POWER = 0.8
ASSUMED = (0.05, 0.10, 0.20)  # shares of rows on which teacher and student differ in being right
LEAST = 1e-4  # a discordance of none at all is taken for this
EXACT_UP_TO = 20_000  # rows; above, the normal approximation is as good
REACH = 7.0  # standard deviations of a count that the exact sum covers


def rows_needed(*, discordance: float, drop: float, max_drop: float, alpha: float, design_effect: float = 1.0, group_size: float = 1.0) -> int | None:
    """Return the rows with which a student of that ``drop`` passes in 80 % of draws; None where the drop is no smaller than allowed.

    ``discordance``: share of rows on which just one side is right. ``group_size``: of the group that a row stands in, on average
    (:func:`intervals.group_size`). Exact for Tango's bound, summed over all tables that matter; groups by their design effect.
    """
    if max_drop - drop <= 0:
        return None
    discordance = max(discordance, abs(drop), LEAST)
    worse, better = (discordance + drop) / 2, (discordance - drop) / 2
    start = _normal_rows(worse, better, max_drop, alpha)
    rows: float = _least(lambda n: tango_power(n, worse, better, max_drop, alpha), start) if start <= EXACT_UP_TO else start
    return math.ceil(_in_groups(rows, discordance, alpha, design_effect, group_size))


def _in_groups(rows: float, discordance: float, alpha: float, design_effect: float, group_size: float) -> float:
    """Return the rows in groups that are worth ``rows`` rows by themselves: by the effect that ``grouped_difference`` will use."""
    if group_size <= 1:
        return rows * design_effect
    total, unseen = rows * design_effect, normal_ppf(1 - alpha) ** 2
    for _ in range(100):  # a contraction: more rows, less doubt about the effect
        total = rows * shrunk_effect(design_effect, group_size, total * discordance, unseen)
    return total


def _normal_rows(worse: float, better: float, max_drop: float, alpha: float) -> float:
    """The normal approximation: the critical value stands on the variance at the margin, the power on that at the expected drop."""
    drop = worse - better
    at_margin = 2 * float(constrained_better(np.array(worse), np.array(better), 1.0, max_drop)) + max_drop * (1 - max_drop)
    at_drop = max(worse + better - drop**2, 0.0)
    return max(1.0, ((normal_ppf(1 - alpha) * math.sqrt(at_margin) + normal_ppf(POWER) * math.sqrt(at_drop)) / (max_drop - drop)) ** 2)


def tango_power(n: int, worse: float, better: float, max_drop: float, alpha: float) -> float:
    """Return how often Tango's upper bound is at most ``max_drop``, given the true shares ``worse`` and ``better``.

    The sum over the tables of the trinomial distribution within ``REACH`` standard deviations.
    """
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    one, other = _likely(n, worse)[:, None], _likely(n, better)[None, :]
    rest = n - one - other
    known = rest >= 0
    rest = np.maximum(rest, 0)
    log_p = log_factorial[n] - log_factorial[one] - log_factorial[other] - log_factorial[rest]
    log_p = log_p + _times_log(one, worse) + _times_log(other, better) + _times_log(rest, max(0.0, 1 - worse - better))
    passes = tango_score(one.astype(float), other.astype(float), float(n), max_drop) <= -normal_ppf(1 - alpha)
    return float(np.exp(log_p, where=known & passes, out=np.zeros(log_p.shape)).sum())


def _likely(n: int, share: float) -> np.ndarray:
    """Return the counts that a binomial is likely to give, as integers."""
    reach = REACH * math.sqrt(n * share) + REACH
    return np.arange(max(0, math.floor(n * share - reach)), min(n, math.ceil(n * share + reach)) + 1)


def _times_log(count: np.ndarray, share: float) -> np.ndarray:
    return np.asarray(count * math.log(share)) if share > 0 else np.where(count == 0, 0.0, -np.inf)


def rows_needed_share(*, share: float, most: float, alpha: float, design_effect: float = 1.0) -> int | None:
    """Return the rows with which a true ``share`` (of disagreement) is shown to be at most ``most`` in 80 % of draws by the exact
    binomial bound; None where it is no smaller."""
    if share >= most:
        return None
    share = max(share, LEAST)
    z = normal_ppf(1 - alpha) * math.sqrt(most * (1 - most)) + normal_ppf(POWER) * math.sqrt(share * (1 - share))
    return math.ceil(_least(lambda n: _share_power(n, share, most, alpha), max(1.0, (z / (most - share)) ** 2)) * design_effect)


def _share_power(n: int, share: float, most: float, alpha: float) -> float:
    """Return how often the exact bound of a share is at most ``most``: hits up to the largest k with P(hits <= k | most) <= alpha."""
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if 1 - beta_cdf(most, middle + 1, n - middle) <= alpha else (low, middle)
    return 0.0 if low < 0 else 1 - beta_cdf(share, low + 1, n - low)


def rows_needed_mean(*, variance: float, gap: float, alpha: float, jump: float = 0.0, design_effect: float = 1.0) -> int | None:
    """Return the rows with which a mean that is ``gap`` better than allowed is shown to be, in 80 % of draws; None without a gap.

    ``variance``: of one row's part in the quantity; ``jump``: how far a row that goes wrong moves its part. At the margin more rows are
    wrong and the spread is larger; a second-order bound such as BCa knows it, as Tango's does: with shares of 0 and 1 the variance there
    is about sqrt(discordance^2 + gap^2). Checked by simulation.
    """
    if gap <= 0:
        return None
    at_margin = math.hypot(variance, gap * jump)
    z = normal_ppf(1 - alpha) * math.sqrt(at_margin) + normal_ppf(POWER) * math.sqrt(variance)
    return math.ceil((z / gap) ** 2 * design_effect)


def rows_needed_assumed(max_drop: float, alpha: float) -> dict[str, int | None]:
    """Return the rows needed at a drop of 0 for assumed discordances of 5, 10 and 20 %."""
    return {f"{share:.0%}": rows_needed(discordance=share, drop=0.0, max_drop=max_drop, alpha=alpha) for share in ASSUMED}


def _least(power: Callable[[int], float], start: float) -> int:
    """Return the least rows with that power, near ``start``. Power is a saw: it must hold a little further on as well."""
    low, high = 1, max(2, math.ceil(start))
    while power(high) < POWER:
        low, high = high, math.ceil(high * 1.25) + 1
    low = max(low, high // 3)
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    step = max(1, high // 200)
    while min(power(high + k * step) for k in range(4)) < POWER:
        high += step
    return high
