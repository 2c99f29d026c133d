"""The floor where any number of labels apply: TF-IDF and a logistic regression for each label (one versus the rest)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from ..errors import DataError
from .floor import FOLDS, GRID, LEAST, USUAL, size_of, vectorizer, vectors


@dataclass(frozen=True)
class LabelsFloor:
    """A fitted floor; ``rows`` are the columns of ``weights`` and ``biases``. Labels that all rows have, or none, keep their share."""

    vectorizer: TfidfVectorizer
    weights: np.ndarray  # (words, labels)
    biases: np.ndarray  # (labels,)
    strictness: float
    size_bytes: int
    fit_seconds: float

    def predict_logprobs(self, texts: Sequence[str]) -> np.ndarray:
        """Return log-odds *Shape:* (texts, labels) float32: what stands for log-probabilities where labels are independent."""
        if not texts:
            return np.zeros((0, len(self.biases)), np.float32)
        return np.asarray(self.vectorizer.transform(texts) @ self.weights + self.biases, np.float32)


def labels_floor(texts: Sequence[str], gold: np.ndarray, *, seed: int) -> LabelsFloor:
    """Fit on ``texts`` with ``gold`` *Shape:* (n, labels) of 0 and 1; rows without gold (-1) are left out.

    One strictness serves all labels: the one of the least log-loss in cross-validation. Raises :class:`DataError` without gold.
    """
    began = time.perf_counter()
    kept = np.flatnonzero((gold >= 0).all(axis=1))
    true = gold[kept]
    if not len(kept) or not (true > 0).any():
        raise DataError("no gold row has a label", place="data.train", remedy="label some rows")
    words = vectorizer()
    matrix = vectors(words, [texts[int(row)] for row in kept])
    strictness = _strictness(matrix, true, seed)
    weights, biases = _fit(matrix, true, strictness)
    return LabelsFloor(words, weights, biases, strictness, size_of(weights, words), time.perf_counter() - began)


def _strictness(matrix: Any, true: np.ndarray, seed: int) -> float:
    if len(true) < 2 * FOLDS:
        return USUAL
    folds = list(KFold(FOLDS, shuffle=True, random_state=seed).split(true))

    def loss(c: float) -> float:
        total = 0.0
        for learnt, judged in folds:
            weights, biases = _fit(matrix[learnt], true[learnt], c)
            logodds = matrix[judged] @ weights + biases
            total += float(np.logaddexp(0, np.where(true[judged] > 0, -logodds, logodds)).sum())
        return total

    return min(GRID, key=loss)


def _fit(matrix: Any, true: np.ndarray, c: float) -> tuple[np.ndarray, np.ndarray]:
    shares = true.mean(axis=0).clip(LEAST, 1 - LEAST)
    weights, biases = np.zeros((matrix.shape[1], true.shape[1]), np.float32), np.log(shares / (1 - shares)).astype(np.float32)
    for label in np.flatnonzero((true.min(axis=0) == 0) & (true.max(axis=0) == 1)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits don't matter to a floor
            # Its dual solver costs a tenth of the usual one's time where there are many labels; it draws from its seed.
            model = LogisticRegression(C=c, max_iter=200, solver="liblinear", random_state=0).fit(matrix, true[:, label])
        weights[:, label], biases[label] = model.coef_[0], model.intercept_[0]
    return weights, biases
