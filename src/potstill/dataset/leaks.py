"""Duplicates and straddling groups: among the rows to learn from, and between them and the rows that judge.

Nothing is ever removed from test. Test, validation, calibration, train and the pool stand in this order, and each is kept clear of the
judging splits before it: a row that is the same as, or near to, a row of theirs, or shares its group, is removed and named.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..contracts import Progress, silent
from ..records import Example
from .minhash import Sketch, joined, nearest, normalized, sketch

HELD = ("test", "validation", "calibration")  # each is kept clear of those before it
LEARNT = ("train", "unlabeled")
Text = Callable[[Example], str]


@dataclass(frozen=True)
class Duplicate:
    """A row that was removed, and the row that was kept because of which it was."""

    kind: str  # exact | near | conflict (exact, with another label, both to learn from) | group (no duplicate: of a group that judges)
    removed: str
    removed_from: str
    kept: str
    kept_in: str
    similarity: float  # Jaccard index of the texts; 0 for "group", where it isn't looked at
    group: str | None = None


def clear(
    parts: Mapping[str, Sequence[Example]], text: Text, threshold: float, progress: Progress = silent
) -> tuple[dict[str, list[Example]], list[Duplicate]]:
    """Return the splits without leaks, and what was removed and why.

    Exact duplicates (case and spacing apart) leave train and the pool, all but the first, and leave the pool for train's sake. The
    splits that judge keep their own duplicates: how often an input comes is part of what they estimate.
    """
    found: list[Duplicate] = []
    kept: dict[str, list[Example]] = {"test": list(parts["test"])}
    near = _Near(text, threshold)
    for number, name in enumerate(("validation", "calibration", *LEARNT)):
        rows = _once(parts[name], name, found) if name in LEARNT else list(parts[name])
        held = [(split, row) for split in HELD if split in kept for row in kept[split]]
        rows = _same(rows, name, held, found)
        rows = _grouped(rows, name, held, found)
        rows = near.without(rows, name, held, found)
        if name == "unlabeled":
            rows = _same(rows, name, [("train", row) for row in kept["train"]], found)
        kept[name] = rows
        progress(number + 1, 4, "looking for duplicates")
    return kept, found


def away(rows: Sequence[Example], held: Mapping[str, Sequence[Example]], text: Text, threshold: float) -> tuple[list[Example], list[Duplicate]]:
    """Return those of ``rows``, made after the splits were cleared, that are neither the same as nor near to a row of ``held``; and the others.

    Groups are not looked at: a row that was made from another has that row's, which is clear of the judging splits.
    """
    found: list[Duplicate] = []
    judging = [(split, row) for split in HELD for row in held.get(split, ())]
    return _Near(text, threshold).without(_same(rows, "augmented", judging, found), "augmented", judging, found), found


def repeated(rows: Iterable[Example]) -> int:
    """Return how many rows say again what an earlier one said."""
    keys = [key(row) for row in rows]
    return len(keys) - len(set(keys))


def key(example: Example) -> Hashable:
    """Return what exact duplicates share: the fields, of texts the normalized form. "a b" + "c" is another pair than "a" + "b c"."""
    if all(isinstance(value, str) for value in example.fields.values()):
        return tuple((name, normalized(str(value))) for name, value in sorted(example.fields.items()))
    return example.id


Held = Sequence[tuple[str, Example]]  # the split that a row judges in, and the row


def _once(rows: Sequence[Example], name: str, found: list[Duplicate]) -> list[Example]:
    """Keep the first of equal rows, whatever label the others have."""
    first: dict[Hashable, Example] = {}
    for row in rows:
        held = first.setdefault(key(row), row)
        if held is not row:
            found.append(Duplicate("exact" if row.gold == held.gold else "conflict", row.place, name, held.place, name, 1.0))
    return list(first.values())


def _same(rows: Sequence[Example], name: str, held: Held, found: list[Duplicate]) -> list[Example]:
    twins = {key(row): (split, row) for split, row in reversed(held)}
    clear_rows = []
    for row in rows:
        if (twin := twins.get(key(row))) is None:
            clear_rows.append(row)
        else:
            found.append(Duplicate("exact", row.place, name, twin[1].place, twin[0], 1.0))
    return clear_rows


def _grouped(rows: Sequence[Example], name: str, held: Held, found: list[Duplicate]) -> list[Example]:
    """Return the rows whose group no held row has: splits that are cut keep groups whole, the user's own files may not."""
    first = {row.group: (split, row) for split, row in reversed(held) if row.group is not None}
    clear_rows = []
    for row in rows:
        if row.group is None or (twin := first.get(row.group)) is None:
            clear_rows.append(row)
        else:
            found.append(Duplicate("group", row.place, name, twin[1].place, twin[0], 0.0, row.group))
    return clear_rows


class _Near:
    """Looks for near-duplicates; a held text is hashed once, however often others are compared with it."""

    def __init__(self, text: Text, threshold: float) -> None:
        self._text, self._threshold = text, threshold
        self._held: dict[str, Sketch] = {}

    def without(self, rows: list[Example], name: str, held: Held, found: list[Duplicate]) -> list[Example]:
        """Return the rows that are not near to a held one."""
        if self._threshold <= 0 or not held or not rows:
            return rows
        judging = list(dict.fromkeys(split for split, _ in held))  # ``held`` lists split after split
        for split in judging:
            if split not in self._held:
                self._held[split] = self._sketch([row for of, row in held if of == split])
        near = nearest(joined([self._held[split] for split in judging]), self._sketch(rows), self._threshold)
        for place, (twin, score) in sorted(near.items()):
            split, row = held[twin]
            found.append(Duplicate("near", rows[place].place, name, row.place, split, round(score, 4)))
        return [row for place, row in enumerate(rows) if place not in near]

    def _sketch(self, rows: Sequence[Example]) -> Sketch:
        return sketch([self._text(row) for row in rows])
