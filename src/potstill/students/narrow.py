"""A narrower student: the heads, feed-forward neurons and hidden channels that matter most, measured by forward passes over some rows.

After Muralidharan et al. 2024, "Compact language models via pruning and knowledge distillation" (Minitron, arXiv:2407.14679), section
2.2: hidden channels by the mean size of what the layer norms give, summed over them, heads by the norm of what they add, neurons by their mean
activation; the last is weighed here by the norm of what the neuron adds. An encoder's plain config has heads of hidden / heads dimensions, and heads
are kept whole, so there the hidden size is always heads x the source's size of a head: one of the two follows from the other. A decoder's names the
size of a head, so the two are free of each other; heads that share a key and a value go or stay together.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError

ROWS = 256  # at most, to measure by


@dataclass(frozen=True)
class Family:
    """Where the parts stand in models of one make. ``layer``: how a layer's names begin, {} its number; ``norms``: those that give hidden channels;
    ``heads`` and ``neurons``: the maps that take them in; ``axes``: by the end of a parameter's name, what each of its axes counts, the first that
    fits, "": it stays whole; ``free``: whether the hidden size may be other than heads x the size of a head."""

    layer: str
    norms: frozenset[str]
    heads: str
    neurons: str
    axes: Mapping[str, tuple[str, ...]]
    free: bool


ENCODER = Family(
    "encoder.layer.{}.", frozenset({"LayerNorm"}), "attention.output.dense", "output.dense", free=False,
    axes={
        **{f"attention.self.{name}.weight": ("heads", "hidden") for name in ("query", "key", "value")},
        **{f"attention.self.{name}.bias": ("heads",) for name in ("query", "key", "value")},
        "attention.output.dense.weight": ("hidden", "heads"),
        "intermediate.dense.weight": ("neurons", "hidden"), "intermediate.dense.bias": ("neurons",),
        "output.dense.weight": ("hidden", "neurons"), "output.dense.bias": ("hidden",),
        "LayerNorm.weight": ("hidden",), "LayerNorm.bias": ("hidden",), "embeddings.weight": ("", "hidden"),
        "dense.weight": ("hidden", "hidden"), "dense.bias": ("hidden",),  # a pooler's, or a classifier's first
        "classifier.weight": ("", "hidden"), "out_proj.weight": ("", "hidden"),
    },
)  # fmt: skip
DECODER = Family(
    "layers.{}.", frozenset({"input_layernorm", "post_attention_layernorm", "norm"}), "self_attn.o_proj", "mlp.down_proj", free=True,
    axes={
        "q_proj.weight": ("heads", "hidden"), "q_proj.bias": ("heads",), "o_proj.weight": ("hidden", "heads"), "o_proj.bias": ("hidden",),
        **{f"{name}_proj.weight": ("keys", "hidden") for name in "kv"}, **{f"{name}_proj.bias": ("keys",) for name in "kv"},
        **{f"{name}_proj.weight": ("neurons", "hidden") for name in ("gate", "up")}, **{f"{name}_proj.bias": ("neurons",) for name in ("gate", "up")},
        "down_proj.weight": ("hidden", "neurons"), "down_proj.bias": ("hidden",),
        "q_norm.weight": (), "k_norm.weight": (), "norm.weight": ("hidden",),  # those of a head count its dimensions
        "embed_tokens.weight": ("", "hidden"), "lm_head.weight": ("", "hidden"), "score.weight": ("", "hidden"),
    },
)  # fmt: skip
FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert"), ENCODER), **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), DECODER),
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """What is kept of each: counts, none larger than the source's."""

    heads: int
    neurons: int
    hidden: int


@dataclass(frozen=True)
class Importance:
    """*Shapes:* heads (layers, groups of heads), neurons (layers, neurons), hidden (hidden,); larger matters more."""

    heads: Tensor
    neurons: Tensor
    hidden: Tensor


def shape(config: Any, heads: int | None, intermediate: int | None, hidden: int | None) -> Shape:
    """Return the shape that is asked for, None being the source's; raises :class:`UserError` for one that can't be cut from ``config``."""
    if config.model_type not in FAMILIES:
        remedy = f"known: {', '.join(FAMILIES)}; or keep its widths and choose `layers` alone, or start `from: scratch`"
        raise UserError(f"a model of type '{config.model_type}' can't be made narrower", place="students", remedy=remedy)
    found = (_free if FAMILIES[config.model_type].free else _bound)(config, heads, intermediate, hidden)
    limits = {"heads": (found.heads, config.num_attention_heads), "intermediate": (found.neurons, config.intermediate_size),
              "hidden": (found.hidden, config.hidden_size)}  # fmt: skip
    for name, (asked, most) in limits.items():
        if asked > most:
            raise UserError(f"{asked} of {most}", place=f"students.{name}", remedy=f"a student is cut from its source: at most {most}, or start from: scratch")
    return found


