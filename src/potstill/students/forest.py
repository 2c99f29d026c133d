"""Boosted trees as flat arrays, and as the one ONNX operator that sums them: no converter, no library of trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = (("", 17), ("ai.onnx.ml", 5))  # version 5 has TreeEnsemble, a quarter of the older operator's bytes; ONNX Runtime knows it from 1.20
IR = 8  # of opset 17's time: old runtimes refuse newer ones
LEQ = 0  # TreeEnsemble's mode: to the true side where the feature is less than or equal to the split


@dataclass(frozen=True)
class Tree:
    """A row goes left where its feature is at most the split. Children below 0 are leaves: ~child is the leaf's number.

    *Shapes:* features, splits, left, right (splits,), values (splits + 1,); a tree without splits is one leaf.
    """

    features: np.ndarray
    splits: np.ndarray
    left: np.ndarray
    right: np.ndarray
    values: np.ndarray


def parse(model: str) -> list[Tree]:
    """Return the trees of LightGBM's text format, in order: one a class in every round. Features must be numbers without gaps."""
    blocks = model.partition("\nend of trees")[0].split("\nTree=")[1:]
    return [_tree(dict(line.partition("=")[::2] for line in block.splitlines())) for block in blocks]


def _tree(block: Mapping[str, str]) -> Tree:
    def numbers(name: str, kind: Any) -> np.ndarray:
        return np.array(block.get(name, "").split(), dtype=kind)

    # Counts are whole, so a split anywhere between two of them is the same split: the middle, which float32 holds exactly.
    splits = (np.floor(numbers("threshold", np.float64)) + 0.5).astype(np.float32)
    kinds = numbers("decision_type", np.int64)
    if (kinds & 1).any() or (kinds >> 2).any():
        raise ValueError("splits by category, or with values missing, are not made from counts")
    return Tree(
        numbers("split_feature", np.int64), splits, numbers("left_child", np.int64), numbers("right_child", np.int64), numbers("leaf_value", np.float64)
    )


def to_onnx(trees: Sequence[Tree], *, features: int, classes: int, name: str, output: str) -> onnx.ModelProto:
    """Return the graph: ``name`` (rows, features) float32 in, ``output`` (rows, classes) float32 out, tree i adding to class i % classes."""
    node = helper.make_node("TreeEnsemble", [name], [output], domain="ai.onnx.ml", **_attributes([_rooted(tree) for tree in trees], classes))
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", features])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["rows", classes])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(*opset) for opset in OPSETS], ir_version=IR)


def _rooted(tree: Tree) -> Tree:
    """Give a tree that is one leaf the root that the operator asks of every tree: both its sides are the leaf."""
    if len(tree.features):
        return tree
    one, leaf = np.zeros(1, np.int64), np.full(1, -1)
    return Tree(one, np.zeros(1, np.float32), leaf, leaf, tree.values)


def _attributes(trees: Sequence[Tree], classes: int) -> dict[str, Any]:
    """Return the operator's attributes: nodes and leaves of all trees, one after another, each child by its number among all."""
    roots = np.cumsum([0, *(len(tree.features) for tree in trees)])
    leaves = np.cumsum([0, *(len(tree.values) for tree in trees)])
    sides = {}
    for side in ("left", "right"):
        children = [getattr(tree, side) for tree in trees]
        sides[side] = np.concatenate([np.where(c < 0, ~c + leaf, c + root) for c, root, leaf in zip(children, roots, leaves)])
        sides[f"{side}.leaf"] = np.concatenate(children) < 0
    splits = np.concatenate([tree.splits for tree in trees])
    targets = np.concatenate([np.full(len(tree.values), number % classes) for number, tree in enumerate(trees)])
    return {
        "n_targets": classes, "aggregate_function": 1, "post_transform": 0,  # the sum, as it is
        "tree_roots": roots[:-1].tolist(),
        "nodes_featureids": np.concatenate([tree.features for tree in trees]).tolist(),
        "nodes_splits": numpy_helper.from_array(splits, "splits"),
        "nodes_modes": numpy_helper.from_array(np.full(len(splits), LEQ, np.uint8), "modes"),
        "nodes_truenodeids": sides["left"].tolist(), "nodes_trueleafs": sides["left.leaf"].astype(int).tolist(),
        "nodes_falsenodeids": sides["right"].tolist(), "nodes_falseleafs": sides["right.leaf"].astype(int).tolist(),
        "leaf_targetids": targets.tolist(),
        "leaf_weights": numpy_helper.from_array(np.concatenate([tree.values for tree in trees]).astype(np.float32), "leaves"),
    }  # fmt: skip
