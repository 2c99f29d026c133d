"""The paired bootstrap over sufficient statistics: one resampling serves every metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ... import rng
from .special import normal_cdf, normal_ppf

DRAWS = 2000
CHUNK = 200  # draws at a time: weights are draws x units
Combine = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Paired:
    """Per-unit statistics of both sides on the same rows, summed within groups where there are groups. *Shape:* (units, s) each."""

    first: np.ndarray
    second: np.ndarray

    @staticmethod
    def of(first: np.ndarray, second: np.ndarray, groups: np.ndarray | None) -> Paired:
        return Paired(_by_group(first, groups), _by_group(second, groups))


def _by_group(statistics: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    if groups is None:
        return statistics
    out = np.zeros((groups.max() + 1, statistics.shape[1]))
    np.add.at(out, groups, statistics)
    return out[np.bincount(groups) > 0]


def bca(sides: Paired, value: Callable[[np.ndarray, np.ndarray], np.ndarray], alpha: float, *, seed: int = 0) -> tuple[float, float]:
    """Return the bias-corrected, accelerated interval of ``value``, each bound one-sided at ``alpha`` (Efron 1987, JASA 82:171-185).

    ``value`` maps summed statistics of both sides, *Shape:* (..., s) each, to the quantity, *Shape:* (...): a drop, a ratio.
    """
    first, second = sides.first.sum(axis=0), sides.second.sum(axis=0)
    observed = float(value(first, second))
    draws = value(*_resampled(sides, seed))
    if np.ptp(draws) == 0:
        return observed, observed
    share = (float((draws < observed).mean()) + float((draws <= observed).mean())) / 2  # ties halved: the metric is a step function
    bias = normal_ppf(min(max(share, 0.5 / len(draws)), 1 - 0.5 / len(draws)))
    left = value(first - sides.first, second - sides.second)
    away = left.mean() - left
    spread = float((away**2).sum()) ** 1.5
    acceleration = float((away**3).sum()) / (6 * spread) if spread > 0 else 0.0
    low, high = (float(np.quantile(draws, _level(bias, acceleration, normal_ppf(p)))) for p in (alpha, 1 - alpha))
    return low, high


def _level(bias: float, acceleration: float, z: float) -> float:
    shifted = bias + z
    bottom = 1 - acceleration * shifted
    return normal_cdf(bias + shifted / bottom) if bottom > 0 else float(z > 0)


def _resampled(sides: Paired, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the summed statistics of both sides in every draw, the same units drawn for both. *Shape:* (draws, s) each."""
    random, units = rng.stream(seed, "bootstrap"), len(sides.first)
    both = np.concatenate([sides.first, sides.second], axis=1)
    sums = np.concatenate([random.multinomial(units, np.full(units, 1 / units), size=CHUNK) @ both for _ in range(math.ceil(DRAWS / CHUNK))])
    return sums[:, : sides.first.shape[1]], sums[:, sides.first.shape[1] :]


def seeds_and_rows(
    first: np.ndarray, seconds: Sequence[np.ndarray], value: Callable[[np.ndarray, np.ndarray], np.ndarray], alpha: float, *, seed: int = 0
) -> tuple[float, float, float]:
    """Return the mean over seeds of ``value`` and its percentile interval, rows and seeds resampled together.

    *Shape:* statistics (units, s), ``seconds`` one array a seed.
    """
    random, units = rng.stream(seed, "seeds and rows"), len(first)
    observed = float(np.mean([value(first.sum(axis=0), second.sum(axis=0)) for second in seconds]))
    draws = []
    for _ in range(math.ceil(DRAWS / CHUNK)):
        weights = random.multinomial(units, np.full(units, 1 / units), size=CHUNK)
        each = np.stack([value(weights @ first, weights @ second) for second in seconds])
        chosen = random.integers(len(seconds), size=(len(seconds), CHUNK))
        draws.append(np.take_along_axis(each, chosen, axis=0).mean(axis=0))
    low, high = np.quantile(np.concatenate(draws), [alpha, 1 - alpha])
    return observed, float(low), float(high)
