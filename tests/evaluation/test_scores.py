"""The standard error that decides whether validation can tell two models apart."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.evaluation.metrics import Accuracy, LogLoss, MacroF1
from potstill.evaluation.statistics import Score, score, share
from potstill.evaluation.statistics.bootstrap import by_group


def answers(n=400, classes=4, seed=0):
    random = np.random.default_rng(seed)
    gold = random.integers(classes, size=n)
    logits = random.normal(size=(n, classes)) + 1.5 * np.eye(classes)[gold]
    return gold, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_of_a_share_it_is_the_binomial_one():
    hits = np.arange(50) < 40
    assert share(hits) == pytest.approx((0.8, np.sqrt(0.8 * 0.2 / 49)))
    gold, said = answers()
    assert score(Accuracy(4), gold, said) == pytest.approx(share(said.argmax(axis=1) == gold))


def test_a_loss_is_turned_over_so_that_higher_is_better():
    gold, said = answers()
    found = score(LogLoss(4), gold, said)
    assert found.value == pytest.approx(said[np.arange(len(gold)), gold].mean())
    assert found.error == pytest.approx(said[np.arange(len(gold)), gold].std(ddof=1) / np.sqrt(len(gold)))


@pytest.mark.parametrize("groups", [None, np.arange(400) // 8])
def test_it_is_what_resampling_shows(groups):
    gold, said = answers()
    if groups is not None:
        said[groups % 2 == 0] = said[0]  # whole groups are alike
    metric, random = MacroF1(4), np.random.default_rng(1)
    units = by_group(metric.statistics(gold, said), groups)
    draws = [metric.combine(units[random.integers(len(units), size=len(units))].sum(axis=0)) for _ in range(2000)]
    assert score(metric, gold, said, groups).error == pytest.approx(np.std(draws), rel=0.15)


def test_of_a_single_unit_it_can_not_be_told():
    assert share(np.ones(5, bool), np.zeros(5, int)) == Score(1.0, 0.0)
