"""A teacher's answers to many rows, of which a batch at a time is met: whoever keeps them, and in whatever shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import UserError
from .targets import Full, Hidden, Sampled, Sparse, Target


class Column(Protocol):
    """What a teacher said, by the numbers of rows. A store has one, memory has one, and so has a teacher that is asked while a student learns."""

    def gather(self, rows: Sequence[int]) -> Target:
        """Return what it said of all learnt positions of ``rows``, end to end in their order: as many as the rows have, and no others.

        On any device; a head, which does not change from batch to batch, had best be where it is used.
        """


@dataclass(frozen=True)
class Held:
    """A column in memory: a target a row, all of one shape."""

    targets: Sequence[Target]

    def gather(self, rows: Sequence[int]) -> Target:
        return joined([self.targets[row] for row in rows])


@dataclass(frozen=True)
class Trimmed:
    """What a teacher said, to a student whose vocabulary is a part of its own: its distribution among the tokens that the student has.

    ``kept`` (student's vocabulary,): for each token of the student's the teacher's. Of a top of the distribution the tail stays as it is, for nobody
    knows how much of it the student lacks; weights of draws are scaled by what they say is left.
    """

    column: Column
    kept: Tensor

    def gather(self, rows: Sequence[int]) -> Target:
        told = self.column.gather(rows)
        return AMONG[type(told)](told, self.kept)


def _places(kept: Tensor, ids: Tensor) -> Tensor:
    """Return the student's numbers of the teacher's tokens ``ids``, -1 where it lacks them."""
    places = torch.full((int(max(kept.max(), ids.max() if ids.numel() else 0)) + 1,), -1, dtype=torch.long, device=ids.device)
    places[kept.to(ids.device)] = torch.arange(len(kept), device=ids.device)
    return places[ids.long()]


def _sparse_among(told: Sparse, kept: Tensor) -> Sparse:
    places = _places(kept, told.ids)
    return Sparse(places.clamp(min=0), told.logprobs.masked_fill(places < 0, float("-inf")), told.tail)


def _sampled_among(told: Sampled, kept: Tensor) -> Sampled:
    places = _places(kept, told.ids)
    weights = told.weights.masked_fill(places < 0, 0.0)
    left = weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    logprobs = None if told.logprobs is None else told.logprobs - left.log()
    return Sampled(places.clamp(min=0), weights / left, logprobs)


def _hidden_among(told: Hidden, kept: Tensor) -> Hidden:
    head, rows = told.head, kept.to(told.head.weight.device)
    adapter = None if head.adapter is None else replace(head.adapter, up=head.adapter.up[rows])
    return Hidden(told.states, replace(head, weight=head.weight[rows], bias=None if head.bias is None else head.bias[rows], adapter=adapter))


AMONG: Mapping[type, Callable[[Any, Tensor], Target]] = {
    Full: lambda told, kept: Full(told.logits[:, kept.to(told.logits.device)]), Hidden: _hidden_among, Sparse: _sparse_among, Sampled: _sampled_among,
}  # fmt: skip


def joined(targets: Sequence[Target]) -> Target:
    """Return targets of one shape end to end. Raises :class:`UserError` for none, and for several shapes."""
    kinds = {type(target) for target in targets}
    if len(kinds) != 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds)) or "nothing"
        raise UserError(f"targets of {names} can't stand end to end", place="token loss, target", remedy="give all rows of a column in one shape")
    return JOINED[kinds.pop()](targets)


def _sparse(targets: Sequence[Sparse]) -> Sparse:
    width = max(target.ids.shape[1] for target in targets)
    ids, logprobs = (torch.cat([_wider(getattr(t, name), width, empty) for t in targets]) for name, empty in (("ids", 0), ("logprobs", float("-inf"))))
    return Sparse(ids, logprobs, torch.cat([target.tail for target in targets]))


def _sampled(targets: Sequence[Sampled]) -> Sampled:
    width = max(target.ids.shape[1] for target in targets)
    ids, weights = (torch.cat([_wider(getattr(t, name), width, 0) for t in targets]) for name in ("ids", "weights"))
    told = [target.logprobs for target in targets if target.logprobs is not None]
    return Sampled(ids, weights, torch.cat([_wider(one, width, 0) for one in told]) if len(told) == len(targets) else None)


def _wider(tensor: Tensor, width: int, empty: float) -> Tensor:
    return functional.pad(tensor, (0, width - tensor.shape[1]), value=empty)


JOINED: Mapping[type, Callable[[Any], Target]] = {
    Full: lambda targets: Full(torch.cat([target.logits for target in targets])),
    Hidden: lambda targets: Hidden(torch.cat([target.states for target in targets]), targets[0].head),
    Sparse: _sparse,
    Sampled: _sampled,
}


def taken(target: Target, index: slice | Tensor) -> Target:
    """Return some rows of a target."""
    parts: dict[str, Any] = {name: value[index] for name, value in vars(target).items() if isinstance(value, Tensor)}
    return replace(target, **parts)


def moved(target: Target, device: torch.device) -> Target:
    """Return a target on ``device``; no-op where it is there."""
    return replace(target, **{name: _moved(value, device) for name, value in vars(target).items()})


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    return value if value is None or isinstance(value, float | int) else replace(value, **{name: _moved(part, device) for name, part in vars(value).items()})
