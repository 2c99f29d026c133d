"""TF-IDF and logistic regression, by scikit-learn, its strictness chosen by cross-validation on the rows it learns from."""

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
from sklearn.model_selection import StratifiedKFold

GRID = (1.0, 4.0, 16.0)  # C; below and above never won on the sets of benchmarks/
FOLDS = 3
LEAST = 1e-7  # of a probability: a class that the gold rows lack is not impossible


@dataclass(frozen=True)
class Floor:
    """A fitted floor; ``size_bytes`` are those of its weights and its vocabulary."""

    vectorizer: Any
    model: Any
    classes: int
    size_bytes: int
    fit_seconds: float

    def predict_logprobs(self, texts: Sequence[str]) -> np.ndarray:
        """Return log-probabilities *Shape:* (texts, classes) float32."""
        out = np.full((len(texts), self.classes), LEAST)
        out[:, self.model.classes_] = np.maximum(self.model.predict_proba(self.vectorizer.transform(texts)), LEAST)
        return np.log(out / out.sum(axis=1, keepdims=True)).astype(np.float32)


def floor(texts: Sequence[str], gold: np.ndarray, *, classes: int, seed: int) -> Floor:
    """Fit on ``texts`` with ``gold`` *Shape:* (n,) integers."""
    began = time.perf_counter()
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1, token_pattern=r"(?u)\b\w+\b")
    matrix = vectorizer.fit_transform(texts)
    model = _fit(matrix, gold, _strictness(matrix, gold, seed))
    size = model.coef_.nbytes + sum(len(word.encode()) + 12 for word in vectorizer.vocabulary_)
    return Floor(vectorizer, model, classes, int(size), time.perf_counter() - began)


def _strictness(matrix: Any, gold: np.ndarray, seed: int) -> float:
    if np.bincount(gold)[np.unique(gold)].min() < FOLDS:
        return 4.0
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(matrix, gold))
    scores = {c: float(np.mean([_fit(matrix[train], gold[train], c).score(matrix[test], gold[test]) for train, test in folds])) for c in GRID}
    return max(scores, key=lambda c: scores[c])


def _fit(matrix: Any, gold: np.ndarray, c: float) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits don't matter to a floor
        return LogisticRegression(C=c, max_iter=200).fit(matrix, gold)
