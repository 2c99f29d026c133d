"""The likeliest tokens of each position and the mass of all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import positions
from .codebook import Codebook
from .levels import TAIL_STEP, Levels, tail_mass, tail_symbol
from .select import Top

WAY = "sparse"
UNDER = 1e-6  # nats: what float32 may round a row's probabilities up by


@dataclass(frozen=True)
class Rows:
    """What was kept, position by position end to end; row i holds ``lengths[i]`` of them.

    *Shapes:* ``ids`` int64 and ``logprobs`` float32 (positions, most tokens of any), 0 and -inf in empty slots; ``tail`` float32
    (positions,). Probabilities and tail of a position add up to at most 1, and to no less than 1 - 3e-6.
    """

    lengths: np.ndarray
    ids: np.ndarray
    logprobs: np.ndarray
    tail: np.ndarray


def code(top: Top, book: Codebook) -> positions.Coded:
    """Return the integers that stand for ``top``: levels below each likeliest token, tokens by rank within a level."""
    return coded(top, book.ranks, book.levels)


def coded(top: Top, ranks: np.ndarray, levels: Levels) -> positions.Coded:
    first = np.repeat(top.logprobs[np.cumsum(top.k) - top.k], top.k) if len(top.k) else top.logprobs
    level, rank = levels.round(first - top.logprobs), ranks[top.ids]
    level, rank = positions.ordered(top.k, level, rank, len(ranks))
    return positions.Coded(top.k, tail_symbol(top.tail), level, rank)


def encode(top: Top, lengths: Sequence[int], book: Codebook) -> list[bytes]:
    """Return a value for each row; rows hold ``lengths`` of ``top``'s positions, end to end."""
    return positions.write(code(top, book), lengths, book, WAY)


def decode(values: Sequence[bytes], book: Codebook) -> Rows:
    """Return what the values hold. The top's mass is what the tail leaves, so no row's is over 1, however coarse the levels."""
    lengths, found = positions.read(values, book, WAY)
    tail = tail_mass(found.tail)
    logs = -book.levels.centers[found.levels]
    starts = np.cumsum(found.k) - found.k
    sums = np.add.reduceat(np.exp(logs), starts) if len(starts) else np.empty(0)
    logs += np.repeat(np.log1p(-tail) - np.log(sums) - UNDER, found.k)
    ids, logprobs = padded(found.k, book.tokens[found.ranks], logs)
    return Rows(lengths, ids, logprobs, (tail * (1 - UNDER)).astype(np.float32))


def bound(top: Top, book: Codebook) -> np.ndarray:
    """Return for each token how far its log-probability may be off: its level's rounding, the shift that makes the row add up, the tail's step."""
    first = np.repeat(top.logprobs[np.cumsum(top.k) - top.k], top.k)
    own = book.levels.bound(book.levels.round(first - top.logprobs))
    widest = np.maximum.reduceat(own, np.cumsum(top.k) - top.k) if len(top.k) else own
    return np.asarray(own + np.repeat(widest, top.k) + TAIL_STEP / 2 + 2 * UNDER)


def padded(k: np.ndarray, ids: np.ndarray, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and float32 logs as (positions, most tokens)."""
    inside = np.arange(int(k.max(initial=0))) < k[:, None]
    square, values = np.zeros(inside.shape, np.int64), np.full(inside.shape, -np.inf, np.float32)
    square[inside], values[inside] = ids, logs
    return square, values
