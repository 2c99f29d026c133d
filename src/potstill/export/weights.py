"""Nodes and weights of a graph that is written by hand: a language model's matrices in fp32, or as int8 in blocks that share a scale.

Its int8 products are the runtime's own operator, MatMulNBits of com.microsoft, and not int8's QDQ nodes: it rounds each row's activations by that
row's own range as it goes, so nothing must be calibrated, a row's answer is its own, and at one token a call it reads int8 weights and
nothing else. Its weights lie by output row, as the embedding's do: the table of a tied head is in the file once, and gathered from as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from .int8 import by_row

# Weights, and activations, that share a scale: the largest that divides a row, so that none is filled up; else the last. Measured on SmolLM2-135M
# against fp32, WikiText-2, one thread: 128 or 64: 144 MB, KL 0.008, the same likeliest token at 94 % of places, 13 ms a token; 32: 153 MB, 0.004, 97 %, 21 ms.
BLOCKS, FINE = (128, 64, 32), (32,)
LEVELS, ZERO = 127, 128  # of int8 as MatMulNBits has it: unsigned, zero in the middle
INT8_PRODUCTS = 4  # MatMulNBits' accuracy_level: activations in int8, too
CONTRIB = "com.microsoft"


@dataclass
class Graph:
    """Nodes in order and initializers, each of these once; names count up, so that the same weights give the same bytes."""

    nodes: list[NodeProto] = field(default_factory=list)
    tensors: dict[str, TensorProto] = field(default_factory=dict)
    domains: list[str] = field(default_factory=list)

    @property
    def initializers(self) -> list[TensorProto]:
        return list(self.tensors.values())

    def add(self, op: str, *inputs: str, domain: str = "", **options: Any) -> str:
        """Add a node of one output; return the output's name."""
        if domain and domain not in self.domains:
            self.domains.append(domain)
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, domain=domain, **options))
        return name

    def split(self, whole: str, sizes: tuple[int, ...], *, axis: int) -> list[str]:
        name = f"Split_{len(self.nodes)}"
        parts = [f"{name}_{n}" for n in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [whole, self.ints(*sizes)], parts, name=name, axis=axis))
        return parts

    def name(self, made: str, name: str) -> str:
        """Give the last node's output, ``made``, a name of its own; return it."""
        assert list(self.nodes[-1].output) == [made]
        self.nodes[-1].output[0] = name
        return name

    def tensor(self, name: str, array: np.ndarray) -> str:
        if name not in self.tensors:
            self.tensors[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def ints(self, *values: int) -> str:
        return self.tensor(f"ints_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def int(self, value: int) -> str:
        return self.tensor(f"int_{value}", np.array(value, np.int64))

    def float(self, value: float) -> str:
        return self.tensor(f"float_{value!r}", np.array(value, np.float32))


class Weights(Protocol):
    """How matrices are written. Each *Shape:* (outputs, inputs), as ``nn.Linear`` has them."""

    def product(self, name: str, matrix: np.ndarray, states: str) -> str:
        """Return states *Shape:* (..., inputs) times the matrix: (..., outputs)."""

    def scores(self, name: str, table: np.ndarray, states: str) -> str:
        """Return states *Shape:* (n, inputs) times the table, which may be gathered from as well: (n, outputs)."""

    def rows(self, name: str, table: np.ndarray, ids: str) -> str:
        """Return the table's rows *Shape:* (..., inputs)."""


@dataclass(frozen=True)
class Whole:
    """Matrices in fp32: turned, since a product reads them so; tables as they are."""

    graph: Graph

    def product(self, name: str, matrix: np.ndarray, states: str) -> str:
        return self.graph.add("MatMul", states, self.graph.tensor(name, matrix.T))

    def scores(self, name: str, table: np.ndarray, states: str) -> str:
        return self.graph.add("Gemm", states, self.graph.tensor(name, table), transB=1)

    def rows(self, name: str, table: np.ndarray, ids: str) -> str:
        return self.graph.add("Gather", self.graph.tensor(name, table), ids, axis=0)


@dataclass(frozen=True)
class Blocked:
    """Matrices as int8 in blocks: see the module."""

    graph: Graph
    blocks: tuple[int, ...] = BLOCKS

    def product(self, name: str, matrix: np.ndarray, states: str) -> str:
        outputs, inputs = matrix.shape
        weights, scales, size = self._blocks(name, matrix)
        return self.graph.add(
            "MatMulNBits", states, weights, scales, domain=CONTRIB, K=inputs, N=outputs, bits=8, block_size=size, accuracy_level=INT8_PRODUCTS
        )  # fmt: skip

    def scores(self, name: str, table: np.ndarray, states: str) -> str:
        return self.product(name, table, states)

    def rows(self, name: str, table: np.ndarray, ids: str) -> str:
        add, width = self.graph.add, table.shape[1]
        weights, scales, size = self._blocks(name, table)
        rounded = add("Cast", add("Gather", weights, ids, axis=0), to=TensorProto.FLOAT)  # (rows, length, blocks, size)
        by_block = self.graph.tensor(f"{name}.by_block", np.array([len(table), -(-width // size), 1], np.int64))
        own = add("Gather", add("Reshape", scales, by_block), ids, axis=0)
        even = add("Mul", add("Sub", rounded, self.graph.float(float(ZERO))), own)
        flat = add("Reshape", even, self.graph.ints(0, 0, -1))
        return flat if width % size == 0 else add("Slice", flat, self.graph.ints(0), self.graph.ints(width), self.graph.ints(2))

    def _blocks(self, name: str, matrix: np.ndarray) -> tuple[str, str, int]:
        """Return the names of the blocks *Shape:* (outputs, blocks, size) uint8 and of their scales (outputs * blocks,), and the size."""
        size = next((size for size in self.blocks if matrix.shape[1] % size == 0), self.blocks[-1])
        made = f"{name}.int8", f"{name}.scale", size
        if made[0] not in self.graph.tensors:
            outputs, inputs = matrix.shape
            filled = np.pad(matrix, ((0, 0), (0, -inputs % size))).reshape(-1, size)
            rounded, scales = by_row(filled, LEVELS)
            self.graph.tensor(made[0], (rounded.astype(np.int16) + ZERO).astype(np.uint8).reshape(outputs, -1, size))
            self.graph.tensor(made[1], scales[:, 0])
        return made
