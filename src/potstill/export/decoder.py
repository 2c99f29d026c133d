"""The graph of a language model with a cache, written node by node from its weights: Llama's family.

Written and not traced: a trace of it holds four times the nodes, most of them about sizes that are known, and each costs a runtime as much as a
small product does; here queries, keys and values come of one product and are turned by one rotation, and keys that heads share are never
repeated. What is written is held to what was trained by :mod:`causal`, on real texts.

Inputs, beside the names that are usual: ``places`` *Shape:* (n,), which positions' logits are wanted, counted over rows * length. The head is the
largest product and its output the largest array: generation pays for one position a row, scoring for those that are judged, a prompt for none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..errors import UserError
from .weights import Graph, Weights

OPSET = 17
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
ROPES = ("default", "linear", "llama3", "yarn")  # whose angles depend on a position alone
INPUTS = ("input_ids", "attention_mask", "position_ids", "places")
MASKED = float(np.finfo(np.float32).min)  # not infinity: a line of padding sees nothing, and must not become no number


@dataclass(frozen=True)
class Shape:
    """What the graph must know beside the weights. ``context``: tokens that it may see at once; ``vocabulary``: scores that it gives."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    width: int
    inner: int
    vocabulary: int
    context: int
    epsilon: float
    scaling: float
    rotation: float  # what cosines and sines are multiplied by

    @staticmethod
    def of(module: Any) -> Shape:
        """Read a CausalLM of ``transformers``. Raises :class:`UserError` for one that this graph is not of."""
        config, rope, attention = module.config, module.model.rotary_emb, module.model.layers[0].self_attn
        known = {
            f"a model of type '{config.model_type}'": config.model_type in FAMILIES,
            f"the activation '{config.hidden_act}'": config.hidden_act in ("silu", "swish"),
            f"rotations of type '{rope.rope_type}'": rope.rope_type in ROPES,
            "rotations of a part of each head": 2 * len(rope.inv_freq) == attention.head_dim,
        }
        wrong = [what for what, fine in known.items() if not fine]
        if wrong:
            remedy = f"what can be: {', '.join(FAMILIES)} with silu; or ship the safetensors folder (export.format)"
            raise UserError(f"no graph can be written of {', '.join(wrong)}", place="export", remedy=remedy)
        window = getattr(config, "sliding_window", None)  # within it, windowed attention is attention
        return Shape(
            len(module.model.layers), config.num_attention_heads, config.num_key_value_heads, attention.head_dim, config.hidden_size,
            config.intermediate_size, len(module.lm_head.weight), min(config.max_position_embeddings, window or config.max_position_embeddings),
            config.rms_norm_eps, float(attention.scaling), float(rope.attention_scaling),
        )  # fmt: skip

    def as_json(self) -> dict[str, int]:
        return {name: int(getattr(self, name)) for name in ("layers", "kv_heads", "head_dim", "vocabulary", "context")}


def decoder(shape: Shape, tensors: Mapping[str, np.ndarray], weights: Callable[[Graph], Weights]) -> onnx.ModelProto:
    """Return the graph. ``tensors``: the model's by name, float32, the inverse frequencies of its rotation as ``inv_freq``.

    *Shapes:* ``input_ids``, ``position_ids`` (rows, length); ``attention_mask`` (rows, past + length), 0 for padding, which may stand
    anywhere; ``past_key_values.N.key`` and ``.value`` (rows, kv_heads, past, head_dim), past 0 or more; out ``logits`` (n, vocabulary) and
    ``present.N.key``, ``.value`` (rows, kv_heads, past + length, head_dim).
    """
    graph = Graph()
    write = _Writer(shape, graph, tensors, weights(graph))
    embedding = "model.embed_tokens.weight"
    cos, sin = write.angles()
    bias = write.bias()
    states = write.weights.rows(embedding, tensors[embedding], "input_ids")
    for layer in range(shape.layers):
        states = write.layer(layer, states, cos, sin, bias)
    flat = graph.add("Reshape", states, graph.ints(-1, shape.width))
    told = write.norm("model.norm.weight", graph.add("Gather", flat, "places", axis=0))
    head = "lm_head.weight" if "lm_head.weight" in tensors else embedding  # tied: one table, in the file once
    logits = write.weights.scores(head, tensors[head], told)
    if "lm_head.bias" in tensors:
        logits = graph.add("Add", logits, graph.tensor("lm_head.bias", tensors["lm_head.bias"]))
    graph.name(logits, "logits")
    return _model(shape, graph)


