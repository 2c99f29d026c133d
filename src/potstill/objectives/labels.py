"""Losses of any number of labels a unit: each label's yes or no is a distribution of its own, the unit's loss is their sum.

The sum, because labels taken for independent make the whole set's probability the product of theirs: it is then the KL, or minus the
log-probability, of the set, in nats a unit as with classes. A label that both sides rule out adds nothing; a mean over labels would be
thinned by it. *Shapes:* (..., labels) log-odds; all axes but the last are units.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from . import divergences
from .divergences import units, widened


def kl(student: Tensor, teacher: Tensor, *, kd_temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the forward KL(teacher || student) of softened labels times T², summed over labels and units; and the number of units."""
    return divergences.kl(_two(student), _two(teacher), kd_temperature=kd_temperature)[0], units(student)


def mse(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return an eighth of the squared distance of log-odds, summed over labels and units, the limit of :func:`kl` at high temperature;
    and the number of units."""
    return divergences.mse(_two(student), _two(teacher))[0], units(student)


def cross_entropy(student: Tensor, gold: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the sum of -log p(gold) over the labels of units that have gold, and the number of those units.

    *Shape:* ``gold`` (..., labels) of 0 and 1, -1 where there is none; ``weights`` (2, labels): of each label's no, and of its yes. A
    batch without gold gives 0 with a gradient of 0.
    """
    logits, known = widened(student), gold >= 0
    losses = functional.binary_cross_entropy_with_logits(logits, gold.clamp(min=0).to(logits.dtype), reduction="none")
    if weights is not None:
        losses = losses * torch.where(gold > 0, weights[1], weights[0]).to(logits.dtype)
    # masked_fill, not a product: what is infinite outside stays outside.
    return losses.masked_fill(~known, 0.0).sum(), labeled(gold)


def labeled(gold: Tensor) -> Tensor:
    """Return how many units have gold."""
    return (gold >= 0).all(dim=-1).sum().float()


def _two(logodds: Tensor) -> Tensor:
    """Return log-odds (..., labels) as the logits (..., labels, 2) of yes and no: a sigmoid is a softmax of these."""
    wide = widened(logodds)
    return torch.stack([wide, torch.zeros_like(wide)], dim=-1)
