"""Batches of rows of like length, so that little is spent on padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import rng

WINDOW = 50  # batches that are sorted by length together: enough to cut padding, few enough to stay random


def bucketed(lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int) -> list[np.ndarray]:
    """Return the epoch's batches of row numbers: every row once, ceil(rows / batch_size) batches, the same for the same (seed, epoch)."""
    random = rng.stream(seed, "batches", epoch)
    order = random.permutation(len(lengths))
    sizes = np.asarray(lengths)
    window = WINDOW * batch_size
    batches = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort(sizes[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]
