"""Duplicates: within the rows to learn from, and between these and the rows that judge. Nothing is ever removed from test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..records import Example
from .minhash import nearest, normalized

HELD = ("test", "validation", "calibration")  # each is kept clear of those before it
LEARNT = ("train", "unlabeled")


@dataclass(frozen=True)
class Duplicate:
    """A row that was removed, and the row that was kept because of which it was."""

    kind: str  # exact | near | conflict (exact, with another label)
    removed: str
    removed_from: str
    kept: str
    kept_in: str
    similarity: float


def without_duplicates(parts: dict[str, list[Example]], text: Callable[[Example], str], threshold: float) -> tuple[dict[str, list[Example]], list[Duplicate]]:
    """Return the splits with duplicates removed, and what was removed and why.

    Exact duplicates (case and spacing apart) leave train and the pool once; rows that are the same as, or near to, a row of test,
    validation or calibration leave every split that comes after it. Test rows all stay, their own duplicates too.
    """
    found: list[Duplicate] = []
    kept: dict[str, list[Example]] = {"test": list(parts["test"])}
    for name in ("validation", "calibration", *LEARNT):
        rows = parts[name]
        if name in LEARNT:
            rows = _once(rows, name, text, found)
        for other in (*HELD, "train"):
            if other in kept and other != name:
                rows = _clear_of(rows, name, kept[other], other, text, threshold if other in HELD else 0.0, found)
        kept[name] = rows
    return kept, found


def _once(rows: Sequence[Example], name: str, text: Callable[[Example], str], found: list[Duplicate]) -> list[Example]:
    """Keep the first of equal rows, whatever label the others have."""
    first: dict[str, Example] = {}
    for row in rows:
        held = first.setdefault(normalized(text(row)), row)
        if held is not row:
            found.append(Duplicate("exact" if row.gold == held.gold else "conflict", row.place, name, held.place, name, 1.0))
    return list(first.values())


def _clear_of(
    rows: Sequence[Example], name: str, held: Sequence[Example], held_name: str, text: Callable[[Example], str], threshold: float,
    found: list[Duplicate],
) -> list[Example]:  # fmt: skip
    """Return the rows that are not the same as, or near to, one in ``held``."""
    same = {normalized(text(row)): row for row in reversed(held)}
    near = nearest([text(row) for row in held], [text(row) for row in rows], threshold)
    clear = []
    for place, row in enumerate(rows):
        if (twin := same.get(normalized(text(row)))) is not None:
            found.append(Duplicate("exact", row.place, name, twin.place, held_name, 1.0))
        elif place in near:
            found.append(Duplicate("near", row.place, name, held[near[place][0]].place, held_name, round(near[place][1], 4)))
        else:
            clear.append(row)
    return clear
