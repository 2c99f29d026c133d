"""A bundle that takes its time: a graph of many products, some tens of milliseconds a row, so that queues and deadlines have something to do."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from potstill import storage
from potstill.serving import hashing
from tests.serving.graphs import LABELS, SPEC

WIDTH = 1024


def slow(folder, *, temperature=1.0, products=300):
    random = np.random.default_rng(0)
    table = random.normal(size=(65, WIDTH)).astype(np.float32)
    square = np.linalg.qr(random.normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)
    head = (random.normal(size=(WIDTH, 3)) / 30).astype(np.float32)
    constants = {"table": table, "axes": np.array([1]), "last": np.array([2]), "square": square, "head": head}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["words"], axis=0), helper.make_node("Unsqueeze", ["weights", "last"], ["column"]),
        helper.make_node("Mul", ["words", "column"], ["weighted"]), helper.make_node("ReduceSum", ["weighted", "axes"], ["h0"], keepdims=0),
    ]  # fmt: skip
    nodes += [helper.make_node("MatMul", [f"h{i}", "square"], [f"h{i + 1}"]) for i in range(products)]
    nodes += [helper.make_node("MatMul", [f"h{products}", "head"], ["logits"])]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows", "length"])
    weights = helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["rows", "length"])
    scores = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", 3])
    graph = helper.make_graph(nodes, "slow", [ids, weights], [scores], [numpy_helper.from_array(array, name) for name, array in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    storage.write_bytes(folder / "model.onnx", data)
    described = {
        "schema": 1, "format": "onnx", "model": "model.onnx", "precision": "fp32", "preprocess": {**SPEC, "fields": ["text"], "version": hashing.VERSION},
        "head": {"kind": "classes", "labels": list(LABELS)}, "temperature": temperature, "files": {"model.onnx": {"bytes": len(data)}},
    }  # fmt: skip
    storage.write_json(folder / "artifact.json", described)
    return folder
