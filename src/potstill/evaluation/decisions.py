"""How scores decide and when a decision is right: one class a row, any number of labels, texts. Which of them it is, gold's shape says.

Scores are log-probabilities of classes *Shape:* (n, classes), gold (n,); or log-odds of labels (n, labels), each label's threshold taken
off, so that 0 decides, gold (n, labels); or a language model's measures (n, measures), which decide nothing row by row, gold (n, 0); or the grades
of what it wrote (n, grades), gold (n, 0, 0). Rows of NaN were not answered; gold of -1 was not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np

from .answers import GRADES
from .generation import AGREED, NATS, TOKENS


class Decisions(Protocol):
    """One kind of head, as evaluation sees it. All results have *Shape:* (n,), but that of ``worst``."""

    def labeled(self, gold: np.ndarray) -> np.ndarray:
        """Return which rows have gold."""

    def right(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return which rows are decided as gold has it: in all labels, where there are several."""

    def differ(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return which rows two sides decide otherwise: in any label, where there are several."""

    def parted(self, teacher: np.ndarray, student: np.ndarray) -> np.ndarray | None:
        """Return (n, 2), how many of a row's decisions the student makes otherwise, and how many there are; None where a row is one decision."""

    def sure(self, scores: np.ndarray) -> np.ndarray:
        """Return a number that grows with how sure a decision is."""

    def worst(self, scores: np.ndarray) -> np.ndarray:
        """Return scores (n, width) that decide as wrongly as these decide rightly."""


@final
@dataclass(frozen=True)
class Classes:
    """The likeliest class is told."""

    def labeled(self, gold: np.ndarray) -> np.ndarray:
        return np.asarray(gold >= 0)

    def right(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        return np.asarray(scores.argmax(axis=1) == gold)

    def differ(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.asarray(first.argmax(axis=1) != second.argmax(axis=1))

    def parted(self, teacher: np.ndarray, student: np.ndarray) -> np.ndarray | None:
        return None

    def sure(self, scores: np.ndarray) -> np.ndarray:
        return np.asarray(scores.max(axis=1))

    def worst(self, scores: np.ndarray) -> np.ndarray:
        return -scores  # the least likely class is told instead


@final
@dataclass(frozen=True)
class Labels:
    """A label is told where its score is 0 or more."""

    def labeled(self, gold: np.ndarray) -> np.ndarray:
        return np.asarray((gold >= 0).all(axis=1))

    def right(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        return np.asarray(((scores >= 0) == (gold > 0)).all(axis=1))

    def differ(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.asarray(((first >= 0) != (second >= 0)).any(axis=1))

    def parted(self, teacher: np.ndarray, student: np.ndarray) -> np.ndarray | None:
        return None

    def sure(self, scores: np.ndarray) -> np.ndarray:
        """The log-probability of the whole set, labels taken for independent."""
        return np.asarray(-np.logaddexp(0.0, -np.abs(scores.astype(np.float64))).sum(axis=1))

    def worst(self, scores: np.ndarray) -> np.ndarray:
        """As many labels as were told, at least one, but the least likely ones: what a wrong class is where one label applies."""
        told = (scores >= 0).sum(axis=1, keepdims=True)
        rank = scores.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")  # 0: the least likely
        all_told = told == scores.shape[1]
        return np.where((rank < np.maximum(told, 1)) & ~all_told, 1.0, -1.0)


@final
@dataclass(frozen=True)
class Tokens:
    """The likeliest token is told, at each position of a row; no row is right or wrong as a whole."""

    def labeled(self, gold: np.ndarray) -> np.ndarray:
        return np.ones(len(gold), bool)

    def right(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        return np.zeros(len(scores), bool)

    def differ(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Which rows hold a position where the second tells another token; the first must be the teacher."""
        return np.asarray(second[:, AGREED] < second[:, TOKENS])

    def parted(self, teacher: np.ndarray, student: np.ndarray) -> np.ndarray | None:
        return np.stack([student[:, TOKENS] - student[:, AGREED], student[:, TOKENS]], axis=1).astype(np.float64)

    def sure(self, scores: np.ndarray) -> np.ndarray:
        return np.asarray(-scores[:, NATS] / np.maximum(scores[:, TOKENS], 1))

    def worst(self, scores: np.ndarray) -> np.ndarray:
        return scores


@final
@dataclass(frozen=True)
class Answers:
    """A whole answer was written, and graded (:mod:`.answers`)."""

    def labeled(self, gold: np.ndarray) -> np.ndarray:
        return np.ones(len(gold), bool)

    def right(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Which answers are worth anything, by any grade: those that could be worse."""
        return np.asarray((scores[:, :GRADES] > 0).any(axis=1))

    def differ(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.asarray((first[:, :GRADES] != second[:, :GRADES]).any(axis=1))

    def parted(self, teacher: np.ndarray, student: np.ndarray) -> np.ndarray | None:
        return None

    def sure(self, scores: np.ndarray) -> np.ndarray:
        """Nobody is sure of an answer as a whole."""
        return np.zeros(len(scores))

    def worst(self, scores: np.ndarray) -> np.ndarray:
        """The same answers, worth nothing."""
        return np.concatenate([np.zeros_like(scores[:, :GRADES]), scores[:, GRADES:]], axis=1)


KINDS: Mapping[str, Decisions] = {"classes": Classes(), "labels": Labels(), "tokens": Tokens(), "answers": Answers()}  # by head, and what was written


def of(gold: np.ndarray) -> Decisions:
    """Return how the rows with this gold are decided."""
    if gold.ndim == 3:
        return KINDS["answers"]
    return KINDS["classes" if gold.ndim == 1 else "labels" if gold.shape[1] else "tokens"]


def answered(scores: np.ndarray) -> np.ndarray:
    """Return which rows hold an answer. *Shapes:* (n, width) -> (n,). A row that was refused or failed is NaN."""
    return np.asarray(np.isfinite(scores).any(axis=1) & ~np.isnan(scores).any(axis=1))
