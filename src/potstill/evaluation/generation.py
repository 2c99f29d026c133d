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
# the whole vocabulary in nats, summed over positions (beside a teacher that tells its top alone over that: `beside_top`); agreed: positions where
# its likeliest token is the teacher's; right: where it is the one that stands there.
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


@final
@dataclass(frozen=True)
class Tops:
    """What a teacher says that tells no more than the top of its distribution: some tokens of each position, and the mass of all others.

    *Shapes:* ``ids`` and ``logprobs`` (positions, most tokens of any), -inf in empty slots; ``tail`` (positions,). Ids are below ``vocabulary``.
    Scaled to a mass of 1.
    """

    ids: np.ndarray
    logprobs: np.ndarray
    tail: np.ndarray
    vocabulary: int

    @staticmethod
    def made(ids: np.ndarray, logprobs: np.ndarray, tail: np.ndarray, vocabulary: int) -> Tops:
        logs = logprobs.astype(np.float64)
        whole = np.exp(logs).sum(axis=1) + tail
        return Tops(ids, logs - np.log(whole)[:, None], tail / whole, vocabulary)

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, here: slice) -> Tops:
        return Tops(self.ids[here], self.logprobs[here], self.tail[here], self.vocabulary)

    @property
    def likeliest(self) -> np.ndarray:
        """*Shape:* (positions,) ids."""
        return np.take_along_axis(self.ids, self.logprobs.argmax(axis=1)[:, None], axis=1)[:, 0]


def of_top(told: Tops, targets: np.ndarray) -> np.ndarray:
    """Return (positions, 4) as :func:`measured`, of the teacher itself; nats are NaN where it says nothing of the token that stands there."""
    own = np.where((told.ids == targets[:, None]) & np.isfinite(told.logprobs), told.logprobs, np.nan)
    known = np.isfinite(own).any(axis=1)
    nats = np.where(known, -np.nansum(own, axis=1), np.nan)
    return np.stack([nats, np.zeros(len(own)), np.ones(len(own)), told.likeliest == targets], axis=1).astype(np.float64)


def beside_top(logits: np.ndarray, targets: np.ndarray, told: Tops) -> np.ndarray:
    """Return (positions, 4) as :func:`measured`, beside a teacher of which the top is known. *Shape:* ``logits`` (positions, vocabulary).

    kl is over the tokens that it names and one bucket for all others, on both sides: at most that of the whole distributions (the data processing
    inequality; Cover and Thomas 2006, section 2.8), and the same where the top is all of the vocabulary.
    """
    own = _log_softmax(logits[:, : told.vocabulary])
    best, there = own.argmax(axis=1), np.isfinite(told.logprobs)
    named = np.zeros(own.shape, bool)
    named[np.nonzero(there)[0], told.ids[there]] = True
    terms = np.where(there, np.exp(told.logprobs) * (np.where(there, told.logprobs, 0.0) - np.take_along_axis(own, told.ids, axis=1)), 0.0).sum(axis=1)
    rest = (told.tail > 0) & ~named.all(axis=1)
    others = _log_sum(np.where(named[rest], -np.inf, own[rest]))
    terms[rest] += told.tail[rest] * (np.log(told.tail[rest]) - others)
    nats = -np.take_along_axis(own, targets[:, None], axis=1)[:, 0]
    return np.stack([nats, terms, told.likeliest == best, best == targets], axis=1).astype(np.float64)


def by_row(found: np.ndarray, lengths: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the measures of rows of ``lengths`` positions, of ``sizes`` bytes, from those of their positions (:func:`measured`), end to end."""
    sums = np.diff(np.concatenate([np.zeros((1, found.shape[1])), np.cumsum(found, axis=0)])[np.concatenate([[0], np.cumsum(lengths)])], axis=0)
    return np.stack([sums[:, 0], lengths, sizes, sums[:, 1], sums[:, 2], sums[:, 3]], axis=1).astype(np.float64)


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def _log_sum(logs: np.ndarray) -> np.ndarray:
    """Return log of the sum of exp of each row *Shape:* (rows,); each row has a finite entry."""
    highest = logs.max(axis=1)
    found: np.ndarray = highest + np.log(np.exp(logs - highest[:, None]).sum(axis=1))
    return found
