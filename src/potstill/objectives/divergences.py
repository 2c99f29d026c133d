"""How far a student's classes are from the teacher's: sums over units, in float32 whatever autocast says."""

from __future__ import annotations

import torch
from torch import Tensor


def kl(student: Tensor, teacher: Tensor, *, kd_temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the forward KL(teacher || student) of softened classes times T², and the number of units.

    *Shape:* ``student`` logits and ``teacher`` log-probabilities (units, classes). T² keeps the gradient's size when T changes
    (Hinton et al. 2015, arXiv:1503.02531, section 2). Zero, with a zero gradient, where student and teacher agree.
    """
    target = (teacher.float() / kd_temperature).log_softmax(dim=-1)
    own = (student.float() / kd_temperature).log_softmax(dim=-1)
    # A class that the teacher rules out (-inf) adds nothing: 0 * log 0 = 0.
    terms = torch.where(target > -torch.inf, target.exp() * (target - own), 0.0)
    return kd_temperature**2 * terms.sum(), _count(student)


def mse(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared distance of centered scores, as a mean over classes, summed over units; and the number of units.

    *Shape:* as :func:`kl`. Logits are known up to a constant, so both sides are centered over classes: log-probabilities then
    stand for the teacher's logits exactly (Ba & Caruana 2014, arXiv:1312.6184, eq. 2).
    """
    return (_centered(student) - _centered(teacher)).square().mean(dim=-1).sum(), _count(student)


def _centered(scores: Tensor) -> Tensor:
    scores = scores.float()
    return scores - scores.mean(dim=-1, keepdim=True)


def _count(rows: Tensor) -> Tensor:
    return torch.tensor(float(rows.shape[0]), device=rows.device)
