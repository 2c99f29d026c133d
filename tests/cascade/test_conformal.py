"""Conformal sets hold the right label as often as they say, and are those of MAPIE."""

from __future__ import annotations

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin

from potstill.cascade import conformal


def rows(n, seed, classes=5):
    random = np.random.default_rng(seed)
    scores = random.normal(size=(n, classes)) * 2
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    gold = np.array([random.choice(classes, p=p) for p in probabilities])
    return probabilities, gold


class Given(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose probabilities are its inputs."""

    def fit(self, x, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True

    @property
    def classes_(self):
        return np.arange(5)

    def predict_proba(self, x):
        return x

    def predict(self, x):
        return x.argmax(axis=1)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("n", [60, 199, 500])
def test_the_sets_are_those_of_mapie(n, coverage):
    probabilities, gold = rows(n, n)
    fresh, _ = rows(300, 7)
    theirs = SplitConformalClassifier(Given(), confidence_level=coverage, conformity_score="lac", prefit=True)
    theirs.conformalize(probabilities, gold)
    _, expected = theirs.predict_set(fresh)
    np.testing.assert_array_equal(conformal.sets(fresh, conformal.level(probabilities, gold, coverage)), expected[:, :, 0])


def test_the_right_label_is_inside_as_often_as_promised():
    inside = []
    for seed in range(400):
        probabilities, gold = rows(250, seed)
        level = conformal.level(probabilities[:200], gold[:200], 0.9)
        inside.append(conformal.sets(probabilities[200:], level)[np.arange(50), gold[200:]].mean())
    assert np.mean(inside) == pytest.approx(0.9 + 0.5 / 201, abs=0.01)


def test_too_few_rows_give_the_set_of_all_labels():
    assert conformal.rows_for(0.95) == 19
    probabilities, gold = rows(18, 0)
    assert conformal.level(probabilities, gold, 0.95) == 0.0
    probabilities, gold = rows(19, 0)
    assert conformal.level(probabilities, gold, 0.95) == probabilities[np.arange(19), gold].min()
