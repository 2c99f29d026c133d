"""Trap 56: latency measured without warm-up, or on another runtime than the one shipped."""

from __future__ import annotations

import json

import numpy as np
import onnx
from onnx import TensorProto, helper

from potstill.measuring.measure import Subject, measure
from potstill.measuring.openers import artifact
from potstill.runlog import RunLog
from potstill.serving.predictor import Predictor


def test_trap_56_cold_calls_are_not_timed():
    spec = {"name": "cold", "cold": 11, "cold_s": 0.25}  # the first answer, and ten calls more
    found = measure([Subject("cold", "tests.measuring.fakes:open_fake", spec)], [{"text": "a"}], threads=1, log=RunLog(), budget_s=1)["cold"]
    assert found.latency_ms["p99"] is None or found.latency_ms["p99"]["high"] < 200
    assert found.latency_ms["p95"]["high"] < 200


def write_artifact(folder, weight):
    """Write the smallest artifact: hashed words, each worth ``weight`` for the first class."""
    folder.mkdir(parents=True)
    table = np.tile(np.array([[weight, 0.0]], np.float32), (9, 1))
    nodes = [helper.make_node("Gather", ["table", "ids"], ["rows"]), helper.make_node("ReduceMax", ["rows"], ["logits"], axes=[1], keepdims=0)]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("ids", TensorProto.INT64, ["b", "l"]), helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["b", "l"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 2])], [onnx.numpy_helper.from_array(table, "table")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    preprocess = {
        "kind": "hash", "version": 2, "buckets": 8, "word_ngrams": [1, 1], "char_ngrams": None, "char_weight": 1, "max_characters": 80, "lowercase": True,
        "fields": ["text"],
    }  # fmt: skip
    described = {"schema": 1, "format": "onnx", "model": "model.onnx", "precision": "fp32", "preprocess": preprocess, "temperature": 1.0}
    (folder / "artifact.json").write_text(json.dumps({**described, "head": {"kind": "classes", "labels": ["a", "b"]}}))
    return folder


def test_trap_56_what_is_measured_is_the_artifact_that_ships(tmp_path):
    shipped = write_artifact(tmp_path / "sealed" / "artifact", weight=3.0)
    write_artifact(tmp_path / "trained" / "artifact", weight=-3.0)
    opened = artifact({"folder": str(shipped), "threads": 1})
    assert isinstance(opened, Predictor)  # the class that serves
    assert opened.folder == shipped
    rows = [{"text": "one two"}]
    np.testing.assert_array_equal(opened.predict(rows), Predictor.open(shipped).predict(rows))
    assert opened.decide(opened.predict(rows)) == ["a"]
