"""Neighbours are those of a plain search, whatever the blocks; substitution draws from them and from nothing else."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from potstill import rng
from potstill.dataset.augment import neighbours
from potstill.dataset.augment.change import Substitution
from potstill.dataset.augment.models import open_neighbours
from potstill.dataset.augment.neighbours import Neighbours
from potstill.errors import UserError
from tests.small import texts
from tests.tiny import encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return encoder(tmp_path_factory.mktemp("models") / "encoder")


def oracle(found, ids, own, count):
    """One word at a time, by the formula."""
    vector = found.table[list(ids)].mean(0).astype(np.float64)
    scores = {}
    for id, word in found.vocabulary.words.items():
        other = found.table[id].astype(np.float64)
        if word != own:
            scores[word] = vector @ other / (np.linalg.norm(vector) * np.linalg.norm(other))
    return tuple(sorted(scores, key=lambda word: -scores[word])[:count])


@pytest.mark.parametrize("block", [1, 7, 1000])
@pytest.mark.parametrize("multi_piece", ["leave", "mean"])
def test_they_are_those_of_a_plain_search(folder, monkeypatch, block, multi_piece):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    found = open_neighbours(folder, top_k=5, multi_piece=multi_piece)
    read = found.read(["the good zebra and a bad cat", "very poor heart, quite old lung"])
    wanted = [(one, place) for one in read for place in range(len(one.words))]
    for (one, place), words in zip(wanted, found.propose(wanted)):
        assert words == oracle(found, one.words[place].ids, one.written(place), 5)
    assert any(len(one.words[place].ids) > 1 for one, place in wanted) is (multi_piece == "mean")


def test_a_word_is_never_its_own_neighbour_in_any_case(folder):
    found = open_neighbours(folder, top_k=10_000, multi_piece="leave")
    read = found.read(["GOOD Good good"])[0]
    proposed = found.propose([(read, place) for place in range(3)])
    assert proposed[0] == proposed[1] == proposed[2]
    assert len(proposed[0]) == len(found.vocabulary.words) - 1
    assert "good" not in proposed[0]


def test_a_word_is_looked_up_once(folder, monkeypatch):
    found = open_neighbours(folder, top_k=3, multi_piece="leave")
    looked = []
    monkeypatch.setattr(found, "_look_up", lambda keys, inner=found._look_up: (looked.extend(keys), inner(keys)))
    for _ in range(3):
        Substitution(found, 1.0).change(["good bad good", "bad cat"], [[rng.stream(0)], [rng.stream(1)]])
    assert len(looked) == 3


def test_at_least_one_word_changes_and_about_the_share_of_many(folder):
    found = open_neighbours(folder, top_k=5, multi_piece="leave")
    rows = [row["text"] for row in texts(60, 1)]
    made = Substitution(found, 0.3).change(rows, [[rng.stream(0, i, copy) for copy in range(10)] for i in range(60)])
    changed = [sum(a != b for a, b in zip(text.split(), copy.split())) for text, copies in zip(rows, made) for copy in copies]
    words = [len(text.split()) for text in rows for _ in range(10)]
    assert min(changed) >= 1
    assert sum(changed) / sum(words) == pytest.approx(0.3, abs=0.04)


def test_each_proposal_is_as_likely_as_the_others(folder):
    found = open_neighbours(folder, top_k=4, multi_piece="leave")
    made = Substitution(found, 1.0).change(["good"], [[rng.stream(0, copy) for copy in range(4000)]])[0]
    counts = Counter(made)
    read = found.read(["good"])[0]
    assert set(counts) == set(found.propose([(read, 0)])[0])
    assert all(abs(count - 1000) < 5 * np.sqrt(750) for count in counts.values())


def test_case_spacing_and_all_else_are_kept(folder):
    found = open_neighbours(folder, top_k=5, multi_piece="leave")
    text = "  The GOOD cat,\n\tisn't 3x   Ünïcode ﬁt\u200b bad! "
    made = Substitution(found, 1.0).change([text], [[rng.stream(0, copy) for copy in range(20)]])[0]
    for copy in made:
        words = copy.split()
        assert words[0][0].isupper()
        assert words[1].isupper()
        assert copy.startswith("  ")
        assert copy.endswith("! ")
        assert ",\n\tisn't 3x   Ünïcode ﬁt\u200b " in copy


def test_a_stronger_draw_of_one_text_moves_no_other(folder):
    found = open_neighbours(folder, top_k=5, multi_piece="leave")
    rows = [row["text"] for row in texts(20, 2)]
    streams = lambda: [[rng.stream(0, text, copy) for copy in range(2)] for text in rows]  # noqa: E731
    together = Substitution(found, 0.4).change(rows, streams())
    alone = [Substitution(found, 0.4).change([text], [[rng.stream(0, text, copy) for copy in range(2)]])[0] for text in rows]
    assert together == alone


def test_a_text_without_words_stays_as_it_is(folder):
    found = open_neighbours(folder, top_k=5, multi_piece="leave")
    assert Substitution(found, 1.0).change(["", "123 !?", "isn't"], [[rng.stream(0)]] * 3) == [[""], ["123 !?"], ["isn't"]]


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="can't be loaded"):
        open_neighbours(tmp_path, top_k=5, multi_piece="leave")


def test_a_word_that_is_there_in_two_cases_is_one(folder):
    vocabulary = open_neighbours(folder, top_k=2, multi_piece="leave").vocabulary
    vocabulary.__dict__["words"] = {0: "Cat", 1: "cat", 2: "dog", 3: "car"}
    found = Neighbours(vocabulary, np.array([[1, 0], [1, 0.1], [0.9, 0.3], [0, 1]], np.float32), 2)
    found._look_up([((1,), "cat")])
    assert found._known[(1,), "cat"] == ("dog", "car")  # "Cat" is the word itself
