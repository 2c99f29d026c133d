"""The queries, keys and values of an encoder's layers, taken by hooks while it answers: of students, and of teachers.

The table says where they are made, by architecture; layers count from 1, as hidden states do (0 is the embeddings, which attend to nothing).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError


@dataclass(frozen=True)
class Projections:
    """``layer``: how a layer is called in the base model, {} its number from 0; ``parts``: its query, key and value maps."""

    layer: str
    parts: tuple[str, str, str]


_BERT = Projections("encoder.layer.{}.", ("attention.self.query", "attention.self.key", "attention.self.value"))
PROJECTIONS: Mapping[str, Projections] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), _BERT),
    "distilbert": Projections("transformer.layer.{}.", ("attention.q_lin", "attention.k_lin", "attention.v_lin")),
    "mpnet": Projections("encoder.layer.{}.", ("attention.attn.q", "attention.attn.k", "attention.attn.v")),
}


def heads(module: nn.Module | None) -> int:
    """Return how many attention heads a layer has; 0 for what has no queries, keys and values that can be taken."""
    config: Any = getattr(module, "config", None)
    return int(config.num_attention_heads) if config is not None and config.model_type in PROJECTIONS else 0


@contextmanager
def watched(module: Any, layers: Iterable[int]) -> Iterator[Mapping[int, Sequence[Tensor]]]:
    """Give what holds, after a forward pass inside, the queries, keys and values of ``layers``; no-op where there are none.

    *Shape:* each (rows, length, width), padding and all, with their gradients. The hooks go when the block ends. Raises
    :class:`UserError` for a module that is not in the table.
    """
    seen: dict[int, list[Tensor]] = {layer: [torch.empty(0)] * 3 for layer in layers}
    handles = [_projection(module, layer, part).register_forward_hook(_into(seen[layer], part)) for layer in seen for part in range(3)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _projection(module: Any, layer: int, part: int) -> nn.Module:
    kind = module.config.model_type
    if kind not in PROJECTIONS:
        raise UserError(f"the queries and keys of a model of type '{kind}' can't be taken", remedy=f"known: {', '.join(PROJECTIONS)}")
    row = PROJECTIONS[kind]
    projection: nn.Module = module.base_model.get_submodule(row.layer.format(layer - 1) + row.parts[part])
    return projection


def _into(place: list[Tensor], part: int) -> Any:
    def keep(module: nn.Module, given: Any, made: Tensor) -> None:
        place[part] = made

    return keep
