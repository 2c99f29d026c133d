"""Through the rows in chunks: logits, divergences, gradients where the logits were, gradients of what made them; then the next chunk.

What a chunk needs is allocated once. On a processor the divergences are taken a tile of few rows at a time, so that their passes find
the logits in its cache; on other devices a chunk is one tile, and each pass one kernel. A fused kernel for a device (Liger's, or one
of our own) would stand in the place of :func:`_measure`, which alone reads and writes logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import UserError
from . import heads, tiles
from .divergences import Divergence
from .heads import Head
from .positions import taken
from .targets import Full, Hidden, Sampled, Sparse, Target

CHUNK_BYTES = 96 << 20  # of logits, the student's and the teacher's together, that stand in memory at a time
CHUNK_ROWS = {"cpu": 256}  # at most. Measured at 49,152 tokens: products take 8 % less time than with 128 rows, no less with 512
TILE_BYTES = {"cpu": 1 << 20}  # of one side's logits: about a second-level cache. Measured: 4 to 16 rows of 49,152 are alike, 64 slower


@dataclass(frozen=True)
class Plan:
    """What a loss is made of beside the tensors that it is differentiated by: ``index`` says which of the target's rows to take."""

    target: Target | None
    index: Tensor | None
    labels: Tensor | None  # (rows,) of supervised rows alone
    weights: Tensor | None  # (rows,)
    divergence: Divergence
    temperature: float
    soft_weight: float
    hard_weight: float
    chunk_bytes: int
    scaling: float  # the adapter's
    softcap: float | None
    learns: bool  # whether gradients are wanted at all


class Parts(NamedTuple):
    """What there is, or will be, a gradient for. *Shapes:* ``hidden`` (rows, width), then those of :class:`Head`; ``scale`` ()."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    down: Tensor | None
    up: Tensor | None
    scale: Tensor

    def head(self, plan: Plan) -> Head:
        adapter = None if self.down is None or self.up is None else heads.Adapter(self.down, self.up, plan.scaling)
        return Head(self.weight, self.bias, adapter, self.scale, plan.softcap)


class Fused(torch.autograd.Function):
    """(soft_weight * soft + hard_weight * hard, soft, hard), sums over rows; the first alone has a gradient, made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Any) -> tuple[Tensor, Tensor, Tensor]:
        parts = Parts(*tensors)
        with torch.autocast(parts.hidden.device.type, enabled=False):
            sums, gradients = run(plan, parts, ctx.needs_input_grad[1:] if plan.learns else (False,) * len(parts))
        ctx.gradients, ctx.dtypes = gradients, [None if part is None else part.dtype for part in parts]
        total = plan.soft_weight * sums[0] + plan.hard_weight * sums[1]
        ctx.mark_non_differentiable(sums[0], sums[1])
        return total, sums[0], sums[1]

    @staticmethod
    def backward(ctx: Any, outer: Tensor, *others: Any) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise UserError("the token loss has no second derivative", place="token loss", remedy="call backward without create_graph")
        if ctx.gradients is None:
            raise UserError("the token loss was already differentiated", place="token loss", remedy="add losses up and call backward once")
        # Ours alone from here on: scaled in place, and not held, so that the parameter takes it over and makes no copy.
        gradients, ctx.gradients = ctx.gradients, None
        scaled = [None if gradient is None else gradient.mul_(outer).to(dtype) for gradient, dtype in zip(gradients, ctx.dtypes)]
        gradients.clear()
        return (None, *scaled)


def wide(hidden: Tensor) -> torch.dtype:
    """Return the dtype that the loss of such states is computed in."""
    return torch.float64 if hidden.dtype == torch.float64 else torch.float32


