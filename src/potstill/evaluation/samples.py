"""How far a teacher that answers each row several times agrees with itself: what no student of it can pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def agreement(logprobs: np.ndarray, samples: int) -> dict[str, Any]:
    """Return {samples, rows, agreement, ceiling} of answers whose probabilities are shares of ``samples``. *Shape:* (rows, labels).

    ``agreement``: the chance that two samples of a row are the same, from pairs, so without bias (Fleiss' observed agreement).
    ``ceiling``: how often the majority of the other samples is what the sample left out said, ties counting in part: the most that a
    student which had learnt the majority could agree with a single answer. Rows that have no shares of ``samples`` (unanswered, or of
    fewer samples that could be read) are left out; without any the figures are None.
    """
    shares = np.exp(logprobs.astype(np.float64)) * samples
    counts = np.rint(shares)
    whole = np.isfinite(shares).all(axis=1) & (np.abs(shares - counts) < 1e-3).all(axis=1) & (counts.sum(axis=1) == samples)
    counts = counts[whole]
    if not len(counts):
        return {"samples": samples, "rows": 0, "agreement": None, "ceiling": None}
    pairs = (counts * (counts - 1)).sum(axis=1) / (samples * (samples - 1))
    hits = np.zeros(len(counts))
    for label in range(counts.shape[1]):
        others = counts.copy()
        others[:, label] -= 1
        most = others.max(axis=1)
        tied = (others == most[:, None]).sum(axis=1)
        hits += counts[:, label] / samples * (others[:, label] == most) / tied
    return {"samples": samples, "rows": len(counts), "agreement": float(pairs.mean()), "ceiling": float(hits.mean())}


def in_words(found: Mapping[str, Any]) -> str:
    """Return the figures in a sentence."""
    if found["agreement"] is None:
        return f"asked {found['samples']} times each, no validation row had {found['samples']} answers that could be read"
    return (
        f"asked {found['samples']} times, the teacher says the same of a validation row in {found['agreement']:.1%} of pairs; "
        f"a student that had learnt its majority would agree with a single answer of it in {found['ceiling']:.1%}"
    )
