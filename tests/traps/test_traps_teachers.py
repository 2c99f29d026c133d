"""Traps in teachers that are files, functions or several of these."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from potstill.functions import _loaded
from potstill.labels import Account, LabelStore, ask
from potstill.records import Answered, Example, Failed, Head, Want
from potstill.teachers import build
from potstill.teachers.ensemble import EnsembleTeacher
from tests import tiny
from tests.labels.fakes import Fake, examples

LOGPROBS = Want("logprobs")
LABELS = ("neg", "neu", "pos")
HEAD = Head("classes", LABELS)
TEXTS = ("the movie was awful", "good", "chronic pain in the left lung, and fever", "a cat!", "red blood")
TOLD = {"max_length": 16, "batch_size": 4, "license": "mit", "output_license": "mit", "usd_per_1000": 0.0}


class Scaled(Fake):
    """Another teacher whose logits are ``scale`` times as far apart; its labels in an order of its own."""

    def __init__(self, labels, scale, version):
        super().__init__(labels, version=version)
        self.scale = scale

    def answer(self, rows, wants):
        for row in rows:
            logits = self.scale * np.array([self.logit(row, label) for label in self.labels])
            yield row.id, Answered({LOGPROBS: (logits - np.logaddexp.reduce(logits)).astype(np.float32)[None]})

    def logit(self, row, label):
        """By label, whatever its place."""
        return np.random.default_rng([int(row.id[:8], 16), int(self.version), *label.encode()]).normal()

    def probabilities(self, row):
        logits = self.scale * np.array([self.logit(row, label) for label in LABELS])
        return np.exp(logits - np.logaddexp.reduce(logits))


def said(teacher, rows):
    answers = dict(teacher.answer(rows, [LOGPROBS]))
    return np.concatenate([answers[row.id].arrays[LOGPROBS] for row in rows])


def test_trap_32_one_teacher_scaled_by_five_does_not_dominate():
    rows = examples(200)
    calm, loud = Scaled(LABELS, 1.0, "1"), Scaled(LABELS, 5.0, "2")
    pooled = np.exp(said(EnsembleTeacher("e", HEAD, [calm, loud], None), rows))
    expected = np.array([(calm.probabilities(row) + loud.probabilities(row)) / 2 for row in rows])
    np.testing.assert_allclose(pooled, expected, atol=1e-6)
    half = np.array([calm.probabilities(row) / 2 for row in rows])
    assert (pooled >= half - 1e-6).all()  # what the calm one believes keeps its half, however loud the other is
    of_logits = np.array([np.sqrt(calm.probabilities(row) * loud.probabilities(row)) for row in rows])
    assert (of_logits / of_logits.sum(1, keepdims=True) < half - 0.1).any()  # the mean of logits takes it away


def test_trap_32_weights_are_of_probabilities():
    rows = examples(50)
    calm, loud = Scaled(LABELS, 1.0, "1"), Scaled(LABELS, 5.0, "2")
    pooled = np.exp(said(EnsembleTeacher("e", HEAD, [calm, loud], [9, 1]), rows))
    np.testing.assert_allclose(pooled, [0.9 * calm.probabilities(row) + 0.1 * loud.probabilities(row) for row in rows], atol=1e-6)


def test_trap_32_label_orders_are_aligned_first():
    rows = examples(50)
    one, other = Scaled(LABELS, 1.0, "1"), Scaled(("pos", "neg", "neu"), 1.0, "2")
    pooled = np.exp(said(EnsembleTeacher("e", HEAD, [one, other], None), rows))
    np.testing.assert_allclose(pooled, [(one.probabilities(row) + other.probabilities(row)) / 2 for row in rows], atol=1e-6)


# ------------------------------------------------------------------------------------------------------------ an ONNX file
def graph_spec(path, **options):
    return SimpleNamespace(**{"kind": "onnx", "model": str(path), "tokenizer": None, "labels": None, "output": "logits", **TOLD, **options})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    return tiny.graph(tiny.classifier(folder / "model", LABELS), folder / "onnx" / "teacher.onnx")


def texts(given=TEXTS):
    return [Example.make({"text": text}) for text in given]


def test_trap_35_outputs_of_a_graph_are_aligned_by_name(path):
    plain = said(build(graph_spec(path), HEAD), texts())
    turned = build(graph_spec(path), Head("classes", ("pos", "neg", "neu")))
    np.testing.assert_array_equal(said(turned, texts()), plain[:, [2, 0, 1]])
    renamed = build(graph_spec(path, labels=["pos", "neg", "neu"]), HEAD)  # the graph's first output is pos
    np.testing.assert_array_equal(said(renamed, texts()), plain[:, [1, 2, 0]])


def test_trap_44_the_key_holds_all_that_a_graph_answers_by(path, tmp_path):
    moved = shutil.copytree(path.parent, tmp_path / "moved")
    base = build(graph_spec(path), HEAD).identity()
    assert build(graph_spec(moved / path.name, batch_size=1), HEAD).identity() == base
    tokenizer = moved / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"lowercase": true', '"lowercase": false').replace('"lowercase":true', '"lowercase":false'))
    others = [
        build(graph_spec(moved / path.name), HEAD), build(graph_spec(path, max_length=15), HEAD), build(graph_spec(path, labels=["pos", "neu", "neg"]), HEAD)
    ]  # fmt: skip
    model = onnx.load(moved / path.name)
    model.graph.initializer.append(helper.make_tensor("unused", TensorProto.FLOAT, [1], [1.0]))
    shutil.copytree(path.parent, tmp_path / "third")
    onnx.save(model, tmp_path / "third" / path.name)
    others.append(build(graph_spec(tmp_path / "third" / path.name), HEAD))
    assert len({base, *(teacher.identity() for teacher in others)}) == 5


def test_trap_58_rows_of_an_int8_graph_have_no_say_in_each_others_answers(path, tmp_path):
    for name in ("tokenizer.json", "config.json"):
        shutil.copy(path.with_name(name), tmp_path)
    quantize_dynamic(str(path), str(tmp_path / "int8.onnx"), weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
    teacher = build(graph_spec(tmp_path / "int8.onnx", batch_size=64), HEAD)
    alone = np.concatenate([said(teacher, [row]) for row in texts()])
    np.testing.assert_array_equal(said(teacher, texts()), alone)


# -------------------------------------------------------------------------------------------------------------- a function
SOURCE = """
def listed(rows):
    return [[0.7, 0.2, 0.1] for row in rows]