@dataclass(frozen=True)
class _Writer:
    shape: Shape
    graph: Graph
    tensors: Mapping[str, np.ndarray]
    weights: Weights

    def layer(self, number: int, states: str, cos: str, sin: str, bias: str) -> str:
        prefix, add = f"model.layers.{number}", self.graph.add
        query, key, value = self.qkv(f"{prefix}.self_attn", self.norm(f"{prefix}.input_layernorm.weight", states), cos, sin)
        key = self.joined(number, "key", key)
        value = self.joined(number, "value", value)
        states = add("Add", states, self.product(f"{prefix}.self_attn", ("o_proj",), self.attention(query, key, value, bias)))
        both = self.product(f"{prefix}.mlp", ("gate_proj", "up_proj"), self.norm(f"{prefix}.post_attention_layernorm.weight", states))
        gate, up = self.graph.split(both, (self.shape.inner, self.shape.inner), axis=-1)
        inner = add("Mul", add("Mul", gate, add("Sigmoid", gate)), up)
        return add("Add", states, self.product(f"{prefix}.mlp", ("down_proj",), inner))

    def qkv(self, prefix: str, states: str, cos: str, sin: str) -> tuple[str, str, str]:
        """Return queries, keys and values, each *Shape:* (rows, heads of its own, length, head_dim), the first two turned by their positions."""
        shape, graph = self.shape, self.graph
        every = shape.heads + 2 * shape.kv_heads
        flat = graph.add("Reshape", self.product(prefix, ("q_proj", "k_proj", "v_proj"), states), graph.ints(0, 0, every, shape.head_dim))
        turned, value = graph.split(graph.add("Transpose", flat, perm=[0, 2, 1, 3]), (every - shape.kv_heads, shape.kv_heads), axis=1)
        if f"{prefix}.q_norm.weight" in self.tensors:  # one scale for the queries' heads, another for the keys'
            scales = [np.tile(self.tensors[f"{prefix}.{name}_norm.weight"], (n, 1, 1)) for name, n in (("q", shape.heads), ("k", shape.kv_heads))]
            turned = self.scaled(f"{prefix}.qk_norm", np.concatenate(scales), turned)
        left, right = graph.split(turned, (shape.head_dim // 2,) * 2, axis=-1)
        halves = [
            graph.add("Sub", graph.add("Mul", left, cos), graph.add("Mul", right, sin)),
            graph.add("Add", graph.add("Mul", right, cos), graph.add("Mul", left, sin)),
        ]
        query, key = graph.split(graph.add("Concat", *halves, axis=-1), (shape.heads, shape.kv_heads), axis=1)
        return query, key, value

    def joined(self, number: int, what: str, new: str) -> str:
        """Return the past's keys or values with those of now behind them, which is what the next call's past is."""
        return self.graph.name(self.graph.add("Concat", f"past_key_values.{number}.{what}", new, axis=2), f"present.{number}.{what}")

    def attention(self, query: str, key: str, value: str, bias: str) -> str:
        """Return attention *Shape:* (rows, length, heads * head_dim): heads that share keys are lines of one product with them."""
        shape, graph, add = self.shape, self.graph, self.graph.add
        lines = add("Reshape", query, graph.ints(0, shape.kv_heads, -1, shape.head_dim))
        scaled = add("Mul", lines, graph.float(shape.scaling))
        chances = add("Softmax", add("Add", add("MatMul", scaled, add("Transpose", key, perm=[0, 1, 3, 2])), bias), axis=-1)
        heads = add("Reshape", add("MatMul", chances, value), graph.ints(0, shape.heads, -1, shape.head_dim))
        return add("Reshape", add("Transpose", heads, perm=[0, 2, 1, 3]), graph.ints(0, 0, shape.heads * shape.head_dim))

    def product(self, prefix: str, names: Sequence[str], states: str) -> str:
        """Return the product with matrices that read the same, side by side, and their biases."""
        matrix = np.concatenate([self.tensors[f"{prefix}.{name}.weight"] for name in names])
        name = f"{prefix}.{'_'.join(name.removesuffix('_proj') for name in names)}"
        out = self.weights.product(f"{name}.weight", matrix, states)
        biases = [self.tensors.get(f"{prefix}.{name}.bias") for name in names]
        if all(one is None for one in biases):
            return out
        sizes = [len(self.tensors[f"{prefix}.{name}.weight"]) for name in names]
        whole = np.concatenate([np.zeros(size, np.float32) if one is None else one for one, size in zip(biases, sizes)])
        return self.graph.add("Add", out, self.graph.tensor(f"{name}.bias", whole))

    def norm(self, name: str, states: str) -> str:
        return self.scaled(name, self.tensors[name], states)

    def scaled(self, name: str, scale: np.ndarray, states: str) -> str:
        """Return RMS-normalised states (Zhang and Sennrich 2019, arXiv:1910.07467), in the nodes that runtimes make one of."""
        graph, add = self.graph, self.graph.add
        mean = add("ReduceMean", add("Pow", states, graph.float(2.0)), axes=[-1], keepdims=1)
        root = add("Sqrt", add("Add", mean, graph.float(self.shape.epsilon)))
        return add("Mul", add("Div", states, root), graph.tensor(name, scale))

    def angles(self) -> tuple[str, str]:
        """Return cosines and sines *Shape:* (rows, 1, length, head_dim / 2): rotary embedding, Su et al. 2021, arXiv:2104.09864."""
        graph, add = self.graph, self.graph.add
        places = add("Cast", add("Unsqueeze", "position_ids", graph.ints(1, 3)), to=TensorProto.FLOAT)
        angles = add("Mul", places, graph.tensor("inv_freq", self.tensors["inv_freq"]))
        made = [add(op, angles) for op in ("Cos", "Sin")]
        if self.shape.rotation != 1.0:
            made = [add("Mul", one, graph.float(self.shape.rotation)) for one in made]
        return made[0], made[1]

    def bias(self) -> str:
        """Return what is added to scores *Shape:* (rows, 1, heads that share a key * length, past + length): nothing of later positions, none of padding."""
        graph, add = self.graph, self.graph.add
        total, length = (add("Gather", add("Shape", name), graph.int(1), axis=0) for name in ("attention_mask", "input_ids"))
        columns = add("Range", graph.int(0), total, graph.int(1))
        lines = add("Unsqueeze", add("Range", add("Sub", total, length), total, graph.int(1)), graph.ints(1))
        there = add("Cast", add("Unsqueeze", "attention_mask", graph.ints(1)), to=TensorProto.BOOL)  # (rows, 1, total)
        seen = add("And", add("LessOrEqual", columns, lines), there)  # (rows, length, total)
        bias = add("Unsqueeze", add("Where", seen, graph.float(0.0), graph.float(MASKED)), graph.ints(1))
        return add("Tile", bias, graph.ints(1, 1, self.shape.heads // self.shape.kv_heads, 1))


def _model(shape: Shape, graph: Graph) -> onnx.ModelProto:
    def value(name: str, kind: int, *sizes: int | str) -> Any:
        return helper.make_tensor_value_info(name, kind, sizes)

    sizes = {"input_ids": ("rows", "length"), "attention_mask": ("rows", "total"), "position_ids": ("rows", "length"), "places": ("n",)}
    cache = [f"{number}.{what}" for number in range(shape.layers) for what in ("key", "value")]
    kept = (shape.kv_heads, shape.head_dim)
    inputs = [value(name, TensorProto.INT64, *sizes[name]) for name in INPUTS]
    inputs += [value(f"past_key_values.{name}", TensorProto.FLOAT, "rows", kept[0], "past", kept[1]) for name in cache]
    outputs = [value("logits", TensorProto.FLOAT, "n", shape.vocabulary)]
    outputs += [value(f"present.{name}", TensorProto.FLOAT, "rows", kept[0], "total", kept[1]) for name in cache]
    domains = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(name, 1) for name in graph.domains)]
    made = helper.make_graph(graph.nodes, "decoder", inputs, outputs, graph.initializers)
    return helper.make_model(made, opset_imports=domains, producer_name="potstill", ir_version=8)
