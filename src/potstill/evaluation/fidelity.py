"""Agreement with the teacher, and where the two part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..records import HeadKind
from .decisions import KINDS, Decisions, answered, of
from .generation import KL, TOKENS
from .metrics import FLOOR
from .rows import Rows, disagreement_interval

ALPHA = 0.025  # two-sided 95 %


def fidelity(
    teacher: np.ndarray, student: np.ndarray, groups: np.ndarray | None = None, *, kind: HeadKind = "classes",
    thresholds: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return {agreement, low, high, n, kl}: the agreement with its exact (or cluster-robust) interval, the mean KL(teacher || student).

    *Shapes:* (n, classes) log-probabilities, ``groups`` (n,) integers or None. Rows that the teacher did not answer don't count; n is
    the number of independent units. A student's probability counts at least ``FLOOR``, so that the divergence is finite.

    ``kind`` "labels": log-odds (n, labels), and ``thresholds`` of teacher and student (labels,); a row agrees where the sets of labels
    are equal. Then there is ``label_agreement`` too: the share of decisions, label by label, that are the same. "tokens": measures
    (n, measures); the agreement is that of positions, n counts rows.
    """
    off = thresholds or (np.zeros(1, teacher.dtype), np.zeros(1, student.dtype))
    gold = {"classes": (len(teacher),), "labels": teacher.shape, "tokens": (len(teacher), 0)}[kind]
    rows = Rows(np.zeros(gold, int), teacher - off[0], student - off[1], groups)
    known = answered(teacher)
    rows = rows.known(need_gold=False)
    more: dict[str, Any] = {"label_agreement": None} if kind == "labels" else {}
    if not len(rows):
        return {"agreement": None, "low": None, "high": None, "n": 0, "kl": None, **more}
    found = disagreement_interval(rows, ALPHA)
    if kind == "labels":
        more = {"label_agreement": float(((rows.teacher >= 0) == (rows.student >= 0)).mean())}
    divergence = DIVERGENCES[kind](teacher[known], student[known])
    return {"agreement": 1 - found.value, "low": 1 - found.high, "high": 1 - found.low, "n": found.n, "kl": divergence, **more}


def kl(teacher: np.ndarray, student: np.ndarray) -> float:
    """Return the mean over rows of KL(teacher || student) in nats. *Shapes:* (n, classes) log-probabilities."""
    sure = np.where(np.isfinite(teacher), teacher.astype(np.float64), 0.0)  # what the teacher holds impossible adds nothing
    terms = np.where(np.isfinite(teacher), np.exp(sure) * (sure - np.maximum(student.astype(np.float64), FLOOR)), 0.0)
    return max(0.0, float(terms.sum(axis=1).mean()))


def labels_kl(teacher: np.ndarray, student: np.ndarray) -> float:
    """Return the mean over rows of KL(teacher || student) of the whole set of labels, taken for independent: the labels' sum, in nats.

    *Shapes:* (n, labels) log-odds.
    """
    sides = [np.stack([-np.logaddexp(0, -z), -np.logaddexp(0, z)], axis=-1) for z in (teacher.astype(np.float64), student.astype(np.float64))]
    terms = np.exp(sides[0]) * (sides[0] - np.maximum(sides[1], FLOOR))
    return max(0.0, float(terms.sum(axis=(1, 2)).mean()))


def tokens_kl(teacher: np.ndarray, student: np.ndarray) -> float:
    """Return the mean over positions of KL(teacher || student) in nats, of a student's measures (:mod:`.generation`)."""
    return max(0.0, float(student[:, KL].sum() / max(student[:, TOKENS].sum(), 1)))


DIVERGENCES: Mapping[HeadKind, Callable[[np.ndarray, np.ndarray], float]] = {"classes": kl, "labels": labels_kl, "tokens": tokens_kl}


def flips(gold: np.ndarray, teacher: np.ndarray, student: np.ndarray) -> dict[str, np.ndarray]:
    """Return the rows where only the teacher is right (harmful) and only the student (beneficial), the surest mistakes first.

    Rows without gold (-1) or without the teacher's answer are in neither. With several labels a row, a row is right in all of them.
    """
    decisions = of(gold)
    told, taught = decisions.right(gold, student), decisions.right(gold, teacher)
    known, sure = decisions.labeled(gold) & answered(teacher), decisions.sure(student)
    return {"harmful": _surest(known & taught & ~told, sure), "beneficial": _surest(known & ~taught & told, sure)}


def disagreements(teacher: np.ndarray, student: np.ndarray, *, kind: HeadKind = "classes") -> np.ndarray:
    """Return the rows on which the two decide otherwise, those first of which the student is surest. No gold is needed."""
    decisions: Decisions = KINDS[kind]
    return _surest(answered(teacher) & decisions.differ(teacher, student), decisions.sure(student))


def _surest(rows: np.ndarray, sure: np.ndarray) -> np.ndarray:
    places = np.flatnonzero(rows)
    return np.asarray(places[np.argsort(-sure[places], kind="stable")])
