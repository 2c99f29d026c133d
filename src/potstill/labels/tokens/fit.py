"""A codebook from a probe: some positions' full distributions."""

from __future__ import annotations

import math

import numpy as np

from ...errors import StoreError
from . import codebook, positions, sampled, sparse
from .codebook import CONTEXTS, LARGEST, WAYS, Codebook
from .levels import Levels
from .select import Keep, select

RARE = 1e-3  # a token as likely as this counts as seen whole


def fit(scores: np.ndarray, keep: Keep, levels: Levels | None = None, *, draws: int = 12, seed: int = 0) -> Codebook:
    """Return the codebook of a probe, ``scores`` (positions, vocabulary): logits or log-probabilities of some hundred positions or more.

    Rows of any other text can be written with it, only longer the less they are like the probe. Raises :class:`StoreError` for an empty
    probe or a vocabulary over 2^18.
    """
    if scores.ndim != 2 or not len(scores) or not 0 < scores.shape[1] <= LARGEST:
        raise StoreError(
            f"a probe of shape {scores.shape}", place="token store", remedy=f"give (positions, vocabulary up to {LARGEST:,}), some hundred positions"
        )
    top = select(scores, keep)
    levels = levels or Levels()
    tokens = codebook.order(_seen(scores))
    k_max = min(keep.k_max, scores.shape[1])
    book = Codebook(tokens, levels, max(k_max, draws), {})
    drawn = sampled.draw(scores, sampled.starts(b"probe", len(scores), seed), draws)
    coded = {sparse.WAY: sparse.coded(top, book.ranks, levels), sampled.WAY: sampled.coded(drawn, book.ranks)}
    tables = {}
    for way, names in WAYS.items():
        numbers, found = book.numbers(way), positions.symbols(coded[way], way, {name: np.zeros(0, np.int64) for name in names})
        tables[way] = {name: codebook.table(found[name][0], numbers[name].split(found[name][1])[0], (CONTEXTS[name], numbers[name].symbols)) for name in names}
    return Codebook(tokens, levels, book.k_max, tables)


def _seen(scores: np.ndarray) -> np.ndarray:
    """Return how often each token was likely: probabilities cut off at ``RARE``, summed."""
    total = np.zeros(scores.shape[1])
    for row in scores:
        highest = row.max()
        shifted = row - highest
        norm = math.log(float(np.exp(shifted).sum(dtype=np.float64)))
        total += np.exp(np.minimum(shifted - norm - math.log(RARE), 0))
    return total
