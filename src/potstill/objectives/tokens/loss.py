"""The door: what a student's states lose against a teacher and against hard labels, in sums."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import UserError
from . import fused, positions, tiles
from .divergences import Divergence, forward_kl
from .fused import CHUNK_BYTES, Fused, Parts, Plan
from .heads import Head
from .targets import Target


@dataclass(frozen=True)
class TokenLoss:
    """Sums over supervised positions. ``total`` = soft_weight * soft + hard_weight * hard alone has a gradient; ``soft`` is times T².

    ``count`` is the number of supervised positions, ``hard_count`` of those among them that have a label; row weights change neither.
    Over micro-batches, divide the sum of totals by the sum of counts; or give ``soft_weight`` / all of the step's positions.
    """

    total: Tensor
    soft: Tensor
    hard: Tensor
    count: Tensor
    hard_count: Tensor

    @property
    def mean(self) -> Tensor:
        """``total`` per supervised position of this call alone; 0 where there is none."""
        return self.total / self.count.clamp(min=1)


def token_loss(
    hidden: Tensor,
    head: Head,
    target: Target | None = None,
    *,
    divergence: Divergence | None = None,
    kd_temperature: float = 1.0,
    labels: Tensor | None = None,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    soft_weight: float = 1.0,
    hard_weight: float = 1.0,
    chunk_bytes: int = CHUNK_BYTES,
) -> TokenLoss:
    """Return the ``divergence`` (forward KL unless named) of a student from ``target``, and its cross-entropy with ``labels``.

    *Shapes:* ``hidden`` (..., width) before ``head``; ``mask`` (...) true where something is learnt, or else where there is a label;
    ``labels`` (...) the token that each state foretells (see :func:`positions.next_tokens`), -100 where none; ``weights`` (...) of
    positions. ``target`` has a row for each position, or for each supervised one. Computed in float32 at least, whatever dtypes come
    in and whatever autocast says. Temperature softens ``target`` and student alike, and never hard labels. Gradients go to ``hidden``
    and to all tensors of ``head``, none to ``target``; they are made in this call, unless under ``torch.no_grad``. Beside them, memory
    holds ``chunk_bytes`` of logits and a few tiles, however many positions are masked. ``backward`` may be called once.
    Raises :class:`UserError` for shapes that don't fit, and for a divergence that such a target can't give.
    """
    divergence = divergence or forward_kl()
    if target is not None:
        tiles.check(target, head.vocabulary, divergence, kd_temperature)
    if target is None and labels is None:
        raise UserError("nothing to learn from", place="token loss", remedy="give a target, or labels, or both")
    if hidden.shape[-1] != head.width:
        raise UserError(f"hidden states are {hidden.shape[-1]} wide, the head takes {head.width}", place="token loss", remedy="give what goes into the head")
    shape = hidden.shape[:-1]
    index = positions.supervised(shape, mask, labels)
    rows = positions.taken(hidden.reshape(-1, head.width), index)
    own = None if labels is None else _labels(positions.taken(labels.reshape(-1), index), head)
    adapter = head.adapter
    down, up = (adapter.down, adapter.up) if adapter else (None, None)
    scale = head.scale if isinstance(head.scale, Tensor) else torch.tensor(head.scale, dtype=fused.wide(rows), device=rows.device)
    parts = Parts(rows, head.weight, head.bias, down, up, scale)
    plan = Plan(
        target, _index(target, shape.numel(), len(rows), index), own, None if weights is None else _weights(weights, shape, index), divergence,
        kd_temperature, soft_weight, hard_weight, chunk_bytes, adapter.scaling if adapter else 1.0, head.softcap, torch.is_grad_enabled(),
    )  # fmt: skip
    total, soft, hard = Fused.apply(plan, *parts)
    known = torch.zeros((), device=rows.device) if own is None else (own != positions.IGNORED).sum().float()
    return TokenLoss(total, soft, hard, torch.tensor(float(len(rows)), device=rows.device), known)


def _index(target: Target | None, positions: int, rows: int, index: Tensor | None) -> Tensor | None:
    """Return which of the target's rows are the supervised ones', None where all are."""
    if target is None or target.rows == rows:
        return None
    if target.rows != positions:
        remedy = f"it must have one for each of {positions} positions, or for each of the {rows} supervised ones"
        raise UserError(f"the target has {target.rows} rows", place="token loss, target", remedy=remedy)
    return index


def _labels(labels: Tensor, head: Head) -> Tensor:
    given = labels[labels != positions.IGNORED]
    if len(given) and not 0 <= int(given.min()) <= int(given.max()) < head.vocabulary:
        remedy = f"labels are ids under {head.vocabulary}, or {positions.IGNORED} where there is none"
        raise UserError(f"labels go from {int(given.min())} to {int(given.max())}", place="token loss, labels", remedy=remedy)
    return labels.long()


def _weights(weights: Tensor, shape: torch.Size, index: Tensor | None) -> Tensor:
    if weights.shape != shape:
        raise UserError(f"weights have shape {tuple(weights.shape)}", place="token loss, weights", remedy=f"one for each position, {tuple(shape)}")
    return positions.taken(weights.reshape(-1), index).detach()
