"""Rows become conversations, whatever form they come in; what is none is counted with its reason."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.contracts import BadRow
from potstill.errors import DataError, UserError
from potstill.records import Example
from potstill.tasks import task

GENERATION = task("text-generation")
TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def read(row, **given):
    return GENERATION.read(row, GENERATION.columns(given, tuple(row)), "rows.jsonl:1")


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ({"messages": TURNS, "id": 3}, {"messages": TURNS}),
        ({"messages": '[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]'}, {"messages": TURNS}),
        ({"prompt": "hi", "completion": " hello"}, {"prompt": "hi", "completion": " hello"}),
        ({"text": "once upon a time\n"}, {"text": "once upon a time\n"}),
    ],
)
def test_a_row_of_each_form_is_read_as_it_stands(row, fields):
    found = read(row)
    assert found.fields == fields
    assert found.gold is not None


def test_a_prompt_alone_holds_no_answer_and_its_column_may_have_another_name():
    assert read({"prompt": "hi", "completion": None}).gold is None
    assert read({"question": "hi", "reply": "yo"}, prompt="question", completion="reply").fields == {"prompt": "hi", "completion": "yo"}


@pytest.mark.parametrize("options", [["yes", " no "], '["yes", " no "]', np.array(["yes", " no "], object)])
def test_options_are_a_list_however_a_file_holds_one_and_make_another_row(options):
    row = {"prompt": "well?", "completion": " yes"}
    found = read({**row, "choices": options}, options="choices")
    assert found.fields == {**row, "options": ["yes", " no "]}
    assert found.id != read(row).id
    assert found.group == read(row).group
    assert GENERATION.text(found) == GENERATION.text(read(row))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["no", "never"], "the answer is none of the options"), (["yes"], "two or more"), (["yes", "yes "], "each once"), ("yes|no", "no list of texts"),
        (["yes", 3], "no list of texts"), (["yes", " "], "no list of texts"), ('["yes", ', "no JSON"), (None, "no options"),
    ],
)  # fmt: skip
def test_options_among_which_nothing_can_be_chosen_are_no_row(options, reason):
    with pytest.raises(BadRow, match=reason):
        read({"prompt": "well?", "completion": " yes", "choices": options}, options="choices")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": []}, "not a list of turns"),
        ({"messages": [TURNS[1]]}, "turns come as assistant"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "'tool' is no role"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": ""}]}, "messages.content is empty"),
        ({"messages": '[{"role": '}, "no JSON"),
        ({"prompt": "x", "completion": 3}, "completion is int"),
        ({"text": "\ud83d"}, "invalid Unicode"),
        ({"text": None}, "no text"),
        ({"text": "x" * 1_000_001}, "over 1 MB"),
    ],
)
def test_what_is_no_conversation_is_told_by_a_reason_that_can_be_counted(row, reason):
    with pytest.raises(BadRow, match=reason) as told:
        read(row)
    assert "[0]" not in str(told.value)


def test_rows_with_one_prompt_are_of_one_group_and_texts_of_none():
    first, second, other = (read({"prompt": p, "completion": c}) for p, c in (("a", "b"), ("a", "c"), ("d", "b")))
    assert first.group == second.group != other.group
    assert first.id != second.id
    assert read({"text": "a"}).group is None
    assert read({"messages": TURNS}).group == read({"messages": [*TURNS[:1], {"role": "assistant", "content": "other"}]}).group
    assert read({"messages": TURNS, "who": "x"}, group="who").group == "x"


def test_columns_of_two_forms_and_unknown_ones_are_refused():
    with pytest.raises(UserError, match="no one form"):
        GENERATION.columns({"text": "a", "prompt": "b"}, ("a", "b"))
    with pytest.raises(UserError, match="no one form"):
        GENERATION.columns({"completion": "b"}, ("a", "b"))
    with pytest.raises(UserError, match="no 'label'"):
        GENERATION.columns({"label": "b"}, ("a", "b"))
    assert GENERATION.columns({}, ("id", "body")) == {"messages": "messages"}  # so that the reader says which column is missing


def test_a_head_of_tokens_names_no_labels_and_rows_hold_their_own_gold():
    rows = [read({"text": "a"}), read({"prompt": "a"})]
    head = GENERATION.head(rows)
    assert (head.kind, head.labels, head.width) == ("tokens", (), 0)
    assert GENERATION.encode(rows, head).shape == (2, 0)
    assert GENERATION.text(read({"messages": TURNS})) == "hi\nhello"
    with pytest.raises(DataError, match="no row holds an answer"):
        GENERATION.head(rows[1:])
    scores = np.arange(12.0).reshape(2, 6)
    assert (GENERATION.decide(scores) == scores).all()
    assert list(GENERATION.metrics(head)) == ["bits_per_byte", "perplexity", "token_accuracy"]
    assert isinstance(rows[0], Example)
