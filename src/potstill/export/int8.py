"""Int8 weights, in operators that every runtime has: embedding tables row by row, matrices by column with fixed activation scales.

ONNX Runtime's own quantized Gather has one scale for a whole table; ours has one a row. Its dynamic quantization gives the activations
of a whole batch one scale, so that an answer depends on the rows beside it and on their padding. Here an activation's scale is fixed
when the model is exported, from rows that were shown to it: an answer is a row's own, and rows can share a batch. What else was
tried, with figures: docs/log.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from .activations import LEVELS, Grid, Seen, calibrate, fit, quiet_session

MIN_ROWS = 256  # smaller tables (positions, token types) stay fp32: nothing to gain
MIN_WIDTH = 8  # of a table: a scale weighs four bytes, which narrower rows hardly save
MIN_WEIGHTS = 16_384  # of a matrix; smaller ones (classifiers, heads of bags) stay fp32: a few KB, and the last word on every decision


@dataclass(frozen=True)
class Int8:
    """A graph with int8 weights; the initializers that became so: ``tables``, ``matrices``, and of these the ones ``spared``,
    whose weights alone are int8: runtimes compute their products in fp32, or with scales of each row's own."""

    model: onnx.ModelProto
    tables: tuple[str, ...]
    matrices: tuple[str, ...]
    spared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Product:
    """A multiplication with a large constant matrix. ``matrix`` *Shape:* (inputs, outputs)."""

    node: NodeProto
    matrix: np.ndarray = field(repr=False)

    @property
    def name(self) -> str:
        """The name of the matrix."""
        return str(self.node.input[1])

    @property
    def activation(self) -> str:
        return str(self.node.input[0])


def products(graph: GraphProto) -> list[Product]:
    """Return the multiplications with large constant matrices, in the graph's order: MatMul, and Gemm as linear layers have it."""
    floats = _floats(graph)
    found = []
    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in floats or not _large(floats[node.input[1]]):
            continue
        options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if options.get("transA") or options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0:
            continue
        matrix = numpy_helper.to_array(floats[node.input[1]])
        found.append(Product(node, matrix.T if options.get("transB") else matrix))
    return found


def watch(model: onnx.ModelProto, batches: Iterable[Mapping[str, np.ndarray]]) -> dict[str, Seen]:
    """Return what the large matrices' activations hold over ``batches``, rows of their own."""
    return calibrate(model, list(dict.fromkeys(product.activation for product in products(model.graph))), batches)


def by_harm(model: onnx.ModelProto, seen: Mapping[str, Seen], batches: Sequence[Mapping[str, np.ndarray]]) -> list[str]:
    """Return the names of the large matrices, first those whose 8-bit products move the answers to ``batches`` the furthest.

    Each is tried alone, the others' weights alone being int8.
    """
    names = list(dict.fromkeys(product.name for product in products(model.graph)))
    exact = _answers(model, batches)

    def moved(name: str) -> float:
        made = to_int8(model, seen, spared=[other for other in names if other != name])
        return float(np.square(_answers(made.model, batches) - exact).mean(dtype=np.float64))

    return sorted(names, key=moved, reverse=True)


