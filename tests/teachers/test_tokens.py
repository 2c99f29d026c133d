"""A student that would read other tokens than its teacher, or turns otherwise written, is refused before anything is spent, and told where."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tokenizers import Tokenizer

from potstill.errors import TeacherError
from potstill.students.vocabulary import trimmed
from potstill.teachers.tokens import same_rows, same_tokens
from tests import tiny
from tests.teachers.test_causal import ROWS, TEMPLATE, opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.decoder(tmp_path_factory.mktemp("tokens") / "model")


def changed(folder, target, change):
    """Write a tokenizer that ``change`` was done to."""
    told = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    change(told)
    target.mkdir()
    (target / "tokenizer.json").write_text(json.dumps(told), "utf-8")
    return target


def swap(told):
    vocab = told["model"]["vocab"]
    first, second = (next(token for token, id in vocab.items() if id == n) for n in (300, 301))
    vocab[first], vocab[second] = 301, 300


def test_the_same_tokenizer_is_the_same_wherever_it_lies(folder, tmp_path):
    same_tokens(folder, folder)
    same_tokens(folder, Tokenizer.from_file(str(folder / "tokenizer.json")))
    same_tokens(folder, changed(folder, tmp_path / "m", lambda told: told.update(padding=None, truncation=None)), texts=["any text", "日本"])


def test_two_ids_that_are_swapped_are_named(folder, tmp_path):
    other = changed(folder, tmp_path / "m", swap)
    assert len(Tokenizer.from_file(str(other / "tokenizer.json")).get_vocab()) == len(Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab())
    with pytest.raises(TeacherError, match=r"300 is '.+' to the teacher and '.+' to the student; 301 is"):
        same_tokens(folder, other)


def test_a_token_more_is_named(folder, tmp_path):
    other = changed(folder, tmp_path / "m", lambda told: told["added_tokens"].append({**told["added_tokens"][0], "id": 520, "content": "<|more|>"}))
    with pytest.raises(TeacherError, match=r"520 is no token to the teacher and '<\|more\|>'"):
        same_tokens(folder, other)


def test_a_special_token_that_is_none_to_the_other_is_named(folder, tmp_path):
    other = changed(folder, tmp_path / "m", lambda told: told["added_tokens"][1].update(special=False))
    with pytest.raises(TeacherError, match="1 is added as"):
        same_tokens(folder, other)


@pytest.mark.parametrize("what", ["merges", "pre_tokenizer", "normalizer"])
def test_the_same_vocabulary_that_cuts_texts_otherwise_is_told_by_a_text(folder, tmp_path, what):
    def change(told):
        if what == "merges":
            told["model"]["merges"] = told["model"]["merges"][:20]
        elif what == "pre_tokenizer":
            told["pre_tokenizer"]["add_prefix_space"] = True
        else:
            told["normalizer"] = {"type": "Lowercase"}

    with pytest.raises(TeacherError, match=r"cuts texts otherwise: the teacher makes .* from token"):
        same_tokens(folder, changed(folder, tmp_path / "m", change), texts=["the good old dog"])


def test_no_tokenizer_is_said(folder, tmp_path):
    with pytest.raises(TeacherError, match=r"no tokenizer\.json"):
        same_tokens(folder, tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TeacherError, match="can't be read"):
        same_tokens(folder, tmp_path)


def test_rows_that_are_written_alike_pass(folder):
    same_rows(opened(folder).turns, opened(folder).turns, ROWS)


def test_another_template_or_flag_or_length_is_named(folder):
    turns = opened(folder).turns
    other = TEMPLATE.replace("{{ m.role }}\n", "{{ m.role }}:\n")
    renderer = turns.renderer
    for changed, told in (
        (replace(turns, renderer=replace(renderer, template=other)), "the student's chat template, which must be the teacher's: ...'"),
        (
            replace(turns, renderer=replace(renderer, options={"enable_thinking": False})),
            "template options, which must be the teacher's: {} to the teacher, {'enable_thinking'",
        ),
        (replace(turns, renderer=replace(renderer, end=0)), "token that ends an answer"),
        (replace(turns, max_length=31), "max_length, which must be the teacher's: 32 to the teacher, 31"),
        (replace(turns, every_turn=True), "every_turn"),
    ):
        with pytest.raises(TeacherError) as caught:
            same_rows(turns, changed, ROWS)
        assert told in str(caught.value)


def test_rows_tell_where_the_parts_do_not(folder, tmp_path):
    """A tokenizer that cuts otherwise, met by a row alone."""
    turns = opened(folder).turns
    other = changed(folder, tmp_path / "m", lambda told: told["model"].update(merges=told["model"]["merges"][:20]))
    mine = replace(turns, renderer=replace(turns.renderer, tokenizer=Tokenizer.from_file(str(other / "tokenizer.json"))))
    with pytest.raises(TeacherError, match=r"of row 0 the teacher reads \[.*\], the student \[.*\], from token \d+ on \(input_ids\)"):
        same_rows(turns, mine, ROWS)


def test_a_trimmed_vocabulary_is_compared_through_what_was_kept(folder, tmp_path):
    source = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    made, kept = trimmed(source, range(300))
    (tmp_path / "tokenizer.json").write_text(json.dumps(made), "utf-8")
    other = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert len(kept) < len(source["model"]["vocab"])
    texts = ["a", "xyz 12", "日本"]
    same_tokens(folder, tmp_path, texts=texts, kept=kept)
    with pytest.raises(TeacherError, match="another one"):
        same_tokens(folder, tmp_path)
    with pytest.raises(TeacherError, match="another one"):
        same_tokens(folder, tmp_path, kept=[*kept[1:], kept[0]])
    turns = opened(folder).turns
    places = {id: n for n, id in enumerate(kept)}
    renderer = replace(turns.renderer, tokenizer=other, end=places[turns.renderer.end])
    rows = [{"text": "xyz 12"}, {"prompt": "q", "completion": "日本"}]
    same_rows(turns, replace(turns, renderer=renderer), rows, kept=kept)
    with pytest.raises(TeacherError, match="of row 0"):  # a word that falls apart
        same_rows(turns, replace(turns, renderer=renderer), [{"text": "the good dog"}], kept=kept)
