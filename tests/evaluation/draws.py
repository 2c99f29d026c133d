"""Small made-up rows for these tests."""

from __future__ import annotations

import numpy as np

from potstill.evaluation.rows import Rows


def sure(told: np.ndarray, classes: int, p: float = 0.9) -> np.ndarray:
    """Log-probabilities (n, classes) that decide as told."""
    return np.log(np.where(np.eye(classes)[told] == 1, p, (1 - p) / (classes - 1)))


def pair(worse: int, better: int, n: int, *, groups: np.ndarray | None = None) -> Rows:
    """Rows on which `worse` only the teacher, `better` only the student is right, and both on all others."""
    teacher, student = np.zeros(n, int), np.zeros(n, int)
    student[:worse], teacher[worse : worse + better] = 1, 1
    return Rows(np.zeros(n, int), sure(teacher, 2), sure(student, 2), groups)


def noisy(random: np.random.Generator, n: int, classes: int, wrong: float) -> tuple[np.ndarray, np.ndarray]:
    """Gold (n,) and log-probabilities (n, classes) that are wrong on about so many rows."""
    gold = random.integers(0, classes, n)
    told = np.where(random.random(n) < wrong, random.integers(0, classes, n), gold)
    soft = random.dirichlet(np.ones(classes), n) * 0.5 + np.eye(classes)[told] * 0.5
    return gold, np.log(soft)
