"""Log-probabilities on a grid: steps that widen where a token is rarer, for an error costs KL in proportion to the token's probability."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

DEEPEST = 40.0  # nats below the likeliest: beyond it lies less than float64 tells from no mass at all
TAIL_STEP, TAIL_LEVELS = 0.25, 63  # the tail's mass by its log-odds: within 15.75 nats of even


@dataclass(frozen=True)
class Levels:
    """Drops below a row's likeliest token: the grid's first ``step`` widens by e^``growth`` a nat, until it is ``widest``. In nats.

    Each drop is rounded by itself (closed loop: differences of levels are coded, never rounded differences), so errors don't add up.
    """

    step: float = 0.2
    growth: float = 0.25
    widest: float = 1.0

    @cached_property
    def centers(self) -> np.ndarray:
        """float64, ascending from 0 to beyond :data:`DEEPEST`."""
        found = [0.0]
        while found[-1] <= DEEPEST:
            found.append(found[-1] + min(self.step * float(np.exp(self.growth * found[-1])), max(self.widest, self.step)))
        return np.array(found)

    def round(self, drops: np.ndarray) -> np.ndarray:
        """Return the level next to each drop (0..``DEEPEST``)."""
        return np.searchsorted((self.centers[1:] + self.centers[:-1]) / 2, drops)

    def bound(self, levels: np.ndarray) -> np.ndarray:
        """Return how far off a drop at each level can be: half the wider of the two steps beside it."""
        wide = np.diff(self.centers, append=2 * self.centers[-1] - self.centers[-2])
        return np.asarray(wide[levels] / 2)


def tail_symbol(tail: np.ndarray) -> np.ndarray:
    """Return the symbol of each tail's mass: 0 for none, else by its log-odds, 1..127."""
    with np.errstate(divide="ignore"):
        odds = np.log(tail) - np.log1p(-np.minimum(tail, 1.0))
    return np.where(tail > 0, np.clip(np.rint(odds / TAIL_STEP), -TAIL_LEVELS, TAIL_LEVELS) + TAIL_LEVELS + 1, 0).astype(np.int64)


def tail_mass(symbols: np.ndarray) -> np.ndarray:
    """Return the mass that each symbol stands for."""
    return np.where(symbols > 0, 1 / (1 + np.exp(-(symbols - TAIL_LEVELS - 1.0) * TAIL_STEP)), 0.0)
