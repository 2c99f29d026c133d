"""Which layers of a language model matter: by how much its loss grows without each of them, one at a time.

As in Muralidharan et al. 2024 (Minitron, arXiv:2407.14679), section 2.2, depth; how layers work together is not measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..objectives.tokens.loss import token_loss
from ..serving.turns import NEXT
from .architectures import choose
from .language import LAYER, head_of_model

ROWS = 32  # to measure by: each is read once for each layer


def most_important(model: Any, count: int, batches: Iterable[Mapping[str, Tensor]]) -> tuple[int, ...]:
    """Return ``count`` layers, rising, without each of which the loss on ``batches`` is highest; of equal ones those that spread evenly."""
    spread = choose(count, model.config.num_hidden_layers)
    return of_losses(losses_without(model, list(batches)), count, spread)


def of_losses(losses: Sequence[float], count: int, spread: Sequence[int]) -> tuple[int, ...]:
    order = sorted(range(len(losses)), key=lambda layer: (-losses[layer], layer not in spread, layer))
    return tuple(sorted(order[:count]))


@torch.inference_mode()
def losses_without(model: Any, batches: Sequence[Mapping[str, Tensor]]) -> list[float]:
    """Return for each layer the nats a learnt token, on average, of the model in which it passes on what it is given."""
    was_training = model.training
    model.eval()
    found = []
    for layer in range(model.config.num_hidden_layers):
        with _skipped(model.get_submodule(LAYER.format(layer).rstrip("."))):
            sums = [_loss(model, batch) for batch in batches]
        total, tokens = (sum(part) for part in zip(*sums))
        found.append(total / max(tokens, 1))
    model.train(was_training)
    return found


def _loss(model: Any, batch: Mapping[str, Tensor]) -> tuple[float, int]:
    states = model.base_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).last_hidden_state
    made = token_loss(states, head_of_model(model), labels=batch[NEXT])
    return float(made.hard), int(made.hard_count)


@contextmanager
def _skipped(layer: Any) -> Iterator[None]:
    """Let a layer give what it is given."""

    def same(module: Any, args: Any, kwargs: Any, out: Any) -> Any:
        given = args[0] if args else kwargs["hidden_states"]
        return (given, *out[1:]) if isinstance(out, tuple) else given

    handle = layer.register_forward_hook(same, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