def _answers(model: onnx.ModelProto, batches: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    session = quiet_session(model)
    return np.concatenate([session.run(None, dict(batch))[0] for batch in batches])


def to_int8(model: onnx.ModelProto, seen: Mapping[str, Seen] | None = None, *, spared: Collection[str] = ()) -> Int8:
    """Return a copy of ``model`` with int8 weights wherever there is something to gain; biases and norms stay fp32.

    ``seen``: :func:`watch`'s. Of matrices that are ``spared``, or whose activations it doesn't know, the weights alone are int8.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    tables = quantize_tables(made.graph)
    todo = {id(product.node): product for product in products(made.graph)}
    # A Gemm has one vector a row (a pooler): little to multiply, and runtimes don't multiply its product with a bias in 8 bits.
    alone = {p.name for p in todo.values() if p.name in spared or p.activation not in (seen or {}) or p.node.op_type == "Gemm"}
    writer = _Writer(_grids(todo.values(), alone, seen or {}))
    nodes = [new for node in made.graph.node for new in (writer.write(todo[id(node)]) if id(node) in todo else [node])]
    initializers = [*made.graph.initializer, *writer.initializers.values()]
    read = {name for node in nodes for name in node.input}
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    kept = [tensor for tensor in initializers if tensor.name in read]
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept)
    names = tuple(dict.fromkeys(product.name for product in todo.values()))
    return Int8(made, tuple(tables), names, tuple(name for name in names if name in alone))


def _grids(found: Iterable[Product], alone: Collection[str], seen: Mapping[str, Seen]) -> dict[str, Grid]:
    """Return the grid of each activation that is to be rounded: one for all the matrices that read it."""
    readers: dict[str, list[np.ndarray]] = {}
    for product in found:
        if product.name not in alone:
            readers.setdefault(product.activation, []).append(product.matrix)
    return {name: fit(seen[name], matrices) for name, matrices in readers.items()}


class _Writer:
    """Writes products with int8 weights: of activations on a grid in 8 bits, of others in fp32."""

    def __init__(self, grids: Mapping[str, Grid]) -> None:
        self.grids = grids
        self.initializers: dict[str, TensorProto] = {}
        self.rounded: set[str] = set()  # the activations whose rounding stands already

    def write(self, product: Product) -> list[NodeProto]:
        """Return the nodes that stand in the place of the product's."""
        node, out, name = product.node, product.node.output[0], product.activation
        result = f"{out}.product" if node.op_type == "Gemm" and len(node.input) > 2 else out
        grid = self.grids.get(name) if node.op_type == "MatMul" else None
        if grid is None:
            before, activation, weights = list[NodeProto](), name, self._weights(product.name, product.matrix, 127)
        else:
            before, activation = self._round(name, grid)
            weights = self._weights(f"{product.name}@{name}", product.matrix * grid.smooth[:, None], LEVELS)
        nodes = [
            *before, helper.make_node("DequantizeLinear", weights, [f"{out}.weights"], name=f"{out}.weights", axis=1),
            helper.make_node("MatMul", [activation, f"{out}.weights"], [result], name=f"{out}.int8"),
        ]  # fmt: skip
        return nodes if result == out else [*nodes, helper.make_node("Add", [result, node.input[2]], [out], name=f"{out}.bias")]

    def _round(self, name: str, grid: Grid) -> tuple[list[NodeProto], str]:
        """Return the nodes that put an activation on its grid, none where they stand already; and the name of what they give."""
        out = f"{name}.rounded"
        if name in self.rounded:
            return [], out
        self.rounded.add(name)
        self._add(f"{name}.smooth", (1 / grid.smooth).astype(np.float32))
        self._add(f"{name}.step", np.asarray(grid.step))
        self._add(f"{name}.zero", np.asarray(grid.zero))
        levels = [f"{name}.step", f"{name}.zero"]
        return [
            helper.make_node("Mul", [name, f"{name}.smooth"], [f"{name}.even"], name=f"{name}.even"),
            helper.make_node("QuantizeLinear", [f"{name}.even", *levels], [f"{name}.levels"], name=f"{name}.levels"),
            helper.make_node("DequantizeLinear", [f"{name}.levels", *levels], [out], name=out),
        ], out

    def _weights(self, name: str, matrix: np.ndarray, levels: int) -> list[str]:
        rounded, scales = by_row(matrix.T, levels)
        self._add(f"{name}.int8", np.ascontiguousarray(rounded.T))
        self._add(f"{name}.scale", scales[:, 0])
        self._add(f"{name}.zeros", np.zeros(len(scales), np.int8))
        return [f"{name}.int8", f"{name}.scale", f"{name}.zeros"]

    def _add(self, name: str, array: np.ndarray) -> None:
        self.initializers[name] = numpy_helper.from_array(array, name)


def quantize_tables(graph: GraphProto) -> list[str]:
    """Turn every large table that is only gathered from into int8 rows with a scale each, in place; return their names."""
    found = [name for name, tensor in _floats(graph).items() if tensor.dims[0] >= MIN_ROWS and tensor.dims[1] >= MIN_WIDTH and _only_gathered(graph, name)]
    tables = {tensor.name: tensor for tensor in graph.initializer if tensor.name in found}
    gathers = {node.output[0] for node in graph.node if node.input and node.input[0] in tables}
    sums = _sums(graph, gathers)
    nodes = []
    for node in graph.node:
        if node.output[0] in gathers:
            nodes += _gather(node, whole=node.output[0] not in sums)
        elif len(node.input) > 1 and node.input[1] in sums:
            nodes += _weighted(node)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    for name, tensor in tables.items():
        rows, scales = by_row(numpy_helper.to_array(tensor))
        graph.initializer.extend([numpy_helper.from_array(rows, f"{name}.int8"), numpy_helper.from_array(scales, f"{name}.scale")])
        graph.initializer.remove(tensor)
    return found


def _sums(graph: GraphProto, gathers: Collection[str]) -> set[str]:
    """Return which rows, gathered by ids *Shape:* (rows, length) that are an input, are read by one MatMul alone, as its second factor."""
    flat = {value.name for value in graph.input if len(value.type.tensor_type.shape.dim) == 2}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    ids = {node.output[0]: node.input[1] for node in graph.node if node.output[0] in gathers}
    alone = {name for name in gathers if ids[name] in flat and len(readers.get(name, ())) == 1 and name not in {value.name for value in graph.output}}
    return {name for name in alone if readers[name][0].op_type == "MatMul" and readers[name][0].input[1] == name}


def _gather(node: NodeProto, whole: bool = True) -> list[NodeProto]:
    """Return the gather of int8 rows and of their scales, and, ``whole``, their product."""
    table, ids, out = node.input[0], node.input[1], node.output[0]
    made = [
        helper.make_node("Gather", [f"{table}.int8", ids], [f"{out}.rows"], name=f"{out}.rows", axis=0),
        helper.make_node("Gather", [f"{table}.scale", ids], [f"{out}.scales"], name=f"{out}.scales", axis=0),
        helper.make_node("Cast", [f"{out}.rows"], [f"{out}.float"], name=f"{out}.float", to=TensorProto.FLOAT),
    ]
    return [*made, helper.make_node("Mul", [f"{out}.float", f"{out}.scales"], [out], name=f"{out}.scaled")] if whole else made


def _weighted(node: NodeProto) -> list[NodeProto]:
    """Return a weighted sum of a table's rows: its weights *Shape:* (rows, 1, length) take the scales (rows, length, 1), so that no row is scaled whole."""
    weights, rows, out = node.input[0], node.input[1], node.output[0]
    return [
        helper.make_node("Transpose", [f"{rows}.scales"], [f"{rows}.turned"], name=f"{rows}.turned", perm=[0, 2, 1]),
        helper.make_node("Mul", [weights, f"{rows}.turned"], [f"{rows}.weights"], name=f"{rows}.weights"),
        helper.make_node("MatMul", [f"{rows}.weights", f"{rows}.float"], [out], name=node.name),
    ]


def by_row(table: np.ndarray, levels: int = 127) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 rows *Shape:* (rows, width) and their scales (rows, 1) float32: off by half a scale at most, zeros stay zeros."""
    scales = (np.abs(table).max(axis=1, keepdims=True) / levels).astype(np.float32)
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