def _bound(config: Any, heads: int | None, intermediate: int | None, hidden: int | None) -> Shape:
    """Return a shape of ``heads`` x the size of a head hidden channels."""
    size = size_of_head(config)
    if heads is None and hidden is not None and hidden % size:
        below = max(1, hidden // size) * size
        raise UserError(
            f"{hidden} hidden channels are no multiple of a head's {size} dimensions", place="students.hidden",
            remedy=f"heads are kept whole: take {below} or {below + size}",
        )  # fmt: skip
    heads = heads or (hidden // size if hidden else config.num_attention_heads)
    found = Shape(heads, intermediate or config.intermediate_size, hidden or heads * size)
    if found.hidden != heads * size:
        remedy = f"heads are kept whole: say hidden: {heads * size}, or leave one of the two out"
        raise UserError(f"{heads} heads of {size} dimensions need {heads * size} hidden channels, not {hidden}", place="students.hidden", remedy=remedy)
    return found


def _free(config: Any, heads: int | None, intermediate: int | None, hidden: int | None) -> Shape:
    """Return a shape of whole groups of heads, and of any number of hidden channels."""
    each = config.num_attention_heads // groups_of(config)
    if heads is not None and heads % each:
        below = max(1, heads // each) * each
        remedy = f"{each} heads share a key and a value, and stay together: take {below} or {below + each}"
        raise UserError(f"{heads} heads are no whole groups", place="students.heads", remedy=remedy)
    return Shape(heads or config.num_attention_heads, intermediate or config.intermediate_size, hidden or config.hidden_size)


def size_of_head(config: Any) -> int:
    """Return the dimensions of a head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def groups_of(config: Any) -> int:
    """Return how many groups of heads have a key and a value of their own."""
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def resized(config: Any, wanted: Shape) -> Any:
    """Return a copy of ``config`` of the shape ``wanted``, whose heads have the size that they had."""
    small = copy.deepcopy(config)
    if FAMILIES[config.model_type].free:
        small.head_dim = size_of_head(config)
        small.num_key_value_heads = wanted.heads * groups_of(config) // config.num_attention_heads
    small.num_attention_heads, small.intermediate_size, small.hidden_size = wanted.heads, wanted.neurons, wanted.hidden
    return small


@torch.inference_mode()
def importance(model: Any, batches: Iterable[Mapping[str, Tensor]]) -> Importance:
    """Return how much each part of ``model`` matters on the batches, which hold its inputs with their ``attention_mask``; sums over real tokens."""
    config, base, family = model.config, model.base_model, FAMILIES[model.config.model_type]
    layers, heads, groups = config.num_hidden_layers, config.num_attention_heads, groups_of(config)
    found = Importance(*(torch.zeros(size, dtype=torch.float64) for size in ((layers, groups), (layers, config.intermediate_size), (config.hidden_size,))))
    mask: list[Tensor] = []

    def real(state: Tensor) -> Tensor:
        return state[mask[-1]].double()  # (tokens, width)

    # A hook that returns something would replace what goes in.
    def of_neurons(layer: int) -> Any:
        def add(module: nn.Linear, given: Any) -> None:
            found.neurons[layer].add_(real(given[0]).abs().sum(0) * module.weight.double().norm(dim=0))

        return add

    def of_heads(layer: int) -> Any:
        def add(module: nn.Linear, given: Any) -> None:
            parts = real(given[0]).unflatten(1, (heads, -1))  # (tokens, heads, size)
            weights = module.weight.double().unflatten(1, (heads, -1))  # (hidden, heads, size)
            norms = torch.einsum("ths,ohs->tho", parts, weights).norm(dim=2).sum(0)
            found.heads[layer].add_(norms.unflatten(0, (groups, -1)).sum(1))

        return add

    def of_hidden(module: nn.Module, given: Any, made: Tensor) -> None:
        found.hidden.add_(real(made).abs().sum(0))

    handles = [module.register_forward_hook(of_hidden) for name, module in base.named_modules() if name.rpartition(".")[2] in family.norms]
    for layer in range(layers):
        part = base.get_submodule(family.layer.format(layer).rstrip("."))
        handles += [
            part.get_submodule(family.neurons).register_forward_pre_hook(of_neurons(layer)),
            part.get_submodule(family.heads).register_forward_pre_hook(of_heads(layer)),
        ]
    was_training = model.training
    try:
        model.eval()
        for batch in batches:
            mask.append(batch["attention_mask"].bool())
            base(**batch)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return found


def sliced(state: Mapping[str, Tensor], config: Any, wanted: Shape, found: Importance) -> dict[str, Tensor]:
    """Return the weights of what matters most, in their old order, so that keeping all changes nothing; equal ones: the first."""
    size, family, each = size_of_head(config), FAMILIES[config.model_type], config.num_attention_heads // groups_of(config)
    hidden = _most(found.hidden, wanted.hidden)
    kept: list[dict[str, Tensor]] = []
    for heads, neurons in zip(found.heads, found.neurons):
        groups = _most(heads, wanted.heads // each)
        parts = {"heads": _spread(groups, each * size), "keys": _spread(groups, size)}
        kept.append({**parts, "neurons": _most(neurons, wanted.neurons), "hidden": hidden})
    return {name: _sliced(value, _axes(name, family), _kept_of(name, family, kept) or {"hidden": hidden}) for name, value in state.items()}


def _spread(groups: Tensor, size: int) -> Tensor:
    """Return the numbers of all that stands in ``groups`` of ``size``."""
    return (groups[:, None] * size + torch.arange(size)).flatten()


def _sliced(value: Tensor, axes: Sequence[str], kept: Mapping[str, Tensor]) -> Tensor:
    for axis, counts in enumerate(axes):
        if counts:
            value = value.index_select(axis, kept[counts])
    return value


def _axes(name: str, family: Family) -> Sequence[str]:
    return next((axes for end, axes in family.axes.items() if name.endswith(end)), ())


def _kept_of(name: str, family: Family, kept: Sequence[Mapping[str, Tensor]]) -> Mapping[str, Tensor] | None:
    return next((kept[i] for i in range(len(kept)) if family.layer.format(i) in name), None)


def _most(scores: Tensor, count: int) -> Tensor:
    return torch.argsort(scores, descending=True, stable=True)[:count].sort().values
