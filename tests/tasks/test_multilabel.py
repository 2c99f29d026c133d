"""Any number of labels a row: what a row becomes, what is no row, and how gold is encoded."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.contracts import BadRow
from potstill.errors import DataError, UserError
from potstill.records import Example, Head, rows_digest
from potstill.tasks import task

TASK = task("text-classification", separator="|")
COLUMNS = TASK.columns({"labels": "tags"})


def read(labels, which=TASK):
    return which.read({"text": "a text", "tags": labels}, COLUMNS, "a.jsonl:1")


@pytest.mark.parametrize(
    ("labels", "gold"),
    [
        (["b", "a"], ("a", "b")), ([], ()), ([1, 2.0, "x "], ("1", "2", "x")), (("b",), ("b",)),  # a list, as JSON and Parquet have it
        ("b|a", ("a", "b")), (" b | a ", ("a", "b")), ("a", ("a",)), ("", ()), ("  ", ()), ("a, b", ("a, b",)),  # a text cell of a CSV
    ],
)  # fmt: skip
def test_labels_become_a_sorted_tuple(labels, gold):
    assert read(labels).gold == gold


def test_the_separator_is_what_the_recipe_says():
    assert read("a, b", task("text-classification", separator=",")).gold == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (None, "no labels"), (float("nan"), "no labels"), (3, "labels are neither a list nor a text"), (["a", None], "no label"),
        (["a", ""], "label is empty"), ("a||b", "label is empty"), (["a", ["b"]], "label is neither a word nor a number"),
        ([0.0, 1.0, 0.0], "a label stands twice in its row"), ("a|a", "a label stands twice in its row"),
        ("['a', 'b']", "labels are a list that was written as text"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_labels(labels, reason):
    with pytest.raises(BadRow, match=reason):
        read(labels)


def test_a_row_without_the_column_is_no_row():
    with pytest.raises(BadRow, match="no labels"):
        TASK.read({"text": "a text"}, COLUMNS, "a.jsonl:1")


def test_the_column_of_a_single_label_is_none_of_its_roles():
    with pytest.raises(UserError, match="has no 'label'"):
        TASK.columns({"label": "intent"})


def examples(*golds):
    return [Example.make({"text": str(i)}, gold=gold) for i, gold in enumerate(golds)]


def test_the_head_holds_every_label_in_order():
    assert TASK.head(examples(("b", "a"), (), None, ("10", "c"))) == Head("labels", ("10", "a", "b", "c"))
    assert TASK.head(examples(("10",), ("9",))).labels == ("9", "10")
    with pytest.raises(DataError, match="no row has a gold label"):
        TASK.head(examples((), None))


def test_gold_is_a_matrix():
    head = Head("labels", ("a", "b", "c"))
    found = TASK.encode(examples(("a", "c"), (), None), head)
    assert found.dtype == np.int8
    assert found.tolist() == [[1, 0, 1], [0, 0, 0], [-1, -1, -1]]
    assert TASK.encode([], head).shape == (0, 3)
    with pytest.raises(DataError, match="'d' is none of the known ones"):
        TASK.encode(examples(("d",)), head)


def test_a_label_is_told_from_0_on():
    assert TASK.decide(np.array([[-0.1, 0.0, 2.0]])).tolist() == [[0, 1, 1]]


def test_the_main_metric_is_micro_f1():
    assert list(TASK.metrics(Head("labels", ("a", "b")))) == ["micro_f1", "macro_f1", "subset_accuracy", "hamming_loss"]


@given(st.sets(st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="|["), min_size=1, max_size=6), max_size=5))
def test_a_list_and_its_text_are_the_same_gold(labels):
    labels = {label for label in labels if label.strip() and label.strip().lower() != "nan"}
    assert read("|".join(labels)).gold == read(sorted(labels, reverse=True)).gold == tuple(sorted(labels))


def test_the_digest_does_not_hang_on_the_order_and_survives_json():
    row = Example.make({"text": "x"}, gold=("a", "b"))
    again = Example.make({"text": "x"}, gold=tuple(json.loads(json.dumps(["a", "b"]))))
    assert rows_digest([row]) == rows_digest([again]) != rows_digest([Example.make({"text": "x"}, gold=("a",))])
    assert rows_digest([Example.make({"text": "x"}, gold=())]) != rows_digest([Example.make({"text": "x"})])
    assert row.id == Example.make({"text": "x"}, gold="a").id  # gold is no part of what an example is


def test_words_for_people():
    assert [row.told for row in examples(("a", "b"), (), None, "spam")] == ["a, b", "(no label)", None, "spam"]