def run(plan: Plan, parts: Parts, wanted: tuple[bool, ...]) -> tuple[tuple[Tensor, Tensor], list[Tensor | None]]:
    """Return the sums (soft, hard) over rows, and the gradients of the weighted total at each part, None where not ``wanted``."""
    dtype, head, device = wide(parts.hidden), parts.head(plan), parts.hidden.device
    soft, hard = (torch.zeros((), dtype=dtype, device=device) for _ in range(2))
    gradients = _Gradients(head, parts, wanted, dtype)
    size = len(parts.hidden)
    teacher = _columns(plan.target)
    step = max(1, min(size, CHUNK_ROWS.get(device.type, size), plan.chunk_bytes // ((head.vocabulary + teacher) * dtype.itemsize)))
    logits, told = (torch.empty(step, columns, dtype=dtype, device=device) for columns in (head.vocabulary, teacher))
    for start in range(0, size, step):
        rows = slice(start, min(start + step, size))
        hidden = parts.hidden[rows].to(dtype)
        chunk = heads.scores(head, hidden, logits[: len(hidden)])
        answers = _answers(plan, rows, told[: len(hidden)])
        of_soft, of_hard = _measure(plan, head, chunk, answers, rows)
        soft += of_soft
        hard += of_hard
        gradients.add(rows, hidden, chunk)
    return (soft, hard), gradients.done()


def _columns(target: Target | None) -> int:
    """Return how wide the teacher's logits are, 0 where there are none."""
    match target:
        case Full():
            return target.logits.shape[1]
        case Hidden():
            return target.head.vocabulary
    return 0


def _answers(plan: Plan, rows: slice, out: Tensor) -> Any:
    """Return what the teacher said of a chunk: logits in ``out``, or the target's own rows. Rows of all positions are gathered here."""
    target = plan.target
    at = None if target is None or plan.index is None else plan.index[rows]

    def chosen(tensor: Tensor) -> Tensor:
        return tensor[rows] if at is None else taken(tensor, at)

    match target:
        case Full():
            if at is not None and target.logits.dtype == out.dtype:
                return torch.index_select(target.logits, 0, at, out=out)
            return out.copy_(chosen(target.logits))
        case Hidden():
            return heads.cap(target.head, heads.scores(target.head, chosen(target.states).to(out.dtype), out))
        case Sparse():
            return Sparse(chosen(target.ids), chosen(target.logprobs), chosen(target.tail))
        case Sampled():
            return Sampled(chosen(target.ids), chosen(target.weights), None if target.logprobs is None else chosen(target.logprobs))
    return None


def _measure(plan: Plan, head: Head, logits: Tensor, answers: Any, rows: slice) -> tuple[Tensor, Tensor]:
    """Return a chunk's sums (soft, hard), and write the gradient at what stands before soft-capping over ``logits``."""
    bytes_a_row = logits.shape[1] * logits.element_size()
    step = max(1, TILE_BYTES[logits.device.type] // bytes_a_row) if logits.device.type in TILE_BYTES else len(logits)
    sums = logits.new_zeros(2)
    for start in range(0, len(logits), step):
        tile = logits[start : start + step]
        inside = slice(start, start + len(tile))
        place = slice(rows.start + start, rows.start + start + len(tile))
        weights = tile.new_ones(len(tile)) if plan.weights is None else plan.weights[place].to(tile.dtype)
        slope = heads.slope(head, heads.cap(head, tile))
        labelled = None if plan.labels is None else tiles.hard(tile, plan.labels[place])
        values = SOFT[type(answers)](tile, answers, inside, plan)
        sums[0] += torch.dot(values, weights)
        if plan.weights is not None or plan.soft_weight != 1:
            tile.mul_((weights * plan.soft_weight)[:, None])
        if labelled is not None:
            values, gradient = labelled
            sums[1] += torch.dot(values, weights)
            tile.addcmul_(gradient, (weights * plan.hard_weight)[:, None])
        if slope is not None:
            tile.mul_(slope)
    return sums[0], sums[1]


def _nothing(tile: Tensor, answers: None, inside: slice, plan: Plan) -> Tensor:
    return tile.zero_().new_zeros(len(tile))


def _cut(answers: Any, inside: slice) -> Any:
    """Return a tile's rows of a chunk's target."""
    return replace(answers, **{name: None if value is None else value[inside] for name, value in vars(answers).items()})


SOFT: dict[type, Callable[[Tensor, Any, slice, Plan], Tensor]] = {
    type(None): _nothing,
    Tensor: lambda tile, answers, inside, plan: tiles.dense(tile, answers[inside], plan.divergence, plan.temperature),
    Sparse: lambda tile, answers, inside, plan: tiles.sparse(tile, _cut(answers, inside), plan.divergence, plan.temperature),
    Sampled: lambda tile, answers, inside, plan: tiles.sampled(tile, _cut(answers, inside)),
}


class _Gradients:
    """The gradients as they add up over chunks, in float32 at least, whatever the parts are in: halves would lose later chunks."""

    def __init__(self, head: Head, parts: Parts, wanted: tuple[bool, ...], wide: torch.dtype) -> None:
        begin = [torch.zeros_like, torch.empty_like if len(parts.hidden) else torch.zeros_like, *[torch.zeros_like] * 4]
        made = [new(part, dtype=wide) if want and part is not None else None for new, part, want in zip(begin, parts, wanted)]
        self.head, self.wide, self.any = head, wide, any(wanted)
        self.hidden, self.weight, self.bias, self.down, self.up, self.scale = made
        self.kept = 0  # what the weight's gradient is multiplied by before a chunk is added: the first writes it, zeros would cost a pass
        self.factor = parts.scale.to(wide)

    def add(self, rows: slice, hidden: Tensor, slope: Tensor) -> None:
        """Add a chunk's: ``slope`` (rows, vocabulary) is the gradient at the scores."""
        if not self.any:
            return
        scaled = hidden * self.factor
        if self.weight is not None:
            self.weight.addmm_(slope.t(), scaled, beta=self.kept)
            self.kept = 1
        back = self._back(slope, hidden)  # before the scale
        of_bias = slope.sum(dim=0) if self.head.bias is not None and (self.bias is not None or self.scale is not None) else None
        if self.bias is not None and of_bias is not None:
            self.bias.add_(of_bias * self.factor)
        if self.scale is not None and back is not None:
            self.scale.add_((back * hidden).sum())
            if of_bias is not None and self.head.bias is not None:
                self.scale.add_(torch.dot(of_bias, self.head.bias.to(self.wide)))
        if self.hidden is not None and back is not None:
            torch.mul(back, self.factor, out=self.hidden[rows])

    def _back(self, slope: Tensor, hidden: Tensor) -> Tensor | None:
        """Return the gradient at (rows, width) states that were not scaled; and add the adapter's."""
        needed = self.hidden is not None or self.scale is not None
        back = torch.zeros_like(hidden) if needed else None
        if back is not None:
            for columns, block in heads.blocks(self.head.weight, self.wide):
                back.addmm_(slope[:, columns], block)
        if self.head.adapter is None or not (needed or self.down is not None or self.up is not None):
            return back
        down = self.head.adapter.down.to(self.wide)
        through = torch.zeros(len(hidden), len(down), dtype=self.wide, device=hidden.device)
        for columns, block in heads.blocks(self.head.adapter.up, self.wide):
            through.addmm_(slope[:, columns], block, alpha=self.head.adapter.scaling)
        if self.up is not None:
            self.up.addmm_(slope.t(), hidden @ down.t() * self.factor, alpha=self.head.adapter.scaling)
        if self.down is not None:
            self.down.addmm_(through.t(), hidden * self.factor)
        return back if back is None else back.addmm_(through, down)

    def done(self) -> list[Tensor | None]:
        return [self.hidden, self.weight, self.bias, self.down, self.up, self.scale]
