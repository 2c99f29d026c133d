"""The cheapest language model: which token follows which, counted; absolute discounting (Ney, Essen and Kneser 1994), backed off to single tokens."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DISCOUNT = 0.75  # of each pair's count, for the pairs that were not seen; the usual one
SPREAD = 0.5  # added to each single token's count


@dataclass(frozen=True)
class Bigram:
    """Counts by token. *Shapes:* ``pairs`` (pairs,) of previous * vocabulary + next, sorted, ``counts`` (pairs,); the others (vocabulary,).

    ``follows``: how often a token came before a learnt one; ``kinds``: how many different ones it came before.
    """

    pairs: np.ndarray
    counts: np.ndarray
    singles: np.ndarray
    follows: np.ndarray
    kinds: np.ndarray
    fit_seconds: float

    @property
    def size_bytes(self) -> int:
        return int(self.pairs.nbytes + self.counts.nbytes + self.singles.nbytes)

    def nats(self, items: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        """Return -log p of each item's learnt tokens, summed *Shape:* (items,). Items as :class:`potstill.serving.turns.Turns` encodes them."""
        return np.array([-np.log(self._probabilities(*_pairs(item))).sum() for item in items])

    def right(self, items: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        """Return how many of each item's learnt tokens are the likeliest after the one before *Shape:* (items,)."""
        best = self._best()
        return np.array([int((best[before] == after).sum()) for before, after in map(_pairs, items)])

    def _best(self) -> np.ndarray:
        """Return the likeliest token after each *Shape:* (vocabulary,): of the pairs that were seen the commonest, else the commonest token."""
        best = np.full(len(self.singles), int(self.singles.argmax()))
        order = np.argsort(self.counts, kind="stable")  # a later one, as common or more, is written over an earlier one
        best[self.pairs[order] // len(self.singles)] = self.pairs[order] % len(self.singles)
        return best

    def _probabilities(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        vocabulary = len(self.singles)
        single = (self.singles[after] + SPREAD) / (self.singles.sum() + SPREAD * vocabulary)
        wanted = before * vocabulary + after
        place = np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)
        seen = np.where(self.pairs[place] == wanted, self.counts[place], 0)
        total = np.maximum(self.follows[before], 1)
        backed = np.where(self.follows[before] > 0, DISCOUNT * self.kinds[before] / total, 1.0)
        return np.maximum(seen - DISCOUNT, 0) / total + backed * single


def bigram(items: Sequence[Mapping[str, np.ndarray]], vocabulary: int) -> Bigram:
    """Return the model of the learnt tokens of ``items``, of which there must be one."""
    began = time.perf_counter()
    before, after = (np.concatenate(parts) for parts in zip(*map(_pairs, items)))
    pairs, counts = np.unique(before * vocabulary + after, return_counts=True)
    first = pairs // vocabulary
    return Bigram(
        pairs, counts, np.bincount(after, minlength=vocabulary), np.bincount(first, weights=counts, minlength=vocabulary),
        np.bincount(first, minlength=vocabulary), time.perf_counter() - began,
    )  # fmt: skip


def _pairs(item: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return each learnt token, and the one before it: in its own window, for no window begins with a learnt one."""
    places = np.flatnonzero(item["learnt"])
    ids = item["input_ids"].astype(np.int64)
    return ids[places - 1], ids[places]
