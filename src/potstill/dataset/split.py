"""Splits by the hash of a row's content, or of its group: the same for every label, and added rows move none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .. import rng
from ..records import Example

CUT = ("test", "validation", "calibration")  # in this order, so that the test rows don't depend on the other shares


def draw(example: Example, seed: int) -> float:
    """Return the row's place in [0, 1): a function of the seed and of its group, or of its content."""
    return rng.integer(seed, "split", example.group or example.id) / 2**63


def cut(rows: Sequence[Example], shares: Mapping[str, float], seed: int) -> dict[str, list[Example]]:
    """Deal ``rows`` to the splits in ``shares``; what is left is "train"."""
    parts: dict[str, list[Example]] = {name: [] for name in (*shares, "train")}
    for row in rows:
        at = draw(row, seed)
        for name in CUT:
            share = shares.get(name, 0.0)
            if at < share:
                parts[name].append(row)
                break
            at -= share
        else:
            parts["train"].append(row)
    return parts


def first_by_hash(rows: Sequence[Example], count: int | None) -> list[Example]:
    """Return the first ``count`` rows by the hash of their content, in their own order: a sample that added rows hardly change."""
    if count is None or count >= len(rows):
        return list(rows)
    chosen = {id(row) for row in sorted(rows, key=lambda row: rng.integer(0, "limit", row.id))[:count]}
    return [row for row in rows if id(row) in chosen]
