"""Do probabilities mean what they say: expected calibration error, the reliability diagram, the temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 15
MIN_ROWS = 200  # of calibration in all, half of which fit the temperature: with fewer, fitting does more harm than good


@dataclass(frozen=True)
class Temperature:
    """What log-probabilities are divided by, and why it is 1 where it was not fitted."""

    temperature: float
    reason: str


def reliability(gold: np.ndarray, logprobs: np.ndarray) -> list[dict[str, float]]:
    """Return {confidence, accuracy, n} of up to ``BINS`` bins of equal mass, by the probability of the decision.

    *Shapes:* (n,), (n, classes). Equal mass, because most answers of a good model lie in one tenth of the range.
    """
    confidence = np.exp(logprobs.max(axis=1))
    right = logprobs.argmax(axis=1) == gold
    order = np.argsort(confidence, kind="stable")
    return [
        {"confidence": float(confidence[part].mean()), "accuracy": float(right[part].mean()), "n": len(part)}
        for part in np.array_split(order, min(BINS, len(order)))
        if len(part)
    ]


def ece(gold: np.ndarray, logprobs: np.ndarray) -> float:
    """Return the expected calibration error over bins of equal mass (Naeini et al. 2015; Nixon et al. 2019, arXiv:1904.01685)."""
    bins = reliability(gold, logprobs)
    return float(sum(b["n"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / max(1, len(gold)))


def fit_temperature(logprobs: np.ndarray, gold: np.ndarray, *, rows_in_all: int) -> Temperature:
    """Return the temperature of least log-loss on these rows, by golden section over its logarithm (Guo et al. 2017, arXiv:1706.04599).

    1, with the reason, where there are fewer than ``MIN_ROWS`` calibration rows in all.
    """
    if rows_in_all < MIN_ROWS or len(gold) == 0:
        return Temperature(1.0, f"{rows_in_all} calibration rows with gold: fewer than {MIN_ROWS}, so the temperature stays 1")
    low, high = np.log(0.05), np.log(20.0)
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _loss(logprobs, gold, np.exp(left)) < _loss(logprobs, gold, np.exp(right)):
            high = right
        else:
            low = left
    return Temperature(round(float(np.exp((low + high) / 2)), 6), "")


def scaled(logprobs: np.ndarray, temperature: float) -> np.ndarray:
    """Return log-probabilities at ``temperature``, normalized again."""
    divided = logprobs.astype(np.float64) / temperature
    divided -= divided.max(axis=1, keepdims=True)
    return np.asarray((divided - np.log(np.exp(divided).sum(axis=1, keepdims=True))).astype(np.float32))


def _loss(logprobs: np.ndarray, gold: np.ndarray, temperature: float) -> float:
    return -float(scaled(logprobs, temperature)[np.arange(len(gold)), gold].mean())


def saturated(logprobs: np.ndarray) -> float:
    """Return the share of answers whose probability is all but 1: where it is high, soft labels teach no more than hard ones."""
    return float((logprobs.max(axis=1) > np.log(1 - 1e-4)).mean()) if len(logprobs) else 0.0


def as_json(gold: np.ndarray, logprobs: np.ndarray) -> dict[str, Any]:
    return {"ece": ece(gold, logprobs), "reliability": reliability(gold, logprobs)}
