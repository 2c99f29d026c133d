"""Where the student is worse than it is on the whole: by label, by length, by any column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .statistics import tango

ALPHA = 0.025  # two-sided 95 %; slices are many and looked at together: they point, they don't decide
MIN_ROWS = 20
MAX_VALUES = 50  # of a column: more are names of rows, not slices


def slices(columns: Mapping[str, Sequence[str]], gold: np.ndarray, teacher: np.ndarray, student: np.ndarray) -> list[dict[str, Any]]:
    """Return {column, value, n, quality, teacher, drop {value, low, high}} of accuracy for every value with enough rows, worst drop first."""
    right, taught = student.argmax(axis=1) == gold, teacher.argmax(axis=1) == gold
    found = []
    for column, values in columns.items():
        array = np.asarray(values, dtype=object)
        distinct = sorted(set(values))
        if len(distinct) > MAX_VALUES:
            continue
        for value in distinct:
            rows = array == value
            n = int(rows.sum())
            if n < MIN_ROWS:
                continue
            worse, better = int((taught & ~right & rows).sum()), int((right & ~taught & rows).sum())
            low, high = tango(worse, better, n, ALPHA)
            drop = {"value": (worse - better) / n, "low": low, "high": high}
            quality, own = float(right[rows].mean()), float(taught[rows].mean())
            found.append({"column": column, "value": value, "n": n, "quality": quality, "teacher": own, "drop": drop})
    return sorted(found, key=lambda row: -row["drop"]["value"])


def by_length(lengths: Sequence[int]) -> list[str]:
    """Return for each row the name of its quarter by length in characters."""
    edges = np.unique(np.quantile(lengths, [0.25, 0.5, 0.75]))
    places = np.searchsorted(edges, lengths, side="left")
    bounds = [int(min(lengths)), *(int(edge) for edge in edges), int(max(lengths))]
    return [f"{bounds[p]}-{bounds[p + 1]} characters" for p in places.tolist()]
