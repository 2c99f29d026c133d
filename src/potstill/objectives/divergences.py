"""How far a student's classes are from the teacher's: sums over units, in float32 whatever autocast says."""

from __future__ import annotations

import torch
from torch import Tensor


def kl(student: Tensor, teacher: Tensor, *, kd_temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the forward KL(teacher || student) of softened classes times T², summed over units; and the number of units.

    *Shape:* ``student`` logits and ``teacher`` log-probabilities (..., classes); all axes but the last are units. T² keeps the
    gradient's size when T changes (Hinton et al. 2015, arXiv:1503.02531, section 2). Zero, with a zero gradient, where
    student and teacher agree. A class that the teacher rules out (-inf) adds nothing: 0 * log 0 = 0.
    """
    target = (widened(teacher) / kd_temperature).log_softmax(dim=-1)
    own = (widened(student) / kd_temperature).log_softmax(dim=-1)
    share = target.exp()
    # sum p (log p - log q) - p + q: what is added is zero in all, and makes every summand that of a Bregman divergence, never
    # negative and blind to rounding in the normalizers. Without it the sign is lost at near-equal logits over 49,000 classes.
    gap = target - own
    close = gap.clamp(-1, 1)  # where the gap is small, p - q would be lost in p's last digits: p (gap + e^-gap - 1) is the same
    far = torch.where(share > 0, share * gap, 0.0) - share + own.exp()
    parts = torch.where(gap.abs() < 1, share * (close + torch.expm1(-close)), far)
    return kd_temperature**2 * parts.sum(), units(student)


def mse(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return half the squared distance of centered scores, as a mean over classes, summed over units; and the number of units.

    *Shape:* as :func:`kl`. Logits are known up to a constant, so both sides are centered over classes: log-probabilities then
    stand for the teacher's logits exactly (Ba & Caruana 2014, arXiv:1312.6184, eq. 2). It is the limit of :func:`kl` at high
    temperature (Hinton et al. 2015, section 2.1). Infinite where the teacher rules a class out: such answers need ``kl``.
    """
    return 0.5 * (_centered(student) - _centered(teacher)).square().mean(dim=-1).sum(), units(student)


def widened(scores: Tensor) -> Tensor:
    """Return ``scores`` in float32 at least: bf16 carries three digits, too few for a logarithm of many classes."""
    return scores if scores.dtype == torch.float64 else scores.float()


def units(scores: Tensor) -> Tensor:
    """Return the number of units of (..., classes) as a scalar beside them."""
    return torch.tensor(float(scores[..., 0].numel()), device=scores.device)


def _centered(scores: Tensor) -> Tensor:
    scores = widened(scores)
    return scores - scores.mean(dim=-1, keepdim=True)
