"""A fresh head of labels begins at how common they are; one of classes, and one that its source brings along, are left alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from potstill.records import Example, Head
from potstill.students.build import build, load
from tests import tiny

HEAD = Head("labels", ("a", "b", "c"))
ROWS = [Example.make({"text": f"the {i}"}, gold=("a",) if i % 2 else ("a", "b") if i % 4 else ()) for i in range(38)] + [Example.make({"text": "x"})]
SPECS = {
    "transformer": SimpleNamespace(kind="transformer", layers=1, max_length=None),
    "static": SimpleNamespace(kind="static", dimensions=8, hidden=4, max_length=None),
    "ngram": SimpleNamespace(kind="ngram", buckets=64, dimensions=8, hidden=0, word_ngrams=[1, 2], char_ngrams=None),
}


def made(kind, source, head=HEAD, rows=ROWS):
    return build(SPECS[kind], head, source=source, fields=("text",), seed=0, max_length=16, rows=rows)


def biases(student):
    module = student.module
    return (module.classifier if student.kind == "transformer" else module.head["out"]).bias.detach()


@pytest.mark.parametrize("kind", SPECS)
def test_biases_are_the_labels_log_odds(tmp_path, kind):
    counts = np.array([sum(label in row.labels for row in ROWS) for label in HEAD.labels])
    expected = np.log((counts + 1) / (38 + 2 - counts - 1))
    student = made(kind, tiny.encoder(tmp_path / "m"))
    np.testing.assert_allclose(biases(student), expected, rtol=1e-5)
    student.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.head == HEAD
    torch.testing.assert_close(biases(again), biases(student))


@pytest.mark.parametrize("kind", SPECS)
def test_classes_and_rows_without_gold_leave_it_as_it_was(tmp_path, kind):
    source, classes = tiny.encoder(tmp_path / "m"), Head("classes", HEAD.labels)
    with_rows, without = (made(kind, source, classes, rows) for rows in ([Example.make({"text": "x"}, gold="a")], ()))
    torch.testing.assert_close(biases(with_rows), biases(without))
    torch.testing.assert_close(biases(made(kind, source, rows=ROWS[-1:])), biases(made(kind, source, rows=())))


def test_a_head_that_the_source_has_is_kept(tmp_path):
    source = tiny.classifier(tmp_path / "m", ("c", "a", "b"))
    student = made("transformer", source)
    torch.testing.assert_close(biases(student), biases(made("transformer", source, rows=())))


def test_the_saved_model_says_what_kind_it_is(tmp_path):
    source = tiny.encoder(tmp_path / "m")
    for head, problem in ((HEAD, "multi_label_classification"), (Head("classes", HEAD.labels), "single_label_classification")):
        made("transformer", source, head, ()).save(tmp_path / head.kind)
        assert AutoConfig.from_pretrained(tmp_path / head.kind).problem_type == problem
