"""Metrics equal scikit-learn's, and combine whatever their sums were cut into."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, matthews_corrcoef

from potstill.evaluation.metrics import MCC, Accuracy, LogLoss, MacroF1


def said(seed, n=400, classes=5):
    random = np.random.default_rng(seed)
    gold = random.integers(0, classes, n)
    scores = random.normal(size=(n, classes))
    scores[np.arange(n), gold] += 1
    return gold, (scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))).astype(np.float64)


@pytest.mark.parametrize("seed", range(3))
def test_they_are_scikit_learns(seed):
    gold, logprobs = said(seed)
    told = logprobs.argmax(axis=1)
    theirs = {
        Accuracy: accuracy_score(gold, told), MacroF1: f1_score(gold, told, average="macro"), MCC: matthews_corrcoef(gold, told),
        LogLoss: log_loss(gold, np.exp(logprobs)),
    }  # fmt: skip
    for kind, value in theirs.items():
        metric = kind(5)
        rows = metric.statistics(gold, logprobs)
        assert float(metric.combine(rows.sum(axis=0))) == pytest.approx(value, abs=1e-9)
        assert float(metric.combine(rows[:100].sum(axis=0) + rows[100:].sum(axis=0))) == pytest.approx(value, abs=1e-9)


def test_many_sums_combine_at_once():
    gold, logprobs = said(0)
    metric = MacroF1(5)
    rows = metric.statistics(gold, logprobs)
    weights = np.random.default_rng(0).multinomial(len(gold), np.full(len(gold), 1 / len(gold)), size=7)
    together = metric.combine(weights @ rows)
    assert together.shape == (7,)
    assert together[3] == pytest.approx(float(metric.combine(weights[3] @ rows)))
