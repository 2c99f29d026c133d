"""Text classification: what a row becomes, and what is no row."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.contracts import BadRow
from potstill.errors import DataError, UserError
from potstill.records import Head
from potstill.tasks import task
from potstill.tasks.cells import MAX_BYTES

TASK = task("text-classification")
BOTH = {"text": "text", "label": "label"}


def read(label, text="a text"):
    return TASK.read({"text": text, "label": label}, BOTH, "a.jsonl:1")


@pytest.mark.parametrize(
    ("label", "gold"),
    [(0, "0"), (1, "1"), (1.0, "1"), (-3.0, "-3"), (0.5, "0.5"), (True, "true"), (" spam ", "spam"), ("none", "none"), ("1.0", "1.0"), (10**25, str(10**25))],
)
def test_a_label_becomes_a_string(label, gold):
    assert read(label).gold == gold


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (None, "no label"), (float("nan"), "label is NaN"), ("NaN", "label is NaN"), ("nan", "label is NaN"), ("", "label is empty"),
        ("  ", "label is empty"), ([1], "label is neither a word nor a number"), (float("inf"), "label is neither a word nor a number"),
        ("\ud83d", "invalid Unicode"),
    ],
)  # fmt: skip
def test_a_label_that_is_none(label, reason):
    with pytest.raises(BadRow, match=reason):
        read(label)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "no text"), (float("nan"), "no text"), ("", "empty text"), (" \n\t", "empty text"), (3, "text is not a string"),
        ("a" * (MAX_BYTES + 1), "text over 1 MB"), ("é" * (MAX_BYTES // 2 + 1), "text over 1 MB"), ("half \ud83d", "invalid Unicode"),
    ],
)  # fmt: skip
def test_a_text_that_is_none(text, reason):
    with pytest.raises(BadRow, match=reason):
        read("a", text)


def test_a_text_of_exactly_1_MB_is_one():
    assert read("a", "é" * (MAX_BYTES // 2)).gold == "a"


def test_a_pair_has_two_fields_in_one_id():
    columns = {**BOTH, "text_pair": "other"}
    one = TASK.read({"text": "a b", "other": "c", "label": 1}, columns, "")
    two = TASK.read({"text": "a", "other": "b c", "label": 1}, columns, "")
    assert dict(one.fields) == {"text": "a b", "text_pair": "c"}
    assert one.id != two.id
    with pytest.raises(BadRow, match="no text"):
        TASK.read({"text": "a", "label": 1}, columns, "")


def test_a_role_that_is_not_asked_for_is_not_read():
    assert TASK.read({"text": "a", "label": float("nan")}, {"text": "text"}, "").gold is None


@pytest.mark.parametrize(("value", "group"), [("E10", "E10"), (7, "7"), (7.0, "7")])
def test_a_group_becomes_a_string(value, group):
    assert TASK.read({"text": "a", "label": 1, "g": value}, {**BOTH, "group": "g"}, "").group == group


@pytest.mark.parametrize("value", [None, "", " ", float("nan")])
def test_a_row_without_its_group_is_bad(value):
    with pytest.raises(BadRow, match="no group"):
        TASK.read({"text": "a", "label": 1, "g": value}, {**BOTH, "group": "g"}, "")


def test_columns_have_defaults_and_no_unknown_roles():
    assert TASK.columns({}) == BOTH
    assert TASK.columns({"label": "intent"}) == {"text": "text", "label": "intent"}
    assert TASK.columns({"text_pair": "other", "group": "g"}) == {**BOTH, "text_pair": "other", "group": "g"}
    with pytest.raises(UserError, match="did you mean 'label'"):
        TASK.columns({"lable": "intent"})


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'text-classification'"):
        task("text_classification")


def examples(*labels):
    return [read(label, f"text {i}") for i, label in enumerate(labels)]


def test_labels_stand_in_a_stable_order():
    assert TASK.head(examples("10", "9", "2", "9")).labels == ("2", "9", "10")
    assert TASK.head(examples("b", "a", "10")).labels == ("10", "a", "b")


def test_one_class_only_is_an_error():
    with pytest.raises(DataError, match="all rows have one label, 'a'"):
        TASK.head(examples("a", "a"))
    with pytest.raises(DataError, match="no gold labels"):
        TASK.head([])


def test_encode_and_decide():
    head = Head("classes", ("a", "b"))
    rows = [*examples("b", "a"), TASK.read({"text": "x"}, {"text": "text"}, "")]
    places = TASK.encode(rows, head)
    assert places.dtype == np.int64
    assert places.tolist() == [1, 0, -1]
    assert TASK.decide(np.log([[0.2, 0.8], [0.7, 0.3]])).tolist() == [1, 0]
    with pytest.raises(DataError, match=r"a.jsonl:1: the label 'B' is none"):
        TASK.encode(examples("B"), head)


def test_the_first_metric_is_accuracy_and_the_only_proportion():
    metrics = TASK.metrics(Head("classes", ("a", "b", "c")))
    assert list(metrics) == ["accuracy", "macro_f1", "mcc", "log_loss"]
    assert [m.proportion for m in metrics.values()] == [True, False, False, False]
    assert [m.higher_is_better for m in metrics.values()] == [True, True, True, False]


@given(st.lists(st.one_of(st.text(max_size=5), st.integers(), st.floats(), st.none(), st.booleans()), max_size=20))
def test_any_label_is_read_or_refused(labels):
    golds = []
    for label in labels:
        with contextlib.suppress(BadRow):
            golds.append(read(label).gold)
    assert all(isinstance(gold, str) and gold for gold in golds)
