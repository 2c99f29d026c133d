"""Int8 weights: embedding tables row by row, by us; matrices dynamic per channel, by ONNX Runtime, one row of input at a time.

ONNX Runtime's own quantized Gather has one scale for a whole table; one a row needs only operators that every runtime has. Its
dynamic quantization gives the activations of a whole batch one scale: an answer would depend on the rows that share the batch,
and on their padding (2 in 100 decisions, measured on MiniLM). A graph that it touched is therefore asked one row at a
time, which ``max_batch`` tells the predictor; figures, and what else was tried: docs/log.md.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

MIN_ROWS = 256  # smaller tables (positions, token types) stay fp32: nothing to gain
MIN_WEIGHTS = 16_384  # of a matrix; smaller ones (classifiers, heads of bags) stay fp32: a few KB, and the last word on every decision


@dataclass(frozen=True)
class Int8:
    """A graph with int8 weights; the initializers that became so; the rows that may share a batch, None for any number."""

    model: onnx.ModelProto
    tables: tuple[str, ...]
    matrices: tuple[str, ...]

    @property
    def max_batch(self) -> int | None:
        return 1 if self.matrices else None


def to_int8(model: onnx.ModelProto) -> Int8:
    """Return a copy of ``model`` with int8 weights wherever there is something to gain; biases and norms stay fp32."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    tables = quantize_tables(made.graph)
    before = _floats(made.graph)
    multipliers = [node for node in made.graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in before]
    if any(_large(before[node.input[1]]) for node in multipliers):
        made = _dynamic(made, [node.name for node in multipliers if not _large(before[node.input[1]])])
    after = _floats(made.graph)
    return Int8(made, tuple(tables), tuple(name for name, tensor in before.items() if _large(tensor) and name not in after))


def _dynamic(model: onnx.ModelProto, spared: list[str]) -> onnx.ModelProto:
    """Return ``model`` with its matrices dynamic per channel, but those of the nodes ``spared``.

    Weights keep to 7 bits (``reduce_range``): without VNNI products are summed in 16 bits, which 8-bit weights overflow.
    """
    names = [*spared, *(f"{name}_MatMul" for name in spared)]  # what a Gemm's product is called once its bias is split off
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save_model(model, str(source))
        quantize_dynamic(
            str(source), str(target), per_channel=True, reduce_range=True, weight_type=QuantType.QInt8, nodes_to_exclude=names,
            op_types_to_quantize=["MatMul", "Gemm"], extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )  # fmt: skip
        made = onnx.load_model(str(target))
    made.producer_name, made.producer_version = model.producer_name, model.producer_version
    return made


def quantize_tables(graph: GraphProto) -> list[str]:
    """Turn every large table that is only gathered from into int8 rows with a scale each, in place; return their names."""
    found = [name for name, tensor in _floats(graph).items() if tensor.dims[0] >= MIN_ROWS and _only_gathered(graph, name)]
    tables = {tensor.name: tensor for tensor in graph.initializer if tensor.name in found}
    nodes = [new for node in graph.node for new in (_gather(node) if node.input and node.input[0] in tables else [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    for name, tensor in tables.items():
        rows, scales = by_row(numpy_helper.to_array(tensor))
        graph.initializer.extend([numpy_helper.from_array(rows, f"{name}.int8"), numpy_helper.from_array(scales, f"{name}.scale")])
        graph.initializer.remove(tensor)
    return found


def _gather(node: NodeProto) -> list[NodeProto]:
    """Return the gather of int8 rows and of their scales, and their product."""
    table, ids, out = node.input[0], node.input[1], node.output[0]
    return [
        helper.make_node("Gather", [f"{table}.int8", ids], [f"{out}.rows"], name=f"{out}.rows", axis=0),
        helper.make_node("Gather", [f"{table}.scale", ids], [f"{out}.scales"], name=f"{out}.scales", axis=0),
        helper.make_node("Cast", [f"{out}.rows"], [f"{out}.float"], name=f"{out}.float", to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{out}.float", f"{out}.scales"], [out], name=f"{out}.scaled"),
    ]


def by_row(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 rows *Shape:* (rows, width) and their scales (rows, 1) float32: off by half a scale at most, zeros stay zeros."""
    scales = (np.abs(table).max(axis=1, keepdims=True) / 127).astype(np.float32)
    return np.rint(table / np.where(scales == 0, 1, scales)).astype(np.int8), scales


def _only_gathered(graph: GraphProto, name: str) -> bool:
    readers = [node for node in graph.node if name in node.input]
    return all(node.op_type == "Gather" and node.input[0] == name and _axis(node) == 0 for node in readers)


def _floats(graph: GraphProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2}


def _large(tensor: TensorProto) -> bool:
    return int(np.prod(tensor.dims)) >= MIN_WEIGHTS


def _axis(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's tools write to the root logger, and would set it up for the whole program where nobody has."""
    root, handler = logging.getLogger(), logging.NullHandler()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
