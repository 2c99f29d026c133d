"""Where the student is worse than it is on the whole: by label, by length, by any column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .decisions import of
from .statistics import grouped_difference, tango

ALPHA = 0.025  # two-sided 95 %; slices are many and looked at together: they point, they don't decide
MIN_ROWS = 20  # a slice of fewer is marked `small`
MAX_VALUES = 50  # of a column: of more (names of rows, hundreds of labels) only those with `MIN_ROWS` rows are slices


def slices(
    columns: Mapping[str, Sequence[str] | Sequence[Sequence[str]]],
    gold: np.ndarray,
    teacher: np.ndarray,
    student: np.ndarray,
    *,
    groups: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Return for every value of every column {column, value, n, quality, teacher, drop {value, low, high}, small, stands_out}.

    ``quality`` and ``teacher`` are accuracies. ``drop`` has its two-sided 95 % interval; ``stands_out``: its lower bound lies over the
    drop on the whole even when all slices are allowed for (Bonferroni), so that looking at many finds nothing by itself. The worst
    first; small slices last. *Shapes:* (n,), (n, classes); ``groups`` (n,) integers or None. A column may have several values a row
    (its labels): the row is then in the slice of each. With several labels a row, accuracy is that of whole sets.
    """
    if not len(gold):
        return []
    right, taught = (of(gold).right(gold, side) for side in (student, teacher))
    places = _places(columns)
    overall = float(taught.mean() - right.mean())
    found = []
    for column, value, rows in places:
        n = int(rows.sum())
        within = None if groups is None else np.unique(groups[rows], return_inverse=True)[1]
        worse, better = taught[rows] & ~right[rows], right[rows] & ~taught[rows]
        low, high = _bounds(worse, better, within, ALPHA)
        sure, _ = _bounds(worse, better, within, ALPHA / len(places))
        found.append(
            {
                "column": column, "value": value, "n": n, "quality": float(right[rows].mean()), "teacher": float(taught[rows].mean()),
                "drop": {"value": float(worse.mean() - better.mean()), "low": low, "high": high}, "small": n < MIN_ROWS,
                "stands_out": n >= MIN_ROWS and sure > overall,
            }
        )  # fmt: skip
    return sorted(found, key=lambda row: (row["small"], -row["drop"]["value"]))


def _places(columns: Mapping[str, Sequence[str] | Sequence[Sequence[str]]]) -> list[tuple[str, str, np.ndarray]]:
    """Return (column, value, which rows) of every slice."""
    found = []
    for column, values in columns.items():
        inside: dict[str, list[int]] = {}
        for row, held in enumerate(values):
            for value in (held,) if isinstance(held, str) else held:
                inside.setdefault(value, []).append(row)
        least = MIN_ROWS if len(inside) > MAX_VALUES else 1
        found += [(column, value, _mask(inside[value], len(values))) for value in sorted(inside) if len(inside[value]) >= least]
    return found


def _mask(places: Sequence[int], size: int) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[list(places)] = True
    return mask


def _bounds(worse: np.ndarray, better: np.ndarray, groups: np.ndarray | None, alpha: float) -> tuple[float, float]:
    if groups is None:
        return tango(int(worse.sum()), int(better.sum()), len(worse), alpha)
    return grouped_difference(worse, better, groups, alpha)


def note(found: Sequence[Mapping[str, Any]]) -> str:
    """Return how to read so many slices, in a sentence."""
    many, out = len(found), [f"{row['column']} = {row['value']}" for row in found if row["stands_out"]]
    chance = "each interval is 95 % by itself, so about one in twenty misses its mark by chance"
    worse = f"worse than the whole beyond that: {', '.join(out)}" if out else "none is worse than the whole beyond that"
    return f"{many} slices were looked at: {chance}; {worse}"


def by_length(lengths: Sequence[int]) -> list[str]:
    """Return for each row the name of its quarter by length in characters."""
    if not len(lengths):
        return []
    edges = np.unique(np.quantile(lengths, [0.25, 0.5, 0.75], method="lower"))  # lengths that occur, so that the names say where rows lie
    places = np.searchsorted(edges, lengths, side="left")
    names = {}
    for place in np.unique(places).tolist():
        inside = np.asarray(lengths)[places == place]
        names[place] = f"{int(inside.min())}-{int(inside.max())} characters"
    return [names[place] for place in places.tolist()]
