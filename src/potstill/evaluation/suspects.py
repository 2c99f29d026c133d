"""Labels worth a second look: confident learning.

A label is suspect where a model that did not learn from it is surer of another class than it is, on average, of the rows that bear that
class's name. Source: Northcutt, Jiang and Chuang 2021, "Confident learning: estimating uncertainty in dataset labels", section 3.1; the
suspects are the off-diagonal of its confident joint, ranked by the normalized margin of section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Suspect:
    """``row``: its place; ``likelier``: the class that the model holds it to be; ``margin``: p(label) less the greatest p of another class, -1 to 1."""

    row: int
    likelier: int
    margin: float


def suspects(labels: np.ndarray, probabilities: np.ndarray) -> list[Suspect]:
    """Return the suspect ones of ``labels`` *Shape:* (n,) integers, the surest first.

    ``probabilities`` *Shape:* (n, classes): of a model that learnt from none of these labels, or from each one's row by others' labels
    alone. A row without a label (-1), or of which the model says nothing (NaN), is never suspect.
    """
    known = np.flatnonzero((labels >= 0) & np.isfinite(probabilities).all(axis=1))
    given, said = labels[known], probabilities[known].astype(np.float64)
    above = np.where(said >= thresholds(given, said), said, -1.0)
    likelier = np.where(above.max(axis=1, initial=-1.0) >= 0, above.argmax(axis=1), given)
    others = said.copy()
    others[np.arange(len(given)), given] = -np.inf
    margins = said[np.arange(len(given)), given] - others.max(axis=1, initial=-np.inf)
    found = [Suspect(int(known[i]), int(likelier[i]), float(margins[i])) for i in np.flatnonzero(likelier != given)]
    return sorted(found, key=lambda suspect: (suspect.margin, suspect.row))


def thresholds(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return how sure the model is of each class on the rows that bear its name *Shape:* (classes,); infinite where none does."""
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    own = np.bincount(labels, weights=probabilities[np.arange(len(labels)), labels], minlength=classes)
    return np.where(counts > 0, own / np.maximum(counts, 1), np.inf)
