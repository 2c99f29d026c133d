"""Distributions as a language model has them, and rows that try a codec."""

from __future__ import annotations

from functools import cache

import numpy as np

from potstill.labels.tokens import Codebook, Keep, Levels, fit

VOCABULARY = 500
KEEP = Keep(mass=0.99, floor=1e-3, k_max=64)
INF = float("inf")


def zipf(positions: int, seed: int = 0, vocabulary: int = VOCABULARY, temper: float = 2.0) -> np.ndarray:
    """Return logits (positions, vocabulary): a common slope, and noise of its own at each position."""
    rng = np.random.default_rng(seed)
    sharp = rng.uniform(0.5, temper, (positions, 1))
    return (sharp * (rng.normal(0, 2, (positions, vocabulary)) - np.log(1 + np.arange(vocabulary)))).astype(np.float32)


@cache
def book(keep: Keep = KEEP, levels: Levels = Levels(), vocabulary: int = VOCABULARY) -> Codebook:
    return fit(zipf(200, seed=1, vocabulary=vocabulary), keep, levels)


def adversarial(vocabulary: int = VOCABULARY) -> np.ndarray:
    """Return logits that try every edge: one-hot, uniform, ruled out but three, two halves, mass just at the threshold, one token alone."""
    rows = np.full((8, vocabulary), -INF)
    rows[0, 3] = 0.0  # one token alone
    rows[1] = 0.0  # uniform
    rows[2, [5, 7, 499 % vocabulary]] = [0.0, -1.0, -9.0]  # fewer finite than k
    rows[3, [0, vocabulary - 1]] = 0.0  # two halves
    rows[4, :2] = np.log([0.99, 0.01])  # mass just at the threshold
    rows[5] = -30.0
    rows[5, 11] = 0.0  # one-hot, all others tiny
    rows[6] = 1e4 * np.arange(vocabulary) / vocabulary  # drops without end
    rows[7] = -np.log(np.arange(1.0, vocabulary + 1))
    return rows
