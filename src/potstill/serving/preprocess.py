"""From fields to the arrays that a model reads, as data: what a spec of plain JSON says, in numpy and tokenizers alone.

Training, export and serving build the same preprocessing from the same spec, so that none of them can drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ..records import Field

Item = dict[str, np.ndarray]  # one row's 1-d int64 arrays by input name


class Preprocess(Protocol):
    """Fields in, padded arrays out. ``encode`` does the dear part once, ``collate`` only pads."""

    inputs: tuple[str, ...]  # names of the model's inputs, in order

    def encode(self, rows: Sequence[Mapping[str, Field]]) -> list[Item]:
        """Return for each row its arrays by input name, each *Shape:* (length,) int64."""

    def collate(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        """Return the items padded to the longest, each array *Shape:* (rows, max(length, 1)) int64."""

    def length(self, item: Item) -> int:
        """Return the item's length: what its cost grows with."""
