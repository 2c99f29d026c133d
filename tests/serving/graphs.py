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
    "kind": "hash", "buckets": 64, "word_ngrams": [1, 1], "char_ngrams": None, "char_weight": 0.5, "max_characters": 4096,
    "lowercase": True, "fields": ["text"], "version": hashing.VERSION,
}  # fmt: skip
TABLE = np.random.default_rng(0).normal(size=(65, 3)).astype(np.float32)
TABLE[0] = 0  # padding


def artifact(folder: Path, *, temperature: float = 1.0, fields=("text",), table: np.ndarray = TABLE, **more) -> Path:
    """Write an artifact whose logits are the weighted sum of its words' rows of ``table``; ``more`` goes over its description."""
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows", "length"])
    weights = helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["rows", "length"])
    scores = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", table.shape[1]])
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["words"], axis=0),
        helper.make_node("Unsqueeze", ["weights", "last"], ["column"]),
        helper.make_node("Mul", ["words", "column"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axes"], ["logits"], keepdims=0),
    ]
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axes"), numpy_helper.from_array(np.array([2]), "last")]
    graph = helper.make_graph(nodes, "sum", [ids, weights], [scores], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    storage.write_bytes(folder / "model.onnx", model)
    described = {
        "schema": 1, "format": "onnx", "model": "model.onnx", "precision": "fp32", "preprocess": {**SPEC, "fields": list(fields)},
        "head": {"kind": "classes", "labels": list(LABELS)}, "temperature": temperature,
        "files": {"model.onnx": {"bytes": len(model)}},
    }  # fmt: skip
    storage.write_json(folder / "artifact.json", described | more)
    return folder


def logits(texts) -> np.ndarray:
    """The scores that such an artifact gives, in float64."""
    features = [hashing.reference(text, SPEC) for text in texts]
    return np.stack([np.array(weights) @ TABLE[np.array(ids, int)].astype(np.float64) for ids, weights in features])


def expected(texts, temperature: float = 1.0) -> np.ndarray:
    """The log-probabilities that such an artifact gives, in float64."""
    scores = logits(texts) / temperature
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


def onnx_of(folder: Path) -> onnx.ModelProto:
    return onnx.load_model(str(folder / "model.onnx"))
