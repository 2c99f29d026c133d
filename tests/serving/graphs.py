"""A whole artifact written by hand: no student, no torch. Its answers are known in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from potstill import storage
from potstill.serving import hashing

LABELS = ("no", "yes", "maybe")
SPEC = {
    "kind": "hash", "buckets": 64, "word_ngrams": [1, 1], "char_ngrams": None, "max_features": 1024, "lowercase": True, "fields": ["text"],
    "version": hashing.VERSION,
}  # fmt: skip
TABLE = np.random.default_rng(0).normal(size=(65, 3)).astype(np.float32)
TABLE[0] = 0  # padding


def artifact(folder: Path, *, temperature: float = 1.0, fields=("text",), table: np.ndarray = TABLE, **more) -> Path:
    """Write an artifact whose logits are the sum of its words' rows of ``table``; ``more`` goes over its description."""
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows", "length"])
    scores = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", table.shape[1]])
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["words"], axis=0),
        helper.make_node("ReduceSum", ["words", "axes"], ["logits"], keepdims=0),
    ]
    weights = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axes")]
    graph = helper.make_graph(nodes, "sum", [ids], [scores], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    storage.write_bytes(folder / "model.onnx", model)
    described = {
        "schema": 1, "format": "onnx", "model": "model.onnx", "precision": "fp32", "preprocess": {**SPEC, "fields": list(fields)},
        "head": {"kind": "classes", "labels": list(LABELS)}, "temperature": temperature,
        "files": {"model.onnx": {"bytes": len(model)}},
    }  # fmt: skip
    storage.write_json(folder / "artifact.json", described | more)
    return folder


def expected(texts, temperature: float = 1.0) -> np.ndarray:
    """The log-probabilities that such an artifact gives, in float64."""
    scores = np.stack([TABLE[hashing.reference(text, SPEC)].astype(np.float64).sum(0) for text in texts]) / temperature
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


def onnx_of(folder: Path) -> onnx.ModelProto:
    return onnx.load_model(str(folder / "model.onnx"))
