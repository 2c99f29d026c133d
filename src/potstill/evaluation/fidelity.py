"""Agreement with the teacher, and where the two part."""

from __future__ import annotations

from typing import Any

import numpy as np

from .metrics import FLOOR
from .rows import Rows, answered, disagreement_interval

ALPHA = 0.025  # two-sided 95 %


def fidelity(teacher: np.ndarray, student: np.ndarray, groups: np.ndarray | None = None) -> dict[str, Any]:
    """Return {agreement, low, high, n, kl}: the agreement with its exact (or cluster-robust) interval, the mean KL(teacher || student).

    *Shapes:* (n, classes) log-probabilities, ``groups`` (n,) integers or None. Rows that the teacher did not answer don't count; n is
    the number of independent units. A student's probability counts at least ``FLOOR``, so that the divergence is finite.
    """
    rows = Rows(np.zeros(len(teacher), int), teacher, student, groups).known(need_gold=False)
    if not len(rows):
        return {"agreement": None, "low": None, "high": None, "n": 0, "kl": None}
    found = disagreement_interval(rows, ALPHA)
    return {"agreement": 1 - found.value, "low": 1 - found.high, "high": 1 - found.low, "n": found.n, "kl": kl(rows.teacher, rows.student)}


def kl(teacher: np.ndarray, student: np.ndarray) -> float:
    """Return the mean over rows of KL(teacher || student) in nats. *Shapes:* (n, classes) log-probabilities."""
    sure = np.where(np.isfinite(teacher), teacher.astype(np.float64), 0.0)  # what the teacher holds impossible adds nothing
    terms = np.where(np.isfinite(teacher), np.exp(sure) * (sure - np.maximum(student.astype(np.float64), FLOOR)), 0.0)
    return max(0.0, float(terms.sum(axis=1).mean()))


def flips(gold: np.ndarray, teacher: np.ndarray, student: np.ndarray) -> dict[str, np.ndarray]:
    """Return the rows where only the teacher is right (harmful) and only the student (beneficial), the surest mistakes first.

    Rows without gold (-1) or without the teacher's answer are in neither.
    """
    told, taught = student.argmax(axis=1), teacher.argmax(axis=1)
    known = (gold >= 0) & answered(teacher)
    return {
        "harmful": _surest(known & (taught == gold) & (told != gold), student.max(axis=1)),
        "beneficial": _surest(known & (taught != gold) & (told == gold), student.max(axis=1)),
    }


def disagreements(teacher: np.ndarray, student: np.ndarray) -> np.ndarray:
    """Return the rows on which the two decide otherwise, those first of which the student is surest. No gold is needed."""
    return _surest(answered(teacher) & (teacher.argmax(axis=1) != student.argmax(axis=1)), student.max(axis=1))


def _surest(rows: np.ndarray, sure: np.ndarray) -> np.ndarray:
    places = np.flatnonzero(rows)
    return np.asarray(places[np.argsort(-sure[places], kind="stable")])
