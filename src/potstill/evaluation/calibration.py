"""Do probabilities mean what they say: expected calibration error, the reliability diagram, the temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .metrics import FLOOR

BINS = 15
MIN_ROWS = 200  # of calibration in all, half of which fit the temperature: with fewer, fitting does more harm than good
LEAST, MOST = 0.05, 20.0  # of a temperature
STEPS = 60  # of the golden section: log temperature to 1e-12


@dataclass(frozen=True)
class Temperature:
    """What log-probabilities are divided by, and why it is 1 where it was not fitted."""

    temperature: float
    reason: str


def reliability(gold: np.ndarray, logprobs: np.ndarray) -> list[dict[str, float]]:
    """Return {confidence, accuracy, n} of up to ``BINS`` bins of equal mass, by the probability of the decision.

    *Shapes:* (n,), (n, classes). Equal mass, because most answers of a good model lie in one tenth of the range.
    """
    confidence = np.exp(logprobs.max(axis=1)) if len(logprobs) else np.zeros(0)
    right = logprobs.argmax(axis=1) == gold if len(logprobs) else np.zeros(0)
    order = np.argsort(confidence, kind="stable")
    return [
        {"confidence": float(confidence[part].mean()), "accuracy": float(right[part].mean()), "n": len(part)}
        for part in np.array_split(order, max(1, min(BINS, len(order))))
        if len(part)
    ]


def ece(gold: np.ndarray, logprobs: np.ndarray) -> float:
    """Return the expected calibration error over ``BINS`` bins of equal mass (Naeini et al. 2015; Nixon et al. 2019, arXiv:1904.01685)."""
    bins = reliability(gold, logprobs)
    return float(sum(b["n"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / max(1, len(gold)))


def fit_temperature(logprobs: np.ndarray, gold: np.ndarray, *, rows_in_all: int) -> Temperature:
    """Return the temperature of least log-loss on these rows, by golden section over its logarithm (Guo et al. 2017, arXiv:1706.04599).

    The log-loss is convex in 1 / temperature, so it has one least value. 1, with the reason, where there are fewer than ``MIN_ROWS``
    calibration rows in all, and where no answer is wrong: the least log-loss is then at a temperature of 0, which claims certainty.
    """
    if rows_in_all < MIN_ROWS or len(gold) == 0:
        return Temperature(1.0, f"{rows_in_all} calibration rows with gold: fewer than {MIN_ROWS}, so the temperature stays 1")
    if (logprobs.argmax(axis=1) == gold).all():
        return Temperature(1.0, f"no mistake among {len(gold)} calibration rows: nothing says how sure to be, so the temperature stays 1")
    low, high = math.log(LEAST), math.log(MOST)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _loss(logprobs, gold, math.exp(left)) < _loss(logprobs, gold, math.exp(right)):
            high = right
        else:
            low = left
    return Temperature(round(math.exp((low + high) / 2), 6), "")


def scaled(logprobs: np.ndarray, temperature: float) -> np.ndarray:
    """Return log-probabilities at ``temperature``, normalized again: log_softmax(logprobs / temperature), float32."""
    return _scaled(logprobs, temperature).astype(np.float32)


def _scaled(logprobs: np.ndarray, temperature: float) -> np.ndarray:
    divided = logprobs.astype(np.float64) / temperature
    divided -= divided.max(axis=1, keepdims=True)
    return np.asarray(divided - np.log(np.exp(divided).sum(axis=1, keepdims=True)))


def _loss(logprobs: np.ndarray, gold: np.ndarray, temperature: float) -> float:
    """In float64: rounding to float32 would make the bottom of the valley flat. A probability of 0 counts as the metric has it."""
    held = np.maximum(logprobs.astype(np.float64), FLOOR)
    return -float(_scaled(held, temperature)[np.arange(len(gold)), gold].mean())


def saturated(logprobs: np.ndarray) -> float:
    """Return the share of answers whose probability is all but 1: where it is high, soft labels teach no more than hard ones."""
    known = logprobs[~np.isnan(logprobs).any(axis=1)] if len(logprobs) else logprobs
    return float((known.max(axis=1) > math.log(1 - 1e-4)).mean()) if len(known) else 0.0


def as_json(gold: np.ndarray, logprobs: np.ndarray) -> dict[str, Any]:
    return {"ece": ece(gold, logprobs), "reliability": reliability(gold, logprobs)}
