"""Cross-entropy with gold labels, where there are any."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

IGNORED = -1  # the gold of a unit that has none


def cross_entropy(student: Tensor, gold: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of -log p(gold) over units that have gold, and their number.

    *Shape:* ``student`` logits (units, classes), ``gold`` integers (units,). A batch without gold gives 0 with a gradient of 0.
    """
    student = student.float()
    total = functional.cross_entropy(student, gold, ignore_index=IGNORED, reduction="sum")
    return total, (gold != IGNORED).sum().float()
