"""The stage: read, clean, split, check for leaks, seal, write; and read it back."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .. import lookup, storage
from ..contracts import Task
from ..errors import DataError
from ..records import Example, SealedSplit, Split
from ..runlog import RunLog
from .card import card
from .clean import clean, stop_if_too_many
from .leaks import HELD, clear
from .read import ELSEWHERE, key, sources
from .split import CUT, cut, first_by_hash

if TYPE_CHECKING:
    from ..recipe.data import Data as Spec

SPLITS = ("train", "validation", "calibration", "test", "unlabeled")


@dataclass(frozen=True)
class Dataset:
    """The rows of a run by what they may be used for, and their card."""

    train: Split
    validation: Split
    calibration: Split
    unlabeled: Split
    test: SealedSplit
    card: dict[str, Any]


def prepare(spec: Spec, task: Task, folder: Path, log: RunLog) -> None:
    """Fill ``folder`` from the files that ``spec`` names.

    Raises :class:`DataError` for files that can't be read, columns that are not there, too many unusable rows, labels that can't
    be learnt.
    """
    files = sources({name: getattr(spec, name) for name in SPLITS})
    cleaned = clean(files, spec, task, log)
    _write(folder / "dropped.jsonl", map(asdict, cleaned.dropped))
    stop_if_too_many(cleaned, spec.max_dropped, str(folder / "dropped.jsonl"))

    shares = {name: getattr(spec.split, name) for name in CUT if getattr(spec, name) is None}
    parts = {name: cleaned.parts.get(name, []) for name in SPLITS} | cut(cleaned.parts["train"], shares, spec.split.seed)
    parts, duplicates = clear(
        parts, task.text, spec.near_duplicates, lambda done, total, detail: log.progress("data", len(files) + done / total, len(files) + 1, detail)
    )
    _write(folder / "duplicates.jsonl", map(asdict, duplicates))
    parts["train"] = first_by_hash(parts["train"], spec.limit.train)
    parts["unlabeled"] = [replace(row, gold=None) for row in first_by_hash(parts["unlabeled"], spec.limit.unlabeled)]

    labels = _labels(parts, task)
    for name in SPLITS:
        _write(folder / f"{name}.jsonl", map(_plain, parts[name]))
    found = card(parts, labels, duplicates, cleaned, spec, task.text)
    storage.write_json(folder / "card.json", found)
    _tell(found, log)


def load(folder: Path) -> Dataset:
    """Return what ``prepare`` wrote; the file of the test rows is not read before the split is opened."""
    found = storage.read_json(folder / "card.json")
    splits = {name: Split(name, _load(folder / f"{name}.jsonl")) for name in SPLITS if name != "test"}  # type: ignore[arg-type]
    sealed = SealedSplit(found["digests"]["test"], found["counts"]["test"], lambda: _load(folder / "test.jsonl"))
    return Dataset(splits["train"], splits["validation"], splits["calibration"], splits["unlabeled"], sealed, found)


def held(folder: Path) -> dict[str, tuple[Example, ...]]:
    """Return the rows that judge, the test rows too: for the leak check alone, as ``prepare`` has them; nothing that chooses may see them."""
    return {name: _load(folder / f"{name}.jsonl") for name in HELD}


# ---------------------------------------------------------------------------------------------------- rows of another kind
def prepare_elsewhere(paths: str | Sequence[str], spec: Spec, task: Task, folder: Path, log: RunLog, *, labels: Sequence[str], learnt: Collection[str]) -> None:
    """Fill ``folder`` from files of rows of another kind, that nothing learns from and nothing is decided by.

    Rows whose ids are in ``learnt`` (train, pool, validation, calibration) are left out and counted.
    Raises :class:`DataError` as the other files do, for a label that is none of ``labels``, and where no row is left.
    """
    cleaned = clean(sources({ELSEWHERE: paths}), spec, task, log)
    _write(folder / "dropped.jsonl", map(asdict, cleaned.dropped))
    stop_if_too_many(cleaned, spec.max_dropped, str(folder / "dropped.jsonl"))
    rows = [row for row in cleaned.parts[ELSEWHERE] if row.id not in learnt]
    if seen := len(cleaned.parts[ELSEWHERE]) - len(rows):
        log.warn(f"{seen:,} rows of another kind were taken out because they stand, word for word, among the rows to learn or choose by")
    if not rows:
        raise DataError("no row is left", place=key(ELSEWHERE), remedy="name a file of rows that are not in the other files")
    if unknown := {label: row.place for row in reversed(rows) for label in row.labels if label not in labels}:
        label, place = min(unknown.items())
        near = lookup.did_you_mean(label, labels)
        remedy = f"{near}; mend it, or leave the column of the labels out of the file: then agreement and confidence are told"
        raise DataError(f"{len(unknown)} labels are unknown to training: '{label}' ({place}) ...", place=key(ELSEWHERE), remedy=remedy)
    _write(folder / "rows.jsonl", map(_plain, rows))


def load_elsewhere(folder: Path) -> tuple[Example, ...]:
    """Return what ``prepare_elsewhere`` wrote."""
    return _load(folder / "rows.jsonl")


# ------------------------------------------------------------------------------------------------------------- checking
def _labels(parts: Mapping[str, Sequence[Example]], task: Task) -> tuple[str, ...]:
    """Return the labels to be learnt. Without gold in train they are those of the rows that judge."""
    for name in ("validation", "test"):
        if not parts[name]:
            raise DataError(f"there are no {name} rows", place=f"data.{name}", remedy=f"give data.{name} a file, or more rows to cut it from")
    if not parts["train"] and not parts["unlabeled"]:
        remedy = "give more rows; those that stand in test, validation or calibration too, or share a group with them, don't count"
        raise DataError("there are no rows to learn from", place="data.train", remedy=remedy)
    taught = [row for row in parts["train"] if row.gold is not None]
    judged = {name: [row for row in parts[name] if row.gold is not None] for name in HELD}
    head = task.head(taught or [row for rows in judged.values() for row in rows])
    for name, rows in judged.items():
        unknown = {label: row.place for row in reversed(rows) for label in row.labels if label not in head.labels}
        if unknown:
            listed = ", ".join(f"'{label}' ({place})" for label, place in sorted(unknown.items())[:5])
            near = lookup.did_you_mean(min(unknown), head.labels)
            remedy = f"{near}; add training rows of them, or mend the labels, or leave the rows out"
            raise DataError(f"{len(unknown)} labels of {name} are unknown to training: {listed}", place=f"data.{name}", remedy=remedy)
    return head.labels


def _tell(found: Mapping[str, Any], log: RunLog) -> None:
    log.say("rows: " + ", ".join(f"{name} {count:,}" for name, count in found["counts"].items() if count))
    for reason, count in found["dropped"].items():
        log.warn(f"{count:,} rows left out: {reason} (dropped.jsonl lists them)")
    if found["leaks"]:
        log.warn(f"{found['leaks']:,} rows were taken out because they stand, word for word or nearly, among the rows that judge")
    if groups := found["straddling_groups"]:
        rows = found["duplicates"]["group"]
        log.warn(f"{rows:,} rows were taken out because their {groups:,} groups are among the rows that judge (duplicates.jsonl lists them)")
    if conflicts := found["duplicates"].get("conflict"):
        log.warn(f"{conflicts:,} training rows repeat another with a different label: the first was kept")
    if (again := found["repeated"]["test"]) > 0.05 * found["counts"]["test"]:
        log.warn(f"{again:,} test rows repeat others: they are kept, but intervals take rows for independent")
    for name, labels in found["missing_labels"].items():
        log.warn(f"{name} has no row of: {', '.join(labels[:10])}")
    if rare := found["rare_labels"]:
        log.warn(f"a single training row each have: {', '.join(rare[:10])}")


# -------------------------------------------------------------------------------------------------------------- on disk
def _plain(example: Example) -> dict[str, Any]:
    return {
        "id": example.id, "fields": dict(example.fields), "gold": example.gold, "group": example.group, "place": example.place,
        "columns": dict(example.columns),
    }  # fmt: skip


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with storage.disk_errors(path), path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)


def read_split(folder: Path, name: str) -> tuple[Example, ...]:
    """Return a prepared split's rows, those of test too: for the leak check alone. What judges or learns goes through :func:`load`."""
    return _load(folder / f"{name}.jsonl")


def _load(path: Path) -> tuple[Example, ...]:
    """Return a split's rows. Ids are made anew from the fields, so that the digest of the test rows covers these."""
    with path.open(encoding="utf-8") as file:
        return tuple(_example(json.loads(line)) for line in file)


def _example(row: Mapping[str, Any]) -> Example:
    gold = tuple(row["gold"]) if isinstance(row["gold"], list) else row["gold"]
    return Example.make(row["fields"], gold=gold, group=row["group"], place=row["place"], columns=row["columns"] or MappingProxyType({}))
