"""Confident learning: what cleanlab finds, and what it must never find."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.baselines.held_out import held_out
from potstill.dataset.conflicts import conflicts
from potstill.evaluation.suspects import suspects


def noisy(seed, n=40, classes=3):
    """Labels of which some were drawn anew, and a model's probabilities that know the truth somewhat."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, n)
    logits = random.normal(size=(n, classes))
    logits[np.arange(n), truth] += 2.5
    said = np.exp(logits)
    labels = truth.copy()
    turned = random.random(n) < 0.2
    labels[turned] = random.integers(0, classes, turned.sum())
    return labels, said / said.sum(axis=1, keepdims=True)


# cleanlab 2.9.0: find_label_issues(labels, said, filter_by="confident_learning", return_indices_ranked_by="normalized_margin")
CLEANLAB = {0: [3], 1: [15, 8, 1], 2: [31, 18, 39, 11, 4, 38]}


@pytest.mark.parametrize("seed", CLEANLAB)
def test_they_are_those_of_cleanlab_in_its_order(seed):
    assert [found.row for found in suspects(*noisy(seed))] == CLEANLAB[seed]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_rows_without_a_label_or_an_answer_are_never_suspect_and_change_nothing(seed):
    labels, said = noisy(seed)
    before = suspects(labels, said)
    more = np.concatenate([labels, [-1, 0]])
    silent = np.concatenate([said, said[:1], np.full((1, said.shape[1]), np.nan)])
    assert suspects(more, silent) == before
    assert all(labels[found.row] != found.likelier for found in before)
    assert all(-1 <= found.margin <= 1 for found in before)
    assert [found.margin for found in before] == sorted(found.margin for found in before)


def test_nothing_to_look_at_is_nothing_suspect():
    assert suspects(np.zeros(0, int), np.zeros((0, 3))) == []
    assert suspects(np.full(4, -1), np.full((4, 3), 1 / 3)) == []


WORDS = {0: "good fine excellent lovely great", 1: "bad poor awful dreadful worse"}


def texts(n=200):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, n)
    return [" ".join(random.choice(WORDS[int(label)].split(), 6)) + f" case {i}" for i, label in enumerate(labels)], labels


def test_turned_labels_are_found_by_a_model_that_did_not_learn_from_them():
    rows, labels = texts()
    given_labels = labels.copy()
    turned = np.arange(0, 200, 20)
    given_labels[turned] = 1 - labels[turned]
    said = held_out(rows, given_labels, range(200), classes=2, seed=0)
    assert [found.row for found in suspects(given_labels, said)][:10] != []
    assert {found.row for found in suspects(given_labels, said)} == set(turned.tolist())


def test_a_row_is_held_out_with_its_group():
    """Every group has a word of its own and one label that has nothing to do with it: who saw the group's other rows would know it."""
    rows = [f"group{i // 4} row{i}" for i in range(160)]
    labels = np.random.default_rng(1).integers(0, 2, 40).repeat(4)
    together = held_out(rows, labels, [i // 4 for i in range(160)], classes=2, seed=0)
    apart = held_out(rows, labels, range(160), classes=2, seed=0)
    assert (together.argmax(1) == labels).mean() < 0.7
    assert (apart.argmax(1) == labels).mean() > 0.9


@pytest.mark.parametrize(("n", "classes"), [(0, 2), (4, 2), (30, 1)])
def test_too_few_rows_for_folds_are_not_judged(n, classes):
    rows = [f"word{i} word" for i in range(n)]
    said = held_out(rows, np.arange(n) % classes, range(n), classes=2, seed=0)
    assert said.shape == (n, 2)
    assert np.isnan(said).all()


LONG = "the patient was admitted with a chronic infection of the left kidney and discharged"


def test_near_duplicates_with_different_labels_are_named_once():
    rows = [LONG, LONG + ".", "something else that is altogether long enough to be compared", LONG + "!", "short", "short"]
    found = conflicts(rows, np.array([0, 1, 1, 0, 0, 1]), 0.85)
    assert [(row, twin) for row, twin, _ in found] == [(1, 0)] or [(row, twin) for row, twin, _ in found] == [(1, 3)]
    assert found[0][2] > 0.85
    assert conflicts(rows, np.array([0, 1, 1, 0, 0, 1]), 0.0) == []
    assert conflicts(rows, np.array([0, -1, 1, 0, 0, 1]), 0.85) == []
    assert conflicts([], np.zeros(0, int), 0.85) == []
