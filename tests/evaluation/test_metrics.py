"""Metrics against scikit-learn; sums of statistics are all they need."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from potstill.evaluation.metrics import FLOOR, MCC, Accuracy, LogLoss, MacroF1

from .draws import noisy, sure

ALL = (Accuracy, MacroF1, MCC, LogLoss)
shapes = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 7), st.floats(0, 1))


def value(metric, gold, logprobs):
    return float(metric.combine(metric.statistics(gold, logprobs).sum(axis=0)))


@settings(max_examples=60, deadline=None)
@given(shapes)
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_values_are_those_of_scikit_learn(shape):
    seed, n, classes, wrong = shape
    gold, logprobs = noisy(np.random.default_rng(seed), n, classes, wrong)
    told = logprobs.argmax(axis=1)
    assert value(Accuracy(classes), gold, logprobs) == pytest.approx(oracle.accuracy_score(gold, told))
    assert value(MacroF1(classes), gold, logprobs) == pytest.approx(oracle.f1_score(gold, told, average="macro", zero_division=0))
    assert value(MCC(classes), gold, logprobs) == pytest.approx(oracle.matthews_corrcoef(gold, told), abs=1e-12)
    expected = oracle.log_loss(gold, np.exp(logprobs), labels=np.arange(classes))
    assert value(LogLoss(classes), gold, logprobs) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(shapes)
def test_statistics_add_up_and_combine_takes_any_leading_shape(shape):
    seed, n, classes, wrong = shape
    gold, logprobs = noisy(np.random.default_rng(seed), n, classes, wrong)
    for metric in (kind(classes) for kind in ALL):
        rows = metric.statistics(gold, logprobs)
        assert rows.dtype == np.float64
        assert rows.shape[0] == n
        halves = np.stack([rows[: n // 2].sum(axis=0), rows[n // 2 :].sum(axis=0)])
        assert metric.combine(halves.sum(axis=0)) == pytest.approx(metric.combine(rows.sum(axis=0)))
        stacked = np.broadcast_to(rows.sum(axis=0), (2, 3, rows.shape[1]))
        assert metric.combine(stacked).shape == (2, 3)
        assert np.isfinite(metric.combine(np.zeros((4, rows.shape[1])))).all()


@settings(max_examples=30, deadline=None)
@given(shapes)
def test_two_values_never_differ_by_more_than_the_span(shape):
    seed, n, classes, wrong = shape
    random = np.random.default_rng(seed)
    gold, one = noisy(random, n, classes, wrong)
    _, other = noisy(random, n, classes, 1 - wrong)
    for metric in (kind(classes) for kind in ALL):
        assert abs(value(metric, gold, one) - value(metric, gold, other)) <= metric.span + 1e-12


def test_a_probability_of_none_is_dear_not_infinite():
    logprobs = np.array([[0.0, -np.inf], [np.log(0.5), np.log(0.5)]])
    assert value(LogLoss(2), np.array([1, 0]), logprobs) == pytest.approx((-FLOOR + np.log(2)) / 2)


def test_only_accuracy_counts_rows_as_0_or_1():
    assert [kind(3).proportion for kind in ALL] == [True, False, False, False]
    assert set(np.unique(Accuracy(3).statistics(np.arange(3), sure(np.array([0, 1, 1]), 3))[:, 0])) == {0.0, 1.0}
