"""The recipe's objectives for a fit that asks for gradients: the same losses as ``objectives``, their slopes and curvatures by hand.

A student with a fit of its own runs without torch, so these are a second implementation; a test holds them to autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import storage
from ..errors import UserError
from ..records import Want
from .records import TrainingRows

LOGPROBS = Want("logprobs")
FLOOR = 1e-6  # of a curvature, so that a leaf of rows that are all learnt keeps its value finite
Part = tuple[np.ndarray, np.ndarray, np.ndarray]  # losses (rows,), gradients and curvatures (rows, classes)
Loss = Callable[[np.ndarray], Part]


@dataclass(frozen=True)
class Slope:
    """One term: ``loss`` over the rows that have it, each counting ``weight``."""

    name: str
    weight: float
    rows: np.ndarray  # bool (rows,)
    loss: Loss


@dataclass(frozen=True)
class Goal:
    """The whole loss. Each term is a mean over its rows, as in the loop; gradients are scaled so that a term of weight 1 counts 1 a row."""

    slopes: tuple[Slope, ...]
    count: int
    digest: str

    @staticmethod
    def of(rows: TrainingRows, terms: Sequence[Mapping[str, Any]], classes: int) -> Goal:
        """Return the goal of ``terms`` over ``rows``; raises :class:`UserError` for a term that can't be learnt from them."""
        for term in terms:
            if term["kind"] not in KINDS:
                raise UserError(f"trees can't use the objective '{term['kind']}'", place="objectives", remedy=f"they learn by {' and '.join(KINDS)}")
        taught = np.concatenate(rows.teacher[LOGPROBS]).astype(np.float64) if LOGPROBS in rows.teacher else None
        slopes = tuple(KINDS[term["kind"]](term, taught, np.asarray(rows.gold), classes) for term in terms)
        inputs = [item["ids"].tolist() for item in rows.items]
        digest = storage.digest(
            [dict(term) for term in terms], inputs, np.asarray(rows.gold).tolist(), None if taught is None else storage.sha256_bytes(taught.tobytes())
        )
        return Goal(slopes, len(rows), digest)

    def __call__(self, scores: np.ndarray) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
        """Return each term's mean loss, and the whole's gradient and curvature *Shape:* (rows, classes), at logits ``scores``."""
        gradient, curvature, losses = np.zeros_like(scores), np.zeros_like(scores), {}
        for slope in self.slopes:
            loss, first, second = slope.loss(scores)
            share = slope.weight * self.count / slope.rows.sum()
            gradient[slope.rows] += share * first
            curvature[slope.rows] += share * second
            losses[slope.name] = float(loss.mean())
        return losses, gradient, np.maximum(curvature, FLOOR)

    def total(self, losses: Mapping[str, float]) -> float:
        return sum(slope.weight * losses[slope.name] for slope in self.slopes)


def _logits(term: Mapping[str, Any], taught: np.ndarray | None, gold: np.ndarray, classes: int) -> Slope:
    if taught is None:
        raise UserError("'logits' needs the teacher's logprobs, which was not asked for", remedy="label with it first")
    loss = {"kl": _kl, "mse": _mse}[term.get("loss", "kl")](taught, term.get("kd_temperature", 2.0))
    return Slope("logits", term["weight"], np.ones(len(taught), bool), loss)


def _kl(taught: np.ndarray, temperature: float) -> Loss:
    """T² KL(teacher || student) of softened classes: ``objectives.divergences.kl``. The gradient is T (p - q)."""
    target = log_softmax(taught / temperature)
    share, wide = np.exp(target), _wide(taught.shape[1])

    def loss(scores: np.ndarray) -> Part:
        own = log_softmax(scores / temperature)
        p = np.exp(own)
        parts = np.where(share > 0, share * (np.where(share > 0, target, 0) - own), 0.0)
        return temperature**2 * parts.sum(1), temperature * (p - share), wide * p * (1 - p)

    return loss


def _mse(taught: np.ndarray, _: float) -> Loss:
    """Half the mean squared distance of centered scores: ``objectives.divergences.mse``."""
    if not np.isfinite(taught).all():
        raise UserError(
            "the teacher gives a class the probability 0, whose logit is infinite", place="objectives logits",
            remedy="use {kind: logits, loss: kl}, which can learn from such answers",
        )  # fmt: skip
    target, classes = _centered(taught), taught.shape[1]

    def loss(scores: np.ndarray) -> Part:
        off = _centered(scores) - target
        return 0.5 * np.square(off).mean(1), off / classes, np.full_like(off, (1 - 1 / classes) / classes)

    return loss


def _hard(term: Mapping[str, Any], taught: np.ndarray | None, gold: np.ndarray, classes: int) -> Slope:
    known = gold >= 0
    if not known.any():
        raise UserError("'hard' learns from gold labels, and no row has one", place="objectives", remedy="leave it out")
    target, wide = np.eye(classes)[gold[known]], _wide(classes)

    def loss(scores: np.ndarray) -> Part:
        own = log_softmax(scores[known])
        p = np.exp(own)
        return -(target * own).sum(1), p - target, wide * p * (1 - p)

    return Slope("hard", term["weight"], known, loss)


KINDS: Mapping[str, Callable[[Mapping[str, Any], np.ndarray | None, np.ndarray, int], Slope]] = {"logits": _logits, "hard": _hard}


def _wide(classes: int) -> float:
    """Return the factor on a softmax's curvature where each class has a tree of its own (Friedman 2001, "Greedy function approximation", algorithm 6)."""
    return classes / (classes - 1) if classes > 1 else 1.0


def _centered(scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores - scores.mean(axis=1, keepdims=True))


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Return log-probabilities along the last axis, float64; -inf stays -inf."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