def fussy(rows):
    if any(row["text"] == "a cat!" for row in rows):
        raise ValueError("a cat")
    return ["pos" for row in rows]
"""


@pytest.fixture
def function(tmp_path):
    (tmp_path / "trap_answers.py").write_text(SOURCE)

    def make(name, **options):
        told = {"kind": "callable", "function": f"trap_answers:{name}", "version": "1", "folder": str(tmp_path), "name": "f", "labels": None}
        return build(SimpleNamespace(**{**TOLD, **told, **options}), HEAD)

    yield make
    _loaded.pop("trap_answers", None)
    import sys

    sys.modules.pop("trap_answers", None)
    sys.path.remove(str(tmp_path))


def test_trap_35_bare_lists_are_aligned_by_the_names_given(function):
    found = np.exp(said(function("listed", labels=["pos", "neg", "neu"]), texts()))
    np.testing.assert_allclose(found, [[0.2, 0.1, 0.7]] * len(TEXTS), atol=1e-6)


def test_trap_44_the_key_holds_the_version_and_the_source(function, tmp_path):
    base, later = function("fussy").identity(), function("fussy", version="2").identity()
    (tmp_path / "trap_answers.py").write_text(SOURCE.replace('"pos"', '"neg"'))
    changed = function("fussy")
    assert len({base, later, changed.identity()}) == 3
    assert said(changed, texts(["good"])).argmax() == 0  # what runs is what the key is told of


def test_trap_50_a_row_that_a_function_minds_fails_alone(function, tmp_path):
    with LabelStore(tmp_path / "labels") as store:
        answers = ask(function("fussy"), texts(), [LOGPROBS], Account(store))
    assert answers.counts == {"answered": 4, "refused": 0, "failed": 1}
    (bad,) = texts(["a cat!"])
    assert answers.of(bad.id) == Failed("ValueError: a cat")


def test_trap_44_the_key_of_an_ensemble_holds_members_and_weights():
    made = [
        ([Fake(version="1"), Fake(version="2")], [1, 1]),
        ([Fake(version="1"), Fake(version="2")], [2, 1]),
        ([Fake(version="1"), Fake(version="3")], [1, 1]),
    ]
    assert len({EnsembleTeacher("e", Head("classes", ("a", "b")), members, weights).identity() for members, weights in made}) == 3


def test_trap_58_what_int8_is_unsure_of_is_asked_again(path):
    """A graph that ties every row (as int8 may) hands the rows to the exact one; a sure one keeps them."""
    from dataclasses import replace

    exact = build(graph_spec(path), HEAD)
    sure, unsure = (replace(exact._graph, session=Off(exact._graph.session, gap), again=exact._graph, margin=0.5) for gap in (9.0, 0.4))
    rows = {row.id: dict(row.fields) for row in texts()}
    whole = dict(exact._graph.scores(rows))
    told = dict(unsure.scores(rows))
    assert told.keys() == rows.keys()
    assert all((told[id] == whole[id]).all() for id in rows)
    assert all(scores.argmax() == 0 and scores.max() == 9.0 for scores in dict(sure.scores(rows)).values())


class Off:
    """A session that always says the first class, by ``gap``."""

    def __init__(self, session, gap):
        self.session, self.gap = session, gap

    def run(self, names, arrays):
        return [np.array([[self.gap, 0.0, 0.0]] * len(arrays["input_ids"]), np.float32)]
