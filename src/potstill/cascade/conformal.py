"""Label sets that hold the right label with a stated chance: split conformal prediction by the least ambiguous sets.

Source: Sadinle, Lei & Wasserman 2019, JASA 114:223-234 (LAC); the finite-sample quantile: Vovk, Gammerman & Shafer 2005; Angelopoulos &
Bates 2021, arXiv:2107.07511, section 1. Over the draw of the calibration rows and of one row more the chance is at least ``coverage``,
whatever the model; it is an average over rows, not a promise for each kind of them.
"""

from __future__ import annotations

import math

import numpy as np


def level(probabilities: np.ndarray, gold: np.ndarray, coverage: float) -> float:
    """Return the probability from which on a label belongs to the set; 0, so that every label does, where the rows are too few.

    *Shapes:* (n, classes), (n,) integers. It is the ``floor(alpha * (n + 1))``-th smallest of the gold labels' probabilities.
    """
    n = len(gold)
    place = math.ceil((n + 1) * coverage - 1e-9)  # among the scores 1 - p, rising; the hair is for 0.95 * 20 = 19.000000000000004
    if place > n:
        return 0.0
    held = np.sort(probabilities[np.arange(n), gold].astype(np.float64))
    return float(held[n - place])


def rows_for(coverage: float) -> int:
    """Return the fewest rows with which a set can leave a label out."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def sets(probabilities: np.ndarray, level: float) -> np.ndarray:
    """Return which labels belong to each row's set *Shape:* (n, classes) bool; none may, where no label is likely."""
    return np.asarray(probabilities >= level)
