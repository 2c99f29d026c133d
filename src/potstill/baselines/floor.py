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

from ..errors import DataError

GRID = (4.0, 16.0, 64.0)  # C, the inverse of strictness; 1 and 0.25 were measured worse on TREC, subj, custrev and rt-polarity
USUAL = 16.0  # where there are too few rows of a class to choose
FOLDS = 3
LEAST = 1e-7  # of a probability: a class that the gold rows lack is not impossible


@dataclass(frozen=True)
class Floor:
    """A fitted floor; ``size_bytes`` are those of its weights and its vocabulary, ``strictness`` the C that was chosen."""

    vectorizer: TfidfVectorizer
    model: LogisticRegression
    classes: int
    strictness: float
    size_bytes: int
    fit_seconds: float

    def predict_logprobs(self, texts: Sequence[str]) -> np.ndarray:
        """Return log-probabilities *Shape:* (texts, classes) float32."""
        out = np.full((len(texts), self.classes), LEAST)
        if texts:
            out = np.maximum(probabilities(self.model, self.vectorizer.transform(texts), self.classes), LEAST)
        return np.log(out / out.sum(axis=1, keepdims=True)).astype(np.float32)


def floor(texts: Sequence[str], gold: np.ndarray, *, classes: int, seed: int) -> Floor:
    """Fit on ``texts`` with ``gold`` *Shape:* (n,) integers; rows without gold (-1) are left out.

    Raises :class:`DataError` where gold has fewer than two classes.
    """
    began = time.perf_counter()
    kept = np.flatnonzero(gold >= 0)
    labels = gold[kept]
    if len(np.unique(labels)) < 2:
        raise DataError("the gold labels have fewer than two classes", place="data.train", remedy="label rows of another class")
    words = vectorizer()
    matrix = vectors(words, [texts[int(row)] for row in kept])
    strictness = _strictness(matrix, labels, seed)
    model = fitted(matrix, labels, strictness)
    return Floor(words, model, classes, strictness, size_of(model.coef_, words), time.perf_counter() - began)


def vectorizer() -> TfidfVectorizer:
    """Return what counts words and pairs of words."""
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", dtype=np.float32)


def size_of(weights: np.ndarray, words: TfidfVectorizer) -> int:
    """Return the bytes of the weights and of the vocabulary, each word with its idf and its number."""
    return int(weights.nbytes + sum(len(word.encode("utf-8", "surrogatepass")) + 8 for word in words.vocabulary_))


def vectors(words: TfidfVectorizer, texts: Sequence[str]) -> Any:
    """Return the texts as rows of a sparse matrix, the vocabulary learnt from them. Raises :class:`DataError` where they have no words."""
    try:
        return words.fit_transform(texts)
    except ValueError as error:  # scikit-learn's "empty vocabulary"
        raise DataError("the texts have no words", place="data.train", remedy="check that `columns.text` names the text") from error


def probabilities(model: LogisticRegression, matrix: Any, classes: int) -> np.ndarray:
    """Return what ``model`` says *Shape:* (rows, classes): 0 for a class that it has not met."""
    out = np.zeros((matrix.shape[0], classes))
    out[:, model.classes_] = model.predict_proba(matrix)
    return out


def _strictness(matrix: Any, gold: np.ndarray, seed: int) -> float:
    if np.unique(gold, return_counts=True)[1].min() < FOLDS:
        return USUAL
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(matrix, gold))
    scores = {c: float(np.mean([fitted(matrix[train], gold[train], c).score(matrix[test], gold[test]) for train, test in folds])) for c in GRID}
    return max(scores, key=lambda c: scores[c])


def fitted(matrix: Any, gold: np.ndarray, c: float) -> LogisticRegression:
    """Return the linear model of ``gold`` over ``matrix``, as strict as ``c`` says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits don't matter to a floor
        return LogisticRegression(C=c, max_iter=200).fit(matrix, gold)
