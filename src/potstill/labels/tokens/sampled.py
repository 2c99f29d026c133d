"""Tokens drawn from each position's distribution, with weights: the mean over draws is the distribution itself (arXiv:2503.16870, section 3).

A position's draws are one number u in [0, 1) and the points (u + j) / m on its distribution function: token i comes m p_i times in the mean,
and never more than one off, so weights vary less than with draws that know nothing of each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import StoreError
from . import positions
from .codebook import DRAWN, Codebook
from .levels import DEEPEST
from .sparse import padded

WAY = "sampled"


@dataclass(frozen=True)
class Draws:
    """Distinct tokens drawn, by position end to end. *Shapes:* ``k`` (positions,); ``ids``, ``logprobs``, ``counts`` (sum of k,)."""

    k: np.ndarray
    ids: np.ndarray
    logprobs: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Rows:
    """What was drawn. *Shapes:* ``ids``, ``weights``, ``logprobs`` (positions, most tokens of any); 0, 0 and -inf in empty slots."""

    lengths: np.ndarray
    ids: np.ndarray
    weights: np.ndarray
    logprobs: np.ndarray


def starts(key: bytes, positions: int, seed: int = 0) -> np.ndarray:
    """Return u for each position of a row, by the hash of ``key``: the row's content, so that order and company change nothing."""
    stream = hashlib.shake_256(b"potstill token draws" + seed.to_bytes(8, "little") + key).digest(8 * positions)
    return (np.frombuffer(stream, "<u8") >> np.uint64(11)) * 2.0**-53


def draw(scores: np.ndarray, u: np.ndarray, draws: int = 12) -> Draws:
    """Return ``draws`` of each row of ``scores`` (positions, vocabulary), logits or log-probabilities, at ``u`` (positions,).

    Raises :class:`StoreError` for NaN, +inf, and rows without a finite score.
    """
    rows = []
    for i, row in enumerate(scores):
        highest = row.max(initial=-np.inf)
        if not np.isfinite(highest):
            raise StoreError(f"scores of position {i} hold NaN or +inf, or nothing finite", place="token store", remedy="look at the teacher's logits")
        below = np.cumsum(np.exp(row - highest), dtype=np.float64)
        drawn = np.searchsorted(below, (u[i] + np.arange(draws)) / draws * below[-1], side="right")
        ids, counts = np.unique(np.minimum(drawn, len(row) - 1), return_counts=True)
        rows.append((ids, row[ids].astype(np.float64) - float(highest) - np.log(below[-1]), counts))
    ids, logprobs, counts = (np.concatenate([np.empty(0), *(row[j] for row in rows)]) for j in range(3))
    return Draws(np.array([len(row[0]) for row in rows], np.int64), ids.astype(np.int64), logprobs, counts.astype(np.int64))


def coded(draws: Draws, ranks: np.ndarray) -> positions.Coded:
    level, rank = DRAWN.round(np.clip(-draws.logprobs, 0, DEEPEST)), ranks[draws.ids]
    order = np.lexsort((rank, level, np.repeat(np.arange(len(draws.k)), draws.k)))
    return positions.Coded(draws.k, np.zeros_like(draws.k), level[order], rank[order], draws.counts[order])


def encode(draws: Draws, lengths: Sequence[int], book: Codebook) -> list[bytes]:
    """Return a value for each row; rows hold ``lengths`` of the positions, end to end."""
    return positions.write(coded(draws, book.ranks), lengths, book, WAY)


def decode(values: Sequence[bytes], book: Codebook) -> Rows:
    """Return what the values hold: weights exact, log-probabilities within half a step of ``DRAWN``."""
    lengths, found = positions.read(values, book, WAY)
    ids, logprobs = padded(found.k, book.tokens[found.ranks], -DRAWN.centers[found.levels])
    counts = padded(found.k, book.tokens[found.ranks], found.counts)[1] if found.counts is not None else logprobs
    counts = np.where(np.isfinite(counts), counts, 0).astype(np.float32)
    return Rows(lengths, ids, counts / np.maximum(counts.sum(1, keepdims=True), 1), logprobs)
