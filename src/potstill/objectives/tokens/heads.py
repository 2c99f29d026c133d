"""What makes logits of hidden states: a matrix, and what models put before and behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import UserError

BLOCK_BYTES = 8 << 20  # of a matrix in half precision that is widened at a time


@dataclass(frozen=True)
class Adapter:
    """A low-rank addition to the head (Hu et al. 2021, LoRA, arXiv:2106.09685, section 4.1), without dropout.

    *Shapes:* ``down`` (rank, width), ``up`` (vocabulary, rank). ``scaling`` is LoRA's alpha over its rank.
    """

    down: Tensor
    up: Tensor
    scaling: float = 1.0


@dataclass(frozen=True)
class Head:
    """logits = softcap * tanh(x / softcap) with x = scale * (h W' + bias + scaling * (h down') up').

    *Shapes:* ``weight`` (vocabulary, width), ``bias`` (vocabulary,). ``scale`` multiplies logits (Cohere's ``logit_scale``; Granite's
    ``logits_scaling`` is its inverse), a number or a tensor () that may be learnt. ``softcap`` is Gemma 2's ``final_logit_softcapping``.
    Any floating dtype; what is in half precision is widened block by block. Raises :class:`UserError` for shapes that don't fit.
    """

    weight: Tensor
    bias: Tensor | None = None
    adapter: Adapter | None = None
    scale: float | Tensor = 1.0
    softcap: float | None = None

    def __post_init__(self) -> None:
        size, width = self.weight.shape
        shapes: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {"bias": (self.bias, (size,))}
        if self.adapter is not None:
            rank = len(self.adapter.down)
            shapes |= {"adapter.down": (self.adapter.down, (rank, width)), "adapter.up": (self.adapter.up, (size, rank))}
        for name, (tensor, shape) in shapes.items():
            if tensor is not None and tensor.shape != shape:
                remedy = f"a head of weight {(size, width)} takes {shape}"
                raise UserError(f"{name} has shape {tuple(tensor.shape)}", place="token loss, head", remedy=remedy)
        if self.softcap is not None and self.softcap <= 0:
            raise UserError(f"softcap is {self.softcap}", place="token loss, head", remedy="give a number over 0, or None where there is none")

    @property
    def vocabulary(self) -> int:
        return len(self.weight)

    @property
    def width(self) -> int:
        return self.weight.shape[1]


def scores(head: Head, hidden: Tensor, out: Tensor) -> Tensor:
    """Write what stands before soft-capping into ``out``. *Shapes:* ``hidden`` (rows, width), ``out`` (rows, vocabulary) of one dtype."""
    scaled = hidden * torch.as_tensor(head.scale, dtype=hidden.dtype, device=hidden.device)
    for columns, block in blocks(head.weight, hidden.dtype):
        torch.mm(scaled, block.t(), out=out[:, columns])
    if head.adapter is not None:
        low = scaled @ head.adapter.down.to(hidden.dtype).t()
        for columns, block in blocks(head.adapter.up, hidden.dtype):
            out[:, columns].addmm_(low, block.t(), alpha=head.adapter.scaling)
    if head.bias is not None:
        out.add_(head.bias.to(hidden.dtype) * torch.as_tensor(head.scale, dtype=hidden.dtype, device=hidden.device))
    return out


def cap(head: Head, scores: Tensor) -> Tensor:
    """Soft-cap ``scores`` in place."""
    return scores if head.softcap is None else scores.div_(head.softcap).tanh_().mul_(head.softcap)


def slope(head: Head, capped: Tensor) -> Tensor | None:
    """Return the derivative of soft-capping at what it gave, None where nothing is capped: 1 - tanh² = 1 - (capped / softcap)²."""
    return None if head.softcap is None else (capped / head.softcap).square_().neg_().add_(1)


def blocks(weight: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Yield ``weight`` in ``dtype``, whole where it is of that dtype, else in blocks of rows: a widened copy of all would be the largest
    thing in memory."""
    size, width = weight.shape
    step = size if weight.dtype == dtype else max(1, BLOCK_BYTES // (width * dtype.itemsize))
    for start in range(0, size, step):
        yield slice(start, min(start + step, size)), weight[start : start + step].to(dtype)
