"""The top of each position's distribution: as many tokens as it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import StoreError
from .levels import DEEPEST

OVER = 0.02  # by how much given probabilities may add up to more than 1: a server's log-probabilities are rounded


@dataclass(frozen=True)
class Keep:
    """Keep the likeliest tokens until they hold ``mass``, or ``k_max`` of them, or the next is rarer than ``floor``.

    At equal mean error a floor is smaller than a mass: it spends bytes on the tokens that lower the error most, at whatever position.
    """

    mass: float = 0.999
    floor: float = 1e-4
    k_max: int = 384

    def __post_init__(self) -> None:
        if not (0 < self.mass <= 1 and 0 <= self.floor < 1 and 1 <= self.k_max <= 4096):
            raise StoreError(f"can't keep by {self}", place="token store", remedy="mass in (0, 1], floor in [0, 1), k_max in 1..4096")


@dataclass(frozen=True)
class Top:
    """Tokens that are kept, likeliest first, position by position end to end.

    *Shapes:* ``k`` (positions,) how many each keeps, >= 1; ``ids`` and ``logprobs`` (sum of k,); ``tail`` (positions,): the mass of all others.
    """

    k: np.ndarray
    ids: np.ndarray
    logprobs: np.ndarray
    tail: np.ndarray


def select(scores: np.ndarray, keep: Keep) -> Top:
    """Return the top of each row of ``scores`` (positions, vocabulary): logits or log-probabilities, -inf rules a token out.

    Raises :class:`StoreError` for NaN, +inf, and rows without a finite score.
    """
    if scores.ndim != 2 or (len(scores) and not scores.shape[1]):
        raise StoreError(f"scores have shape {scores.shape}", place="token store", remedy="give (positions, vocabulary)")
    low = math.log(keep.floor) if keep.floor else -DEEPEST
    rows = [_row(row, i, low, keep) for i, row in enumerate(scores)]
    return _joined(rows)


def _row(row: np.ndarray, i: int, low: float, keep: Keep) -> tuple[np.ndarray, np.ndarray, float]:
    highest = row.max(initial=-np.inf)
    if not math.isfinite(highest):  # max hands NaN on
        raise StoreError(f"scores of position {i} hold NaN or +inf, or nothing finite", place="token store", remedy="look at the teacher's logits")
    weights = np.exp(row - highest)
    total = float(weights.sum())
    found = np.flatnonzero(weights >= total * math.exp(low))
    found = found if len(found) else np.array([int(row.argmax())])
    if len(found) > 4 * keep.k_max:  # no sense in sorting what can't be kept
        found = found[np.argpartition(-row[found], keep.k_max)[: keep.k_max]]
    logprobs = row[found].astype(np.float64) - float(highest) - math.log(total)
    order = np.argsort(-logprobs, kind="stable")[: keep.k_max]
    found, logprobs = found[order], logprobs[order]
    held = np.cumsum(np.exp(logprobs))
    k = min(int(np.searchsorted(held, keep.mass)) + 1, len(found))
    left = 0.0 if k == len(row) else max(1.0 - float(held[k - 1]), 0.0)
    return found[:k], logprobs[:k], left


def given(ids: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]], vocabulary: int, keep: Keep) -> Top:
    """Return the top of what a server gave: for each position some tokens, in any order, with log-probabilities.

    Entries of -inf are dropped, and fewer than asked for are as good as they are; with ``keep.mass`` 1 all others are kept, the unlikeliest too, for
    it may be the token that stands there. Raises :class:`StoreError` for NaN, positive
    log-probabilities, ids twice or out of range, and positions without one finite entry.
    """
    rows = []
    for i, (tokens, values) in enumerate(zip(ids, logprobs, strict=True)):
        token, value = np.asarray(tokens, np.int64), np.asarray(values, np.float64)
        if token.shape != value.shape or np.isnan(value).any() or (value > OVER).any():
            raise StoreError(
                f"log-probabilities of position {i} hold NaN, are positive, or don't pair with ids", place="token store", remedy="look at the reply"
            )
        finite = np.isfinite(value)
        token, value = token[finite], value[finite]
        if not len(token) or token.min() < 0 or token.max() >= vocabulary or len(np.unique(token)) < len(token):
            raise StoreError(
                f"position {i} has no finite entry, or ids that repeat or leave 0..{vocabulary - 1}", place="token store", remedy="look at the reply"
            )
        if (total := float(np.exp(value).sum())) > 1 + OVER:
            raise StoreError(f"probabilities of position {i} add up to {total:.3f}", place="token store", remedy="give log-probabilities at temperature 1")
        value = value - max(math.log(total), 0.0)
        order = np.argsort(-value, kind="stable")[: keep.k_max]
        token, value = token[order], value[order]
        good = (value >= (math.log(keep.floor) if keep.floor else -np.inf)) & (value >= value[0] - DEEPEST)
        held = np.cumsum(np.exp(value))
        k = max(min(int(np.searchsorted(held, keep.mass)) + 1, int(good.sum())), 1) if keep.mass < 1 else len(value)
        rows.append((token[:k], value[:k], 0.0 if k == vocabulary else max(1.0 - float(held[k - 1]), 0.0)))
    return _joined(rows)


def _joined(rows: list[tuple[np.ndarray, np.ndarray, float]]) -> Top:
    ids = np.concatenate([np.empty(0, np.int64), *(row[0] for row in rows)]).astype(np.int64)
    logprobs = np.concatenate([np.empty(0), *(row[1] for row in rows)])
    return Top(np.array([len(row[0]) for row in rows], np.int64), ids, logprobs, np.array([row[2] for row in rows], np.float64))
