"""Which rows are asked about next: against the rule written out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from potstill.dataset import select
from potstill.dataset.select import least_sure, least_sure_of_a_label, near

SIZES = st.integers(1, 40)


def logprobs(rows, classes, seed):
    scores = np.random.default_rng(seed).normal(size=(rows, classes))
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


@given(rows=SIZES, classes=st.integers(2, 6), count=st.integers(0, 50), seed=st.integers(0, 99))
def test_the_least_margins_are_chosen_least_first(rows, classes, count, seed):
    said = logprobs(rows, classes, seed)
    ordered = np.sort(said, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    chosen = least_sure(said, count)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, rows)
    assert (np.diff(margin[chosen]) >= 0).all()
    rest = np.setdiff1d(np.arange(rows), chosen)
    assert not len(rest) or not len(chosen) or margin[chosen].max() <= margin[rest].min()


def test_of_equal_margins_the_first_row_is_taken():
    assert least_sure(np.log(np.full((5, 3), 1 / 3)), 2).tolist() == [0, 1]


@given(rows=SIZES, seeds=st.integers(1, 12), count=st.integers(0, 50), seed=st.integers(0, 99))
def test_each_row_is_chosen_once_and_as_many_as_asked(rows, seeds, count, seed):
    draw = np.random.default_rng(seed)
    chosen = near(draw.normal(size=(rows, 5)), draw.normal(size=(seeds, 5)), count)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, rows)


@given(rows=st.integers(2, 40), seeds=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_first_is_the_nearest_of_all_pairs_and_every_seed_has_its_say(rows, seeds, seed):
    draw = np.random.default_rng(seed)
    vectors, around = draw.normal(size=(rows, 5)).astype(np.float32), draw.normal(size=(seeds, 5)).astype(np.float32)
    cosine = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) @ (around / np.linalg.norm(around, axis=1, keepdims=True)).T
    chosen = near(vectors, around, rows)
    assert np.isclose(cosine[chosen[0]].max(), cosine.max(), atol=1e-5)
    nearest = set(cosine.argmax(axis=0).tolist())  # one for each seed
    assert set(chosen[: len(nearest)].tolist()) == nearest


def test_length_means_nothing_and_a_seed_that_resembles_many_does_not_take_all():
    one, other = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    vectors = np.stack([one * 100, one * 2 + other * 0.1, one + other * 0.1, other * 0.01, other + one * 0.3])
    assert near(vectors, np.stack([one, other]), 4).tolist()[:2] == [0, 3]
    assert near(vectors, np.stack([one, other]), 4).tolist()[2:] == [1, 4]


def test_blocks_change_nothing(monkeypatch):
    draw = np.random.default_rng(3)
    vectors, around = draw.normal(size=(100, 8)), draw.normal(size=(7, 8))
    whole = near(vectors, around, 60).tolist()
    monkeypatch.setattr(select, "BLOCK", 9)
    assert near(vectors, around, 60).tolist() == whole


def test_nothing_near_nothing():
    assert near(np.ones((3, 2)), np.empty((0, 2)), 2).tolist() == []
    assert near(np.empty((0, 2)), np.ones((3, 2)), 2).tolist() == []
    assert near(np.zeros((3, 2)), np.zeros((1, 2)), 2).tolist() == [0, 1]


def test_with_any_number_of_labels_the_one_nearest_to_its_threshold_counts():
    logodds = np.array([[3.0, -3.0], [3.0, 0.1], [-0.2, -8.0], [-8.0, -8.0]])
    assert least_sure_of_a_label(logodds, 3).tolist() == [1, 2, 0]
    assert least_sure_of_a_label(logodds, 9).tolist() == [1, 2, 0, 3]
