"""Near-duplicates that bear different labels: one of the two is wrong, or they differ in what the label is about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .minhash import Sketch, nearest, sketch


def conflicts(texts: Sequence[str], labels: np.ndarray, threshold: float) -> list[tuple[int, int, float]]:
    """Return (row, its twin with another label, similarity of the texts), each row once; ``labels`` *Shape:* (n,), -1 for none.

    Two rows are near as :mod:`.minhash` has it; no-op (empty) at threshold 0.
    """
    known = np.flatnonzero(labels >= 0)
    found: dict[int, tuple[int, float]] = {}
    if threshold <= 0:
        return []
    whole = sketch(texts)
    for label in np.unique(labels[known])[:-1]:
        held, others = (known[side] for side in (labels[known] == label, labels[known] > label))
        pairs = nearest(_part(whole, held), _part(whole, others), threshold)
        found |= {int(others[j]): (int(held[i]), similarity) for j, (i, similarity) in pairs.items()}
    return [(row, twin, similarity) for row, (twin, similarity) in sorted(found.items())]


def _part(whole: Sketch, places: np.ndarray) -> Sketch:
    return Sketch(tuple(whole.texts[i] for i in places), whole.signatures[places])
