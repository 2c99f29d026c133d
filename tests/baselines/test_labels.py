"""The floor of any number of labels: a logistic regression for each, as scikit-learn alone would fit it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from potstill.baselines.floor import vectorizer
from potstill.baselines.labels import labels_floor
from potstill.errors import DataError

TEXTS = [f"{'red' if i % 2 else 'blue'} {'cat' if i % 3 else 'dog'} number {i}" for i in range(90)]
GOLD = np.array([[i % 2, i % 3 > 0, 0, 1] for i in range(90)], np.int8)  # two that can be learnt, one that never applies, one that always does


def test_each_label_is_learnt_by_itself():
    made = labels_floor(TEXTS, GOLD, seed=0)
    found = made.predict_logprobs(["red cat", "blue dog", "red dog"])
    assert found.dtype == np.float32
    assert (found >= 0).astype(int).tolist() == [[1, 1, 0, 1], [0, 0, 0, 1], [1, 0, 0, 1]]
    assert np.isfinite(found).all()
    assert made.size_bytes > made.weights.nbytes


def test_it_is_scikit_learn_s():
    made = labels_floor(TEXTS, GOLD, seed=0)
    matrix = vectorizer().fit_transform(TEXTS)
    own = LogisticRegression(C=made.strictness, max_iter=200, solver="liblinear", random_state=0).fit(matrix, GOLD[:, 0])
    np.testing.assert_allclose(made.predict_logprobs(TEXTS)[:, 0], own.decision_function(matrix), rtol=1e-4, atol=1e-4)


def test_rows_without_gold_have_no_say():
    gold = np.concatenate([GOLD, -np.ones((3, 4), np.int8)])
    np.testing.assert_array_equal(labels_floor([*TEXTS, "x", "y", "z"], gold, seed=0).biases, labels_floor(TEXTS, GOLD, seed=0).biases)


def test_no_texts_no_answers_and_no_gold_no_floor():
    assert labels_floor(TEXTS, GOLD, seed=0).predict_logprobs([]).shape == (0, 4)
    with pytest.raises(DataError, match="no gold row has a label"):
        labels_floor(TEXTS, np.zeros_like(GOLD), seed=0)
    with pytest.raises(DataError, match="no words"):
        labels_floor(["!", "?"] * 5, np.ones((10, 1), np.int8), seed=0)
