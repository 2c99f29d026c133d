"""What the floor says of rows that it did not learn from: cross-validated probabilities, rows of a group always on one side."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from . import floor

FOLDS = 5
STRICTNESS = 4.0  # finds flipped labels of TREC and CR no worse than 1 or 16 (docs/log.md)


def held_out(texts: Sequence[str], labels: np.ndarray, groups: Sequence[Hashable], *, classes: int, seed: int) -> np.ndarray:
    """Return the probabilities *Shape:* (n, classes) of ``labels`` *Shape:* (n,) integers, each row's by a model of the other folds.

    NaN everywhere where there are too few rows for folds: fewer than ``FOLDS`` groups, or one class. A class that a fold's rows lack
    has the probability 0.
    """
    out = np.full((len(texts), classes), np.nan)
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    if len(numbers) < FOLDS or len(np.unique(labels)) < 2:
        return out
    matrix = floor.vectors(floor.vectorizer(), texts)  # its idf has seen all texts, and no label
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for learnt, held in folds.split(matrix, labels, [numbers[group] for group in groups]):
        if len(held) and len(np.unique(labels[learnt])) > 1:
            out[held] = floor.probabilities(floor.fitted(matrix[learnt], labels[learnt], STRICTNESS), matrix[held], classes)
    return out
