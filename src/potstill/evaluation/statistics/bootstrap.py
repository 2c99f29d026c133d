"""The paired bootstrap over sufficient statistics: one resampling serves every metric; and the jackknife for groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ... import rng
from .special import normal_cdf, normal_ppf, t_ppf

DRAWS, MOST_DRAWS = 2_000, 10_000
BEYOND = 50  # draws that should lie beyond a bound, so that it does not hang on few of them
CELLS = 2_000_000  # weights held at a time: draws x units
Value = Callable[[np.ndarray, np.ndarray], np.ndarray]  # summed statistics of both sides (..., s) -> the quantity (...)


@dataclass(frozen=True)
class Paired:
    """Per-unit statistics of both sides on the same rows, summed within groups where there are groups. *Shape:* (units, s) each."""

    first: np.ndarray
    second: np.ndarray

    @staticmethod
    def of(first: np.ndarray, second: np.ndarray, groups: np.ndarray | None) -> Paired:
        return Paired(by_group(first, groups), by_group(second, groups))

    def value(self, value: Value) -> float:
        return float(value(self.first.sum(axis=0), self.second.sum(axis=0)))

    def without_each(self, value: Value) -> np.ndarray:
        """Return the quantity with each unit left out in turn. *Shape:* (units,)."""
        return value(self.first.sum(axis=0) - self.first, self.second.sum(axis=0) - self.second)


def by_group(statistics: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return statistics summed within groups, *Shape:* (groups that have rows, s); as they are where there are no groups."""
    if groups is None:
        return statistics
    out = np.zeros((int(groups.max()) + 1, statistics.shape[1]))
    np.add.at(out, groups, statistics)
    return out[np.bincount(groups) > 0]


def bca(sides: Paired, value: Value, alpha: float, *, seed: int = 0) -> tuple[float, float]:
    """Return the bias-corrected, accelerated interval of ``value``, each bound one-sided at ``alpha`` (Efron 1987, JASA 82:171-185).

    ``value`` maps summed statistics of both sides, *Shape:* (..., s) each, to the quantity, *Shape:* (...): a drop, a ratio.
    Where no draw differs (no row on which the sides do), both bounds are the value: the caller must not take that for certainty.
    """
    observed = sides.value(value)
    width = sides.first.shape[1]
    both = np.concatenate([sides.first, sides.second], axis=1)
    weights = _weights(both, max(DRAWS, min(MOST_DRAWS, math.ceil(BEYOND / alpha))), rng.stream(seed, "bootstrap"))
    draws = np.concatenate([value(sums[:, :width], sums[:, width:]) for sums in weights])
    if np.ptp(draws) == 0:
        return observed, observed
    share = (float((draws < observed).mean()) + float((draws <= observed).mean())) / 2  # ties halved: the metric is a step function
    bias = normal_ppf(min(max(share, 0.5 / len(draws)), 1 - 0.5 / len(draws)))
    left = sides.without_each(value)
    away = left.mean() - left
    spread = float((away**2).sum()) ** 1.5
    acceleration = float((away**3).sum()) / (6 * spread) if spread > 0 else 0.0
    # Outward to the next draw, not in between: an interval is never narrowed by interpolation.
    low = float(np.quantile(draws, _level(bias, acceleration, normal_ppf(alpha)), method="lower"))
    high = float(np.quantile(draws, _level(bias, acceleration, normal_ppf(1 - alpha)), method="higher"))
    return low, high


def _level(bias: float, acceleration: float, z: float) -> float:
    shifted = bias + z
    bottom = 1 - acceleration * shifted
    return normal_cdf(bias + shifted / bottom) if bottom > 0 else float(z > 0)


def _weights(statistics: np.ndarray, draws: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the summed statistics of resampled units, *Shape:* (draws at a time, s).

    Units with the same statistics are drawn as one kind: the sums have the same distribution, and 5,000 rows of two classifiers
    are a few hundred kinds.
    """
    kinds, counts = np.unique(statistics, axis=0, return_counts=True)
    units, at_a_time = len(statistics), max(1, CELLS // len(kinds))
    for start in range(0, draws, at_a_time):
        yield random.multinomial(units, counts / units, size=min(at_a_time, draws - start)).astype(float) @ kinds


def jackknife_t(sides: Paired, value: Value, alpha: float) -> tuple[float, float]:
    """Return the interval of ``value`` from leaving out one unit at a time, each bound one-sided at ``alpha``, with units - 1 degrees of
    freedom; infinite for one unit.

    With groups as units this is the cluster-robust variance CV3, for quantities that are no mean over rows (MacKinnon, Nielsen &
    Webb 2023, Stata Journal 23:942-982).
    """
    count = len(sides.first)
    if count < 2:
        return -math.inf, math.inf
    observed, left = sides.value(value), sides.without_each(value)
    reach = t_ppf(1 - alpha, count - 1) * math.sqrt((count - 1) / count * float(((left - left.mean()) ** 2).sum()))
    return observed - reach, observed + reach


def seeds_and_rows(firsts: Sequence[np.ndarray], seconds: Sequence[np.ndarray], value: Value, alpha: float, *, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean over seeds of ``value`` and its percentile interval, rows and seeds resampled together: it describes the recipe.

    *Shape:* statistics (units, s); ``seconds`` one array a seed, ``firsts`` one a seed too, or a single one that all are held against.
    With one seed the interval is that of the rows alone.
    """
    random, width, count, own = rng.stream(seed, "seeds and rows"), seconds[0].shape[1], len(seconds), len(firsts)
    observed = float(np.mean([value(firsts[k % own].sum(axis=0), second.sum(axis=0)) for k, second in enumerate(seconds)]))
    draws = []
    for sums in _weights(np.concatenate([*firsts, *seconds], axis=1), DRAWS, random):
        sides = np.split(sums, sums.shape[1] // width, axis=1)
        each = np.stack([value(sides[k % own], sides[own + k]) for k in range(count)])
        draws.append(np.take_along_axis(each, random.integers(count, size=each.shape), axis=0).mean(axis=0))
    low, high = np.quantile(np.concatenate(draws), [alpha, 1 - alpha])
    return observed, float(low), float(high)
