"""Which layers of a language model matter: by how much its loss grows without each of them, one at a time.

As in Muralidharan et al. 2024 (Minitron, arXiv:2407.14679), section 2.2, depth; how layers work together is not measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..objectives.tokens.loss import token_loss
from ..objectives.tokens.models import head_of
from ..serving.turns import NEXT
from .architectures import choose
from .language import LAYER

ROWS = 16  # to measure by: half of the layers, and the head, see each once for each layer


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
    sums = torch.tensor([_losses(model, batch) for batch in batches], dtype=torch.float64).sum(dim=0)  # (layers, 2)
    model.train(was_training)
    return (sums[:, 0] / sums[:, 1].clamp(min=1)).tolist()


def _losses(model: Any, batch: Mapping[str, Tensor]) -> list[tuple[float, float]]:
    """Return (nats, tokens) of a batch without each of the layers: those before it are computed once, for all."""
    layers = [model.get_submodule(LAYER.format(n).rstrip(".")) for n in range(model.config.num_hidden_layers)]
    head, found = head_of(model), []
    given = _given(model, layers, batch)
    for skipped, (state, _) in enumerate(given):
        for layer, (_, beside) in zip(layers[skipped + 1 :], given[skipped + 1 :]):
            made = layer(state, **beside)
            state = made[0] if isinstance(made, tuple) else made
        loss = token_loss(model.base_model.norm(state), head, labels=batch[NEXT])
        found.append((float(loss.hard), float(loss.hard_count)))
    return found


def _given(model: Any, layers: Sequence[Any], batch: Mapping[str, Tensor]) -> list[tuple[Tensor, dict[str, Any]]]:
    """Return what each layer is given in the whole model: the states, and what stands beside them."""
    seen: list[tuple[Tensor, dict[str, Any]]] = []

    def keep(module: Any, args: Any, kwargs: Any) -> None:
        beside = dict(kwargs)
        seen.append((args[0] if args else beside.pop("hidden_states"), beside))

    handles = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in layers]
    try:
        model.base_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return seen
