"""How far what is kept lies from what the teacher said: the divergence over its whole vocabulary."""

from __future__ import annotations

import numpy as np

LEAST = 1e-7  # mass that all left-out tokens have at least: a tail of 0 would make one forgotten token an error without end


def normal(scores: np.ndarray) -> np.ndarray:
    """Return log-probabilities, float64, of logits or log-probabilities (positions, vocabulary)."""
    shifted = scores.astype(np.float64) - scores.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def full_kl(scores: np.ndarray, ids: np.ndarray, logprobs: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """Return KL(teacher, kept) of each position in nats, the tail spread evenly over all tokens that are not kept; -inf slots are empty.

    What is kept counts as a distribution: its mass is scaled to 1.
    """
    found = np.empty(len(scores))
    for i in range(len(scores)):
        p = normal(scores[i : i + 1])[0]
        inside = np.isfinite(logprobs[i])
        rest = max(float(tail[i]), LEAST) / max(len(p) - int(inside.sum()), 1)
        q = np.full(len(p), np.log(rest))
        q[ids[i, inside]] = logprobs[i, inside]
        q -= np.log(np.exp(q).sum())
        found[i] = np.sum(np.exp(p) * np.where(p > -np.inf, p - q, 0))
    return found


def between(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return KL of each position between two arrays of scores (positions, vocabulary)."""
    found = np.empty(len(scores))
    for i in range(len(scores)):
        p, q = normal(scores[i : i + 1])[0], normal(others[i : i + 1])[0]
        found[i] = np.sum(np.exp(p) * np.where(p > -np.inf, p - q, 0))
    return found
