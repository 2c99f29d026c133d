"""The stage: read, clean, split, check for leaks, seal, write; and read it back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .. import lookup, storage
from ..contracts import BadRow, Task
from ..errors import DataError
from ..records import Example, SealedSplit, Split
from ..runlog import RunLog
from .card import card
from .clean import without_duplicates
from .read import Source, read, snippet, sources
from .rows import Row, Table
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
    files = [source for name in SPLITS for source in sources(name, getattr(spec, name))]
    parts: dict[str, list[Example]] = {name: [] for name in SPLITS}
    dropped: list[tuple[Row, str]] = []
    noted = []
    for at, source in enumerate(files):
        rows = _examples(source, spec, task, dropped, lambda share, at=at: log.progress("data", at + share, len(files), "reading"))
        parts[source.split] += rows
        noted.append({"split": source.split, "file": source.path.name, "sha256": storage.sha256_file(source.path), "rows": len(rows)})
    _stop_if_too_many(dropped, sum(len(rows) for rows in parts.values()), spec.max_dropped)
    shares = {name: getattr(spec.split, name) for name in CUT if getattr(spec, name) is None}
    made = cut(parts["train"], shares, spec.split.seed)
    parts |= {name: made[name] for name in (*shares, "train")}
    log.progress("data", len(files), len(files), "looking for duplicates")
    parts, duplicates = without_duplicates(parts, task.text, spec.near_duplicates)
    parts["train"] = first_by_hash(parts["train"], spec.limit.train)
    parts["unlabeled"] = [replace(row, gold=None) for row in first_by_hash(parts["unlabeled"], spec.limit.unlabeled)]
    labels = _labels(parts, task)
    found = card(parts, labels, duplicates, Counter(reason for _, reason in dropped), noted, spec.license, spec.source, task.text)
    for name, examples in parts.items():
        _write(folder / f"{name}.jsonl", (_plain(example) for example in examples))
    _write(folder / "dropped.jsonl", ({"place": row.place, "reason": reason, "row": row.raw or snippet(row.values)} for row, reason in dropped))
    _write(folder / "duplicates.jsonl", (asdict(duplicate) for duplicate in duplicates))
    storage.write_json(folder / "card.json", found)
    _tell(found, log)


def _examples(source: Source, spec: Spec, task: Task, dropped: list[tuple[Row, str]], progress: Any) -> list[Example]:
    table = read(source)
    columns = dict(task.columns(spec.columns))
    if source.split == "unlabeled":
        columns.pop("label", None)
    elif table.columns is not None and columns.get("label") not in (None, *table.columns) and "label" not in spec.columns:
        columns.pop("label")  # the default column is not there: rows without gold
    _check_columns(table, source, columns)
    examples = []
    for number, row in enumerate(table.rows):
        if number % 500 == 0:
            progress(table.share())
        if row.values is None:
            dropped.append((row, row.reason))
            continue
        if number == 0 and table.columns is None:
            _check_columns(replace(table, columns=list(row.values)), source, columns)
        try:
            example = task.read(row.values, columns, row.place)
        except BadRow as bad:
            dropped.append((row, str(bad)))
            continue
        examples.append(replace(example, columns=MappingProxyType({name: str(row.values.get(name, "")) for name in spec.slices})))
    if not examples and not dropped:
        raise DataError("the file has no rows", place=f"data.{source.split}: {source.path}", remedy="name another file, or fill this one")
    return examples


def _check_columns(table: Table, source: Source, columns: Mapping[str, str]) -> None:
    """Raise unless every column that a role names is there; of files whose rows name their own, the first row speaks for all."""
    for role, column in columns.items():
        if table.columns is not None and column not in table.columns:
            raise DataError(
                f"there is no column '{column}' (for {role}); there are: {', '.join(table.columns)}", place=str(source.path),
                remedy=f"{lookup.did_you_mean(column, table.columns)} say so: data.columns.{role}",
            )  # fmt: skip


def _stop_if_too_many(dropped: Sequence[tuple[Row, str]], kept: int, share: float) -> None:
    total = kept + len(dropped)
    if not dropped or len(dropped) <= share * total:
        return
    reasons = Counter(reason for _, reason in dropped)
    places = {reason: row.place for row, reason in reversed(dropped)}
    worst = "; ".join(f"{reason}: {count:,} (first at {places[reason]})" for reason, count in reasons.most_common(3))
    raise DataError(
        f"{len(dropped):,} of {total:,} rows can't be used, more than the {share:.0%} that data.max_dropped allows: {worst}",
        remedy="mend the rows, or allow more: --set data.max_dropped=0.2",
    )


def _labels(parts: Mapping[str, Sequence[Example]], task: Task) -> tuple[str, ...]:
    """Return the labels to be learnt. Without gold in train they are those of the rows that judge."""
    taught = [row for row in parts["train"] if row.gold is not None]
    judged = [row for name in ("validation", "calibration", "test") for row in parts[name] if row.gold is not None]
    for name in ("validation", "test"):
        if not parts[name]:
            raise DataError(f"there are no {name} rows", remedy=f"give data.{name} a file, or more rows to cut it from")
    if not parts["train"] and not parts["unlabeled"]:
        raise DataError("there are no rows to learn from", remedy="give data.train more rows")
    head = task.head(taught or judged)
    unknown = {str(row.gold): row.place for row in reversed(judged) if row.gold not in head.labels}
    if unknown:
        listed = ", ".join(f"'{label}' ({place})" for label, place in sorted(unknown.items())[:5])
        raise DataError(
            f"labels that no training row has: {listed}",
            remedy=f"add training rows of them, or mend the labels; known: {', '.join(head.labels[:20])}",
        )
    return head.labels


def _tell(found: Mapping[str, Any], log: RunLog) -> None:
    log.say("rows: " + ", ".join(f"{name} {count:,}" for name, count in found["counts"].items() if count))
    for reason, count in found["dropped"].items():
        log.warn(f"{count:,} rows left out: {reason} (dropped.jsonl lists them)")
    if found["leaks"]:
        log.warn(f"{found['leaks']:,} rows were taken out because they stand, word for word or nearly, among the rows that judge")
    for name, labels in found["missing_labels"].items():
        log.warn(f"{name} has no row of: {', '.join(labels[:10])}")
    if found["straddling_groups"]:
        log.warn(f"{found['straddling_groups']:,} groups stand in the test file and among the rows to learn from: quality on new groups may be lower")


# -------------------------------------------------------------------------------------------------------------- on disk
def _plain(example: Example) -> dict[str, Any]:
    return {
        "id": example.id, "fields": dict(example.fields), "gold": example.gold, "group": example.group, "place": example.place,
        "columns": dict(example.columns),
    }  # fmt: skip


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with storage.disk_errors(path), path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)


def _load(path: Path) -> tuple[Example, ...]:
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return tuple(Example(row["id"], MappingProxyType(row["fields"]), row["gold"], row["group"], row["place"], MappingProxyType(row["columns"])) for row in rows)


def load(folder: Path) -> Dataset:
    """Return what ``prepare`` wrote; the test rows stay sealed."""
    found = storage.read_json(folder / "card.json")
    splits = {name: Split(name, _load(folder / f"{name}.jsonl")) for name in SPLITS if name != "test"}  # type: ignore[arg-type]
    sealed = SealedSplit(found["digests"]["test"], found["counts"]["test"], lambda: _load(folder / "test.jsonl"))
    return Dataset(splits["train"], splits["validation"], splits["calibration"], splits["unlabeled"], sealed, found)
