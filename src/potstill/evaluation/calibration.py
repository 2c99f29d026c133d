"""Do probabilities mean what they say: expected calibration error, the reliability diagram, the temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..records import HeadKind
from .decisions import of
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


def reliability(gold: np.ndarray, logprobs: np.ndarray, thresholds: np.ndarray | None = None) -> list[dict[str, float]]:
    """Return {confidence, accuracy, n} of up to ``BINS`` bins of equal mass, by the probability of the decision.

    *Shapes:* (n,), (n, classes). Equal mass, because most answers of a good model lie in one tenth of the range. With several labels
    a row, gold and log-odds (n, labels) and ``thresholds`` (labels,): each label's yes or no is a decision of its own.
    """
    confidence, right = _decided(gold, logprobs, thresholds)
    order = np.argsort(confidence, kind="stable")
    return [
        {"confidence": float(confidence[part].mean()), "accuracy": float(right[part].mean()), "n": len(part)}
        for part in np.array_split(order, max(1, min(BINS, len(order))))
        if len(part)
    ]


def _decided(gold: np.ndarray, scores: np.ndarray, thresholds: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return how probable each decision was held to be, and which were right."""
    if not len(scores):
        return np.zeros(0), np.zeros(0)
    if gold.ndim == 1:
        return np.exp(scores.max(axis=1)), scores.argmax(axis=1) == gold
    told = scores >= (0.0 if thresholds is None else thresholds)
    return np.exp(-np.logaddexp(0, np.where(told, -scores, scores))).ravel(), (told == (gold > 0)).ravel()


def ece(gold: np.ndarray, logprobs: np.ndarray, thresholds: np.ndarray | None = None) -> float:
    """Return the expected calibration error over ``BINS`` bins of equal mass (Naeini et al. 2015; Nixon et al. 2019, arXiv:1904.01685)."""
    bins = reliability(gold, logprobs, thresholds)
    return float(sum(b["n"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / max(1, gold.size))


def fit_temperature(logprobs: np.ndarray, gold: np.ndarray, *, rows_in_all: int) -> Temperature:
    """Return the temperature of least log-loss on these rows, by golden section over its logarithm (Guo et al. 2017, arXiv:1706.04599).

    The log-loss is convex in 1 / temperature, so it has one least value. 1, with the reason, where there are fewer than ``MIN_ROWS``
    calibration rows in all, and where no answer is wrong: the least log-loss is then at a temperature of 0, which claims certainty.
    With several labels a row the log-loss is that of each label's yes or no: the sigmoid's temperature.
    """
    if rows_in_all < MIN_ROWS or len(gold) == 0:
        return Temperature(1.0, f"{rows_in_all} calibration rows with gold: fewer than {MIN_ROWS}, so the temperature stays 1")
    if of(gold).right(gold, logprobs).all():
        return Temperature(1.0, f"no mistake among {len(gold)} calibration rows: nothing says how sure to be, so the temperature stays 1")
    low, high = math.log(LEAST), math.log(MOST)
    loss = _loss if gold.ndim == 1 else _labels_loss
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(logprobs, gold, math.exp(left)) < loss(logprobs, gold, math.exp(right)):
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


def _labels_loss(logodds: np.ndarray, gold: np.ndarray, temperature: float) -> float:
    """The mean of -log p of each label's yes or no; a probability of 0 counts as for classes."""
    held = np.clip(logodds.astype(np.float64), FLOOR, -FLOOR) / temperature
    return float(np.logaddexp(0, np.where(gold > 0, -held, held)).mean())


def saturated(logprobs: np.ndarray, kind: HeadKind = "classes") -> float:
    """Return the share of answers whose probability is all but 1: where it is high, soft labels teach no more than hard ones.

    ``kind`` "labels": log-odds; an answer is all but certain where each of its labels is. "tokens": 0, for a text is not one answer.
    """
    if kind == "tokens":
        return 0.0
    known = logprobs[~np.isnan(logprobs).any(axis=1)] if len(logprobs) else logprobs
    if not len(known):
        return 0.0
    # Of labels: how sure it is of the one that it is least sure of.
    least = known.max(axis=1) if kind == "classes" else (-np.logaddexp(0, -np.abs(known))).min(axis=1)
    return float((least > math.log(1 - 1e-4)).mean())


def as_json(gold: np.ndarray, logprobs: np.ndarray, thresholds: np.ndarray | None = None) -> dict[str, Any]:
    return {"ece": ece(gold, logprobs, thresholds), "reliability": reliability(gold, logprobs, thresholds)}
