"""Where a fresh head begins when any number of labels may apply: each label as probable as it is common.

From 1/2 every label, a model first spends its steps on denying them all, and a pretrained body is bent by that: MiniLM fine-tuned on 24
labels of 4 % each ended at chance (docs/log.md). After Lin et al. 2017, "Focal loss for dense object detection", section 3.3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn

from ..records import Example, Head


def start(linear: nn.Module, rows: Sequence[Example], head: Head) -> None:
    """Set the biases of the last linear map to the log-odds of the labels' shares in the gold of ``rows``.

    No-op for classes, whose softmax needs none, for a map without biases (a decoder's), and where no row has gold.
    """
    gold = [row for row in rows if row.gold is not None]
    if head.kind == "classes" or linear.bias is None or not gold:
        return
    counts = Counter(label for row in gold for label in row.labels)
    shares = torch.tensor([(counts[label] + 1) / (len(gold) + 2) for label in head.labels])
    with torch.no_grad():
        linear.bias.copy_(shares.logit())  # type: ignore[operator]
