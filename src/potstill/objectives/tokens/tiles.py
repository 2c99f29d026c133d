"""A few rows of logits against what the teacher said of them: their divergences, and the gradient in the logits' place.

Each function takes the student's logits behind soft-capping, ``own`` (tile, vocabulary), writes the gradient at them in their place, and
returns the rows' divergences (tile,).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...errors import UserError
from .divergences import FAR, FLOOR, Divergence
from .positions import IGNORED
from .targets import Sampled, Sparse, Target

LOWEST = -1e8  # the student's least log-probability: a token that it rules out, by a bias of -inf say, costs much, and a number
SAMPLED = frozenset({"forward_kl"})
REFUSALS: Mapping[type, tuple[frozenset[str], str]] = {
    Sampled: (SAMPLED, "samples tell of the teacher's mean alone: take forward_kl, or keep the top of the distribution (Sparse) for the others"),
}  # fmt: skip


def check(target: Target, vocabulary: int, divergence: Divergence, temperature: float) -> None:
    """Raise :class:`UserError` for a divergence that can't be had from such a target, and for ids that the student lacks."""
    place = "token loss"
    if not 0 < temperature < float("inf"):
        raise UserError(f"kd_temperature is {temperature}", place=place, remedy="give a number over 0")
    known, remedy = REFUSALS.get(type(target), (None, ""))
    if known is not None and divergence.name not in known:
        raise UserError(f"there is no {divergence.name} from {type(target).__name__.lower()} tokens", place=place, remedy=remedy)
    if isinstance(target, Sampled) and temperature != 1:
        words = f"kd_temperature {temperature} with tokens that were drawn at temperature 1"
        raise UserError(words, place=place, remedy="take kd_temperature 1, or keep the top of the distribution (Sparse)")
    if isinstance(target, Sparse | Sampled) and target.ids.numel():
        least, most = (int(end) for end in target.ids.aminmax())
        if not 0 <= least <= most < vocabulary:
            remedy = "teacher and student must share a tokenizer; the id of an empty slot is any within"
            raise UserError(f"the teacher's ids go from {least} to {most}, the student has {vocabulary} tokens", place=place, remedy=remedy)


def dense(own: Tensor, told: Tensor, divergence: Divergence, temperature: float) -> Tensor:
    """Measure logits against logits, over the ids that both have; ``told`` (tile, teacher's vocabulary) is used up.

    Ids that one side lacks are its padding: they have no part in either distribution, and a gradient of zero.
    """
    shared = min(own.shape[1], told.shape[1])
    own[:, shared:] = 0
    own, told = own[:, :shared], told[:, :shared]
    if temperature != 1:
        own.div_(temperature)
        told.div_(temperature)
    _log_softmax(own).clamp_(min=LOWEST)
    _log_softmax(told).clamp_(min=FLOOR)
    rows = divergence.rows(own, told)
    own.mul_(temperature)  # T² of the value over the T by which logits were divided
    return rows.mul_(temperature**2).clamp_(min=0)  # what is under 0 is rounding; the gradient is not touched


def sparse(own: Tensor, told: Sparse, divergence: Divergence, temperature: float) -> Tensor:
    """Measure logits against the top-k of a tile and its tail, by the same family over k + 1 tokens.

    The student's tail is added up over what is not kept, never taken from 1: so it does not vanish where the kept ones are likely.
    """
    ids, real = told.ids.long(), told.logprobs > float("-inf")
    kept = own.gather(1, ids).masked_fill_(~real, float("-inf"))
    own.scatter_add_(1, ids, torch.zeros_like(kept).masked_fill_(real, float("-inf")))
    top = own.amax(dim=-1, keepdim=True).clamp_(min=torch.finfo(own.dtype).min)
    rest = own.sub_(top).exp_().sum(dim=-1, keepdim=True)
    coarse = _soften(torch.cat([kept, top + rest.log()], dim=-1), LOWEST, temperature)
    left_out = (real.sum(dim=-1) < own.shape[1]) * told.tail.to(own.dtype).clamp(min=0)  # where all are kept, a tail is rounding
    tail = left_out.log()[:, None]
    answers = _soften(torch.cat([told.logprobs.to(own.dtype), tail], dim=-1), LOWEST, temperature).clamp_(min=FLOOR)
    rows = divergence.rows(coarse, answers)
    coarse.mul_(temperature)
    own.mul_(torch.where(rest > 0, coarse[:, -1:] / rest, 0.0))
    own.scatter_add_(1, ids, coarse[:, :-1].masked_fill_(~real, 0.0))
    return rows.mul_(temperature**2).clamp_(min=0)


def sampled(own: Tensor, told: Sampled) -> Tensor:
    """Estimate the forward KL from drawn tokens: sum_j w_j (q_j / p_j - 1 - log q_j / p_j), each draw's share at least 0.

    Its mean over draws is the KL, because q sums to 1 as p does; that of its gradient, sum_j w_j (q_j / p_j - 1) (e_j - q), is q - p.
    Without log p: cross-entropy, -sum_j w_j log q_j, with the gradient sum_j w_j (q - e_j).
    """
    ids, weights = told.ids.long(), told.weights.to(own.dtype)
    _log_softmax(own).clamp_(min=LOWEST)
    found = own.gather(1, ids)
    if told.logprobs is None:
        rows, pull = -(weights * found).sum(dim=-1), -weights
    else:
        gap = (found - told.logprobs.to(own.dtype)).clamp_(-1 / torch.finfo(own.dtype).eps, FAR)
        above = torch.expm1(gap)
        rows, pull = (weights * (above - gap)).sum(dim=-1), weights * above
    own.exp_().mul_(-pull.sum(dim=-1, keepdim=True)).scatter_add_(1, ids, pull)
    return rows


def hard(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return -log q(label), 0 where there is none, and a new tensor with its gradient. *Shapes:* (tile, vocabulary), (tile,)."""
    there = labels != IGNORED
    at = labels.masked_fill(~there, 0)[:, None]
    gradient = torch.log_softmax(logits, dim=-1)
    rows = -gradient.gather(1, at).squeeze(-1).masked_fill_(~there, 0.0)
    gradient.exp_().scatter_add_(1, at, -torch.ones_like(at, dtype=gradient.dtype))
    return rows, gradient.mul_(there[:, None])


def _log_softmax(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits, dim=-1, out=logits)


def _soften(logprobs: Tensor, least: float, temperature: float) -> Tensor:
    """Return log-probabilities of mass 1 that are then softened; none is under ``least`` before."""
    whole = logprobs.log_softmax(dim=-1).clamp_(min=least)
    return whole if temperature == 1 else whole.div_(temperature).log_softmax(dim=-1)
