"""Agreement with the teacher, and where the two part."""

from __future__ import annotations

from typing import Any

import numpy as np

from .statistics import clopper_pearson

ALPHA = 0.025  # two-sided 95 %


def fidelity(teacher: np.ndarray, student: np.ndarray) -> dict[str, Any]:
    """Return the agreement with its exact interval, and the mean KL(teacher || student). *Shapes:* (n, classes) log-probabilities."""
    same = int((teacher.argmax(axis=1) == student.argmax(axis=1)).sum())
    low, high = clopper_pearson(same, len(teacher), ALPHA)
    terms = np.where(np.isfinite(teacher), np.exp(teacher) * (teacher - student), 0.0)
    return {"agreement": same / len(teacher), "low": low, "high": high, "n": len(teacher), "kl": float(terms.sum(axis=1).mean())}


def flips(gold: np.ndarray, teacher: np.ndarray, student: np.ndarray) -> dict[str, np.ndarray]:
    """Return the rows where only the teacher is right (harmful) and only the student (beneficial), the surest mistakes first."""
    told, taught = student.argmax(axis=1), teacher.argmax(axis=1)
    sure = student.max(axis=1)
    harmful = np.flatnonzero((taught == gold) & (told != gold))
    beneficial = np.flatnonzero((taught != gold) & (told == gold))
    return {
        "harmful": harmful[np.argsort(-sure[harmful], kind="stable")],
        "beneficial": beneficial[np.argsort(-sure[beneficial], kind="stable")],
    }
