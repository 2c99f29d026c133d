"""The stage: make changed copies, keep those that are new and lie near no row that judges, and say what became of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import lookup, rng, storage
from ...contracts import Progress, Task, silent
from ...records import Example, field_digest
from ..leaks import away, key
from ..prepare import held
from .change import Changer, Deletion, Substitution

CHUNK = 256  # rows whose copies are made, and kept against a kill, together
FILE = "augmented.jsonl"
FATES = ("kept", "duplicate", "leaked")


@dataclass(frozen=True)
class Kind:
    """One kind of augmentation, ready: ``open`` loads what it needs, when a chunk is missing."""

    name: str
    copies: int
    rows: Sequence[Example]
    open: Callable[[], Changer]


def kind(spec: Any, rows: Sequence[Example], folder: Path | None, threads: int) -> Kind:
    """Return the kind that a section of the recipe describes, over ``rows``; ``folder`` holds its model."""

    def proposer(name: str, **more: Any) -> Changer:
        opened = lookup.load(f"potstill.dataset.augment.models:open_{name}")(folder, top_k=spec.top_k, multi_piece=spec.multi_piece, **more)
        return Substitution(opened, spec.share)

    openers: Mapping[str, Callable[[], Changer]] = {
        "masked": lambda: proposer("masked", threads=threads),
        "neighbours": lambda: proposer("neighbours"),
        "deletion": lambda: Deletion(spec.share),
    }
    return Kind(spec.kind, spec.copies, rows, openers[spec.kind])


def make(
    kinds: Sequence[Kind], folder: Path, scratch: Path, *, data: Path, taken: Sequence[Example], task: Task, threshold: float, seed: int,
    progress: Progress = silent,
) -> dict[str, Any]:  # fmt: skip
    """Write ``FILE`` into ``folder`` and return the counts.

    ``taken`` are all rows that students may learn from; ``data`` is the data stage's folder, whose judging rows are compared with and
    shown to nobody; what is in ``scratch`` is not made again.
    """
    made = [line for lines in _copies(kinds, scratch, seed, progress) for line in lines]
    told: list[dict[str, Any]] = []
    seen = {key(row) for row in taken}
    fresh: dict[int, Example] = {}
    for line in made:
        row = _example(line)
        own = key(row)
        line["fate"] = "duplicate" if own in seen else "kept"
        if own not in seen:
            fresh[len(told)] = row
            seen.add(own)
        told.append(line)
    _, leaks = away(list(fresh.values()), held(data), task.text, threshold)
    near = {leak.removed: leak.kept_in for leak in leaks}
    for at, row in fresh.items():
        if row.place in near:
            told[at] |= {"fate": "leaked", "near": near[row.place]}
    text = "".join(json.dumps(line, ensure_ascii=True) + "\n" for line in told)
    storage.write_text(folder / FILE, text, point="augment")
    return counts(kinds, told)


def counts(kinds: Sequence[Kind], told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return for each kind, and in all, what became of the copies: asked = unchanged + made, made = kept + duplicate + leaked."""
    found = {}
    for one in kinds:
        fates = [line["fate"] for line in told if line["kind"] == one.name]
        asked = len(one.rows) * one.copies
        found[one.name] = {"asked": asked, "unchanged": asked - len(fates), "made": len(fates), **{fate: fates.count(fate) for fate in FATES}}
    return {"kinds": found, "total": {name: sum(kind[name] for kind in found.values()) for name in ("asked", "unchanged", "made", *FATES)}}


def load(folder: Path) -> tuple[Example, ...]:
    """Return the rows that were kept: without gold, of their source's group."""
    with (folder / FILE).open(encoding="utf-8") as file:
        return tuple(_example(line) for line in map(json.loads, file) if line["fate"] == "kept")


def _example(line: Mapping[str, Any]) -> Example:
    return Example.make(line["fields"], group=line["group"], place=line["place"])  # never gold: the copy may be of another class


def _copies(kinds: Sequence[Kind], scratch: Path, seed: int, progress: Progress) -> Iterator[list[dict[str, Any]]]:
    """Yield the copies chunk by chunk; a chunk that a killed run had finished is read back."""
    done, total = 0, sum(len(one.rows) for one in kinds)
    for one in kinds:
        changer: Changer | None = None
        for first in range(0, len(one.rows), CHUNK):
            rows = one.rows[first : first + CHUNK]
            path = scratch / f"{one.name}-{first}.json"
            if not path.is_file():
                changer = changer or one.open()
                storage.write_json(path, _changed(one, changer, rows, seed), point="augment.chunk")
            yield storage.read_json(path)
            done += len(rows)
            progress(done, total, one.name)


def _changed(one: Kind, changer: Changer, rows: Sequence[Example], seed: int) -> list[dict[str, Any]]:
    """Return the copies of ``rows`` that differ from their source; each text of a row is changed by a stream of its own."""
    places = [(row, name, value) for row in rows for name, value in row.fields.items() if isinstance(value, str)]
    streams = [[rng.stream(seed, "augment", one.name, row.id, name, copy) for copy in range(one.copies)] for row, name, _ in places]
    changed: dict[str, dict[str, list[str]]] = {}
    for (row, name, _), made in zip(places, changer.change([text for _, _, text in places], streams)):
        changed.setdefault(row.id, {})[name] = made
    found = []
    for row in rows:
        for copy in range(one.copies):
            fields = {**row.fields, **{name: made[copy] for name, made in changed.get(row.id, {}).items()}}
            if fields != dict(row.fields):
                place = f"{row.place} {one.name} {copy + 1}"
                found.append({
                    "id": field_digest(fields), "fields": fields, "gold": None, "group": row.group, "place": place, "kind": one.name, "copy": copy + 1,
                    "source": {"id": row.id, "place": row.place, "fields": dict(row.fields)},
                })  # fmt: skip
    return found
