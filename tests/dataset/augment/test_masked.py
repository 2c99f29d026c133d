"""Batched, the masked language model says what it says when it is asked word by word."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForMaskedLM, BertForMaskedLM

from potstill import rng
from potstill.dataset.augment import masked
from potstill.dataset.augment.change import Substitution
from potstill.dataset.augment.masked import batches
from potstill.dataset.augment.models import open_masked
from potstill.errors import UserError
from tests.small import texts
from tests.tiny import encoder, masked_lm

ROWS = [row["text"] for row in texts(60, 3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return masked_lm(tmp_path_factory.mktemp("models") / "masked", ROWS)


class OneByOne:
    """The oracle: one forward pass a word, the logits of all positions, a sort of all words; nothing shared with what it judges."""

    def __init__(self, folder, top_k):
        self.batched = open_masked(folder, top_k=top_k, multi_piece="leave")
        self.model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float64).eval()
        self.top_k = top_k

    def read(self, texts):
        return self.batched.read(texts)

    def propose(self, wanted):
        words = self.batched._vocabulary.words
        found = []
        for read, place in wanted:
            ids = torch.tensor([read.ids])
            ids[0, read.words[place].at[0]] = self.batched._mask
            with torch.inference_mode():
                logits = self.model(input_ids=ids).logits[0, read.words[place].at[0]]
            ranked = sorted(words, key=lambda id: -float(logits[id]))
            own = read.written(place).lower()
            found.append(tuple(words[id] for id in ranked if words[id] != own)[: self.top_k])
        return found


@pytest.fixture(scope="module")
def pair(folder):
    """What is judged and its oracle, both in float64, so that rounding can't order two words differently."""
    batched = open_masked(folder, top_k=5, multi_piece="leave")
    batched._model.double()
    return batched, OneByOne(folder, 5)


@pytest.mark.parametrize("tokens", [1, 64, 4096])
def test_all_words_of_many_texts_get_the_proposals_of_one_forward_each(pair, monkeypatch, tokens):
    monkeypatch.setattr(masked, "TOKENS", tokens)
    batched, oracle = pair
    read = batched.read(ROWS[:30])
    wanted = [(one, place) for one in read for place in range(len(one.words))]
    assert len(wanted) > 200
    assert batched.propose(wanted) == oracle.propose(wanted)


def test_the_copies_are_those_of_one_forward_a_word(pair):
    """Equal for equal draws, so equal in distribution: exactly, not within an error."""
    streams = lambda: [[rng.stream(0, text, copy) for copy in range(8)] for text in ROWS[:20]]  # noqa: E731
    made, expected = (Substitution(proposer, 0.4).change(ROWS[:20], streams()) for proposer in pair)
    assert made == expected
    assert len({copy for copies in made for copy in copies}) > 100


def test_a_texts_copies_do_not_depend_on_the_texts_beside_it(pair):
    batched, _ = pair
    streams = lambda text: [rng.stream(0, text, copy) for copy in range(3)]  # noqa: E731
    together = Substitution(batched, 0.4).change(ROWS, [streams(text) for text in ROWS])
    assert [Substitution(batched, 0.4).change([text], [streams(text)])[0] for text in ROWS[:10]] == together[:10]


def test_it_learnt_something_so_the_test_is_not_of_noise(folder):
    """Words that only one class has are proposed where the others of the class stand, more than by chance."""
    proposer = open_masked(folder, top_k=3, multi_piece="leave")
    model = BertForMaskedLM.from_pretrained(folder)
    assert model.cls.predictions.bias.std() > 0.005
    assert proposer.propose([(proposer.read(["a good cat"])[0], 0)])[0]


def test_words_of_several_pieces_get_neighbours_or_are_left(folder):
    left, mean = (open_masked(folder, top_k=3, multi_piece=choice) for choice in ("leave", "mean"))
    text = "the zebra was good"
    assert len(left.read([text])[0].words) == 3
    read = mean.read([text])[0]
    proposed = mean.propose([(read, place) for place in range(4)])
    assert proposed[1] == mean._neighbours.propose([(read, 1)])[0]
    assert proposed[0] == left.propose([(left.read([text])[0], 0)])[0]


def test_the_head_sees_one_position_and_the_hook_goes_away(folder):
    proposer = open_masked(folder, top_k=3, multi_piece="leave")
    seen = []
    handle = proposer._model.cls.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    read = proposer.read(ROWS[:4])
    wanted = [(one, place) for one in read for place in range(len(one.words))]
    proposer.propose(wanted)
    handle.remove()
    assert sum(shape[0] for shape in seen) == len(wanted)
    assert all(shape[1] == 1 for shape in seen)
    assert not proposer._model.base_model._forward_hooks


def test_batches_hold_all_once_in_order_within_the_limit():
    lengths = [1, 1, 2, 2, 2, 5, 9, 9, 30]
    made = list(batches(lengths, 10))
    assert [place for batch in made for place in batch] == list(range(len(lengths)))
    assert all(len(batch) == 1 or lengths[batch[-1]] * len(batch) <= 10 for batch in made)
    assert list(batches([], 10)) == []


def test_a_model_without_a_head_is_refused_with_what_to_do(tmp_path):
    folder = encoder(tmp_path / "encoder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))  # it says so, and it is not so
    with pytest.raises(UserError, match="no masked-LM head") as caught:
        open_masked(folder, top_k=3, multi_piece="leave")
    assert "kind: neighbours" in caught.value.remedy
