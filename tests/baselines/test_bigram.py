"""Counts of pairs make probabilities that sum to 1, and a text like those it counted is less of a surprise."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.baselines.bigram import _pairs, bigram


def item(ids, learnt=None):
    ids = np.array(ids)
    return {"input_ids": ids, "learnt": np.r_[0, np.ones(len(ids) - 1, int)] if learnt is None else np.array(learnt), "window": np.zeros(len(ids), int)}


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    return bigram([item(rng.integers(0, 7, 30)) for _ in range(5)] + [item([1, 2, 3, 1, 2, 3, 1, 2, 3])], 11)


def test_what_follows_any_token_sums_to_one(model):
    for before in range(11):
        after = np.arange(11)
        assert model._probabilities(np.full(11, before), after).sum() == pytest.approx(1.0)


def test_a_pair_that_was_seen_is_less_of_a_surprise_than_one_that_was_not(model):
    seen, never = model.nats([item([1, 2, 3]), item([9, 10, 8])])
    assert 0 < seen < never < np.inf


def test_only_learnt_tokens_count():
    before, after = _pairs(item([4, 5, 6, 7], [0, 0, 1, 1]))
    assert before.tolist() == [5, 6]
    assert after.tolist() == [6, 7]
    assert bigram([item([4, 5, 6, 7])], 8).nats([item([4, 5, 6], [0, 0, 0])])[0] == 0
