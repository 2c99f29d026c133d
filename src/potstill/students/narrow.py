"""A narrower student: the heads, feed-forward neurons and hidden channels that matter most, measured by forward passes over some rows.

After Muralidharan et al. 2024, "Compact language models via pruning and knowledge distillation" (Minitron, arXiv:2407.14679), section
2.2: hidden channels by the mean size of what the layer norms give, summed over them, heads by the norm of what they add, neurons by their mean
activation; the last is weighed here by the norm of what the neuron adds. A plain config has heads of hidden / heads dimensions, and heads are
kept whole, so the hidden size is always heads x the source's size of a head: one of the two follows from the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError

ROWS = 256  # at most, to measure by
FAMILY = ("bert", "roberta", "xlm-roberta", "camembert")  # whose parts are named as below
LAYER = "encoder.layer.{}."
# By the end of a parameter's name, what each of its axes counts; the first that fits. "": it stays whole.
AXES: Mapping[str, tuple[str, ...]] = {
    **{f"attention.self.{name}.weight": ("heads", "hidden") for name in ("query", "key", "value")},
    **{f"attention.self.{name}.bias": ("heads",) for name in ("query", "key", "value")},
    "attention.output.dense.weight": ("hidden", "heads"),
    "intermediate.dense.weight": ("neurons", "hidden"), "intermediate.dense.bias": ("neurons",),
    "output.dense.weight": ("hidden", "neurons"), "output.dense.bias": ("hidden",),
    "LayerNorm.weight": ("hidden",), "LayerNorm.bias": ("hidden",), "embeddings.weight": ("", "hidden"),
    "dense.weight": ("hidden", "hidden"), "dense.bias": ("hidden",),  # a pooler's, or a classifier's first
    "classifier.weight": ("", "hidden"), "out_proj.weight": ("", "hidden"),
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """What is kept of each: counts, none larger than the source's."""

    heads: int
    neurons: int
    hidden: int


@dataclass(frozen=True)
class Importance:
    """*Shapes:* heads (layers, heads), neurons (layers, neurons), hidden (hidden,); larger matters more."""

    heads: Tensor
    neurons: Tensor
    hidden: Tensor


def shape(config: Any, heads: int | None, intermediate: int | None, hidden: int | None) -> Shape:
    """Return the shape that is asked for, None being the source's; raises :class:`UserError` for one that can't be cut from ``config``."""
    if config.model_type not in FAMILY:
        remedy = f"known: {', '.join(FAMILY)}; or keep its widths and choose `layers` alone, or start `from: scratch`"
        raise UserError(f"a model of type '{config.model_type}' can't be made narrower", place="students", remedy=remedy)
    size = config.hidden_size // config.num_attention_heads
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
    limits = {"heads": (found.heads, config.num_attention_heads), "intermediate": (found.neurons, config.intermediate_size),
              "hidden": (found.hidden, config.hidden_size)}  # fmt: skip
    for name, (asked, most) in limits.items():
        if asked > most:
            raise UserError(f"{asked} of {most}", place=f"students.{name}", remedy=f"a student is cut from its source: at most {most}, or start from: scratch")
    return found


@torch.inference_mode()
def importance(model: Any, batches: Iterable[Mapping[str, Tensor]]) -> Importance:
    """Return how much each part of ``model`` matters on the batches, which hold its inputs with their ``attention_mask``; sums over real tokens."""
    config, base = model.config, model.base_model
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    found = Importance(*(torch.zeros(size, dtype=torch.float64) for size in ((layers, heads), (layers, config.intermediate_size), (config.hidden_size,))))
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
            found.heads[layer].add_(torch.einsum("ths,ohs->tho", parts, weights).norm(dim=2).sum(0))

        return add

    def of_hidden(module: nn.Module, given: Any, made: Tensor) -> None:
        found.hidden.add_(real(made).abs().sum(0))

    handles = [module.register_forward_hook(of_hidden) for name, module in base.named_modules() if name.endswith("LayerNorm")]
    for layer in range(layers):
        part = base.get_submodule(LAYER.format(layer).rstrip("."))
        handles += [
            part.output.dense.register_forward_pre_hook(of_neurons(layer)),
            part.attention.output.dense.register_forward_pre_hook(of_heads(layer)),
        ]
    was_training = model.training
    try:
        model.eval()
        for batch in batches:
            mask.append(batch["attention_mask"].bool())
            model(**batch)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return found


def sliced(state: Mapping[str, Tensor], config: Any, wanted: Shape, found: Importance) -> dict[str, Tensor]:
    """Return the weights of what matters most, in their old order, so that keeping all changes nothing; equal ones: the first."""
    size = config.hidden_size // config.num_attention_heads
    hidden = _most(found.hidden, wanted.hidden)
    kept: list[dict[str, Tensor]] = []
    for heads, neurons in zip(found.heads, found.neurons):
        dimensions = (_most(heads, wanted.heads)[:, None] * size + torch.arange(size)).flatten()
        kept.append({"heads": dimensions, "neurons": _most(neurons, wanted.neurons), "hidden": hidden})
    return {name: _sliced(value, _axes(name), _kept_of(name, kept) or {"hidden": hidden}) for name, value in state.items()}


def _sliced(value: Tensor, axes: Sequence[str], kept: Mapping[str, Tensor]) -> Tensor:
    for axis, counts in enumerate(axes):
        if counts:
            value = value.index_select(axis, kept[counts])
    return value


def _axes(name: str) -> Sequence[str]:
    return next((axes for end, axes in AXES.items() if name.endswith(end)), ())


def _kept_of(name: str, kept: Sequence[Mapping[str, Tensor]]) -> Mapping[str, Tensor] | None:
    return next((kept[i] for i in range(len(kept)) if LAYER.format(i) in name), None)


def _most(scores: Tensor, count: int) -> Tensor:
    return torch.argsort(scores, descending=True, stable=True)[:count].sort().values
