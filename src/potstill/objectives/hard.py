"""Cross-entropy with gold labels, where there are any."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from .divergences import widened

IGNORED = -1  # the gold of a unit that has none


def cross_entropy(student: Tensor, gold: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the sum of -log p(gold) over units that have gold, and their number.

    *Shape:* ``student`` logits (..., classes), ``gold`` integers (...), ``weights`` (classes,) of each unit by its gold. A batch without
    gold gives 0 with a gradient of 0.
    """
    logits, labels = widened(student).reshape(-1, student.shape[-1]), gold.reshape(-1)
    weight = None if weights is None else weights.to(logits.dtype)
    return functional.cross_entropy(logits, labels, weight=weight, ignore_index=IGNORED, reduction="sum"), labeled(labels)


def labeled(gold: Tensor) -> Tensor:
    """Return how many units have gold."""
    return (gold != IGNORED).sum().float()
