"""Int8: matrices dynamic per channel, by ONNX Runtime; embedding tables row by row, by us.

ONNX Runtime's own quantized Gather has one scale for a whole table, which costs a small encoder several points; one a row costs
next to nothing and needs only operators that every runtime has.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

MIN_ROWS = 256  # smaller tables (positions, types) stay: nothing to gain


def to_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` with int8 weights.

    Weights keep to 7 bits (``reduce_range``): without VNNI the products are summed in 16 bits, which 8-bit weights overflow.
    """
    tables = onnx.ModelProto()
    tables.CopyFrom(model)
    quantize_tables(tables)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save_model(tables, str(source))
        quantize_dynamic(
            str(source), str(target), per_channel=True, reduce_range=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"],
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )  # fmt: skip
        return onnx.load_model(str(target))


def quantize_tables(model: onnx.ModelProto) -> list[str]:
    """Turn every large table that is only gathered from into int8 rows with a scale each, in place; return their names."""
    graph = model.graph
    tables = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    done = []
    for name, tensor in tables.items():
        nodes = readers.get(name, [])
        if tensor.dims[0] >= MIN_ROWS and nodes and all(node.op_type == "Gather" and node.input[0] == name and _axis(node) == 0 for node in nodes):
            _replace(graph, tensor, nodes)
            done.append(name)
    return done


def _replace(graph: onnx.GraphProto, tensor: onnx.TensorProto, gathers: list[onnx.NodeProto]) -> None:
    table = numpy_helper.to_array(tensor)
    scale = np.abs(table).max(axis=1, keepdims=True).astype(np.float32) / 127
    rounded = np.rint(table / np.where(scale == 0, 1, scale)).astype(np.int8)
    name = tensor.name
    graph.initializer.remove(tensor)
    graph.initializer.extend([numpy_helper.from_array(rounded, f"{name}.int8"), numpy_helper.from_array(scale, f"{name}.scale")])
    for gather in gathers:
        output, rows, scales, cast = gather.output[0], f"{gather.name}.rows", f"{gather.name}.scales", f"{gather.name}.float"
        made = [
            helper.make_node("Gather", [f"{name}.int8", gather.input[1]], [rows], name=rows, axis=0),
            helper.make_node("Gather", [f"{name}.scale", gather.input[1]], [scales], name=scales, axis=0),
            helper.make_node("Cast", [rows], [cast], name=cast, to=TensorProto.FLOAT),
            helper.make_node("Mul", [cast, scales], [output], name=f"{gather.name}.mul"),
        ]
        at = list(graph.node).index(gather)
        graph.node.remove(gather)
        for offset, node in enumerate(made):
            graph.node.insert(at + offset, node)


def _axis(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
