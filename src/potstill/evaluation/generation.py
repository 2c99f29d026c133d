"""How good a language model is on texts that are given, token by token: measures that add up, and the metrics that are made of their sums.

A row's measures are ``MEASURES``, in this order. They take the place of scores wherever a task's scores go: a row of NaN was not answered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from .metrics import ratio

# nats: -log p of the tokens that are to be foretold, summed; tokens: how many; bytes: of the text that they are; kl: KL(teacher || model) over
# the whole vocabulary in nats, summed over positions; agreed: positions where its likeliest token is the teacher's; right: where it is the one that
# stands there.
MEASURES: Final = ("nats", "tokens", "bytes", "kl", "agreed", "right")
NATS, TOKENS, BYTES, KL, AGREED, RIGHT = range(6)


@final
@dataclass(frozen=True)
class BitsPerByte:
    """-log2 p of the texts over their bytes: the same for all tokenizers (Gao et al. 2020, arXiv:2101.00027, section 3.1)."""

    name: str = "bits_per_byte"
    higher_is_better: bool = False
    proportion: bool = False
    decisions: bool = False
    span: float = 64.0  # more than any model's: who knows nothing has log2 of the vocabulary a token

    def statistics(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """*Shapes:* (n, 0), (n, measures) -> (n, 2): bits, bytes."""
        return np.stack([scores[:, NATS] / math.log(2), scores[:, BYTES]], axis=1).astype(np.float64)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        return ratio(sums[..., 0], sums[..., 1])


@final
@dataclass(frozen=True)
class Perplexity:
    """exp of the mean -log p of a token. It compares models of one tokenizer alone."""

    name: str = "perplexity"
    higher_is_better: bool = False
    proportion: bool = False
    decisions: bool = False
    span: float = 1e6

    def statistics(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """*Shapes:* (n, 0), (n, measures) -> (n, 2): nats, tokens."""
        return scores[:, [NATS, TOKENS]].astype(np.float64)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        return np.exp(np.minimum(ratio(sums[..., 0], sums[..., 1]), math.log(self.span)))


@final
@dataclass(frozen=True)
class TokenAccuracy:
    """The share of positions where the likeliest token is the one that stands there."""

    name: str = "token_accuracy"
    higher_is_better: bool = True
    proportion: bool = False  # of positions, and rows are what is independent
    decisions: bool = False
    span: float = 1.0

    def statistics(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """*Shapes:* (n, 0), (n, measures) -> (n, 2): right, positions."""
        return scores[:, [RIGHT, TOKENS]].astype(np.float64)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        return ratio(sums[..., 0], sums[..., 1])


@final
@dataclass(frozen=True)
class Divergence:
    """The mean over positions of KL(teacher || model), in nats."""

    name: str = "kl"
    higher_is_better: bool = False
    proportion: bool = False
    decisions: bool = False
    span: float = 64.0

    def statistics(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """*Shapes:* (n, 0), (n, measures) -> (n, 2): nats, positions."""
        return scores[:, [KL, TOKENS]].astype(np.float64)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        return ratio(sums[..., 0], sums[..., 1])


@final
@dataclass(frozen=True)
class Agreement:
    """The share of positions where the likeliest token is the teacher's."""

    name: str = "agreement"
    higher_is_better: bool = True
    proportion: bool = False  # of positions, and rows are what is independent
    decisions: bool = False
    span: float = 1.0

    def statistics(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """*Shapes:* (n, 0), (n, measures) -> (n, 2): agreed, positions."""
        return scores[:, [AGREED, TOKENS]].astype(np.float64)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        return ratio(sums[..., 0], sums[..., 1])


def measured(logits: np.ndarray, targets: np.ndarray, teacher: np.ndarray | None = None) -> np.ndarray:
    """Return (positions, 4): nats, kl, agreed, right of some positions; kl and agreed NaN without a ``teacher``.

    *Shapes:* ``logits`` and ``teacher`` (positions, vocabulary), ``targets`` (positions,) ids. In float64; where one vocabulary is padded, over
    the ids that both have.
    """
    own = _log_softmax(logits if teacher is None else logits[:, : teacher.shape[1]])
    top = own.argmax(axis=1)
    nats = -np.take_along_axis(own, targets[:, None], axis=1)[:, 0]
    kl = agreed = np.full(len(own), np.nan)
    if teacher is not None:
        told = _log_softmax(teacher[:, : own.shape[1]])
        kl, agreed = (np.exp(told) * (told - own)).sum(axis=1), told.argmax(axis=1) == top
    return np.stack([nats, kl, agreed, top == targets], axis=1).astype(np.float64)


def by_row(found: np.ndarray, lengths: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the measures of rows of ``lengths`` positions, of ``sizes`` bytes, from those of their positions (:func:`measured`), end to end."""
    sums = np.diff(np.concatenate([np.zeros((1, found.shape[1])), np.cumsum(found, axis=0)])[np.concatenate([[0], np.cumsum(lengths)])], axis=0)
    return np.stack([sums[:, 0], lengths, sizes, sums[:, 1], sums[:, 2], sums[:, 3]], axis=1).astype(np.float64)


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
