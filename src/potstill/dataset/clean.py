"""From rows to examples: columns are checked, rows that can't be used are set aside with their reason, and counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .. import lookup, storage
from ..contracts import BadRow, Task
from ..errors import DataError
from ..records import Example
from ..runlog import RunLog
from .read import ELSEWHERE, Source, key, read
from .rows import Row, Table

if TYPE_CHECKING:
    from ..recipe.data import Data as Spec

LOOKED_AT = 100  # rows whose keys are taken for the columns of a file that names none
FREE = ("unlabeled", ELSEWHERE)  # splits whose files need no labels, groups and slices
WORST = 3  # reasons that are told when too many rows can't be used


@dataclass(frozen=True)
class Dropped:
    """A row that can't be used."""

    place: str
    split: str
    reason: str
    row: str  # its beginning


@dataclass
class Cleaned:
    """What the files hold: examples by the key of the recipe that named the file, and all else that was seen."""

    parts: dict[str, list[Example]]
    dropped: list[Dropped] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    without_label: list[DataError] = field(default_factory=list)  # files that lack the label's default column

    @property
    def reasons(self) -> dict[str, int]:
        return dict(Counter(row.reason for row in self.dropped).most_common())


def clean(files: Sequence[Source], spec: Spec, task: Task, log: RunLog) -> Cleaned:
    """Read all ``files``. Raises :class:`DataError` for files and columns that are not there or can't be read."""
    cleaned = Cleaned({source.split: [] for source in files})
    for at, source in enumerate(files):
        before = len(cleaned.dropped)
        examples = _examples(source, spec, task, cleaned, partial(_progress, log, at, len(files) + 1))
        if not examples and len(cleaned.dropped) == before:
            raise DataError("the file has no rows", place=f"{key(source.split)}: {source.path}", remedy="name another file, or fill this one")
        cleaned.parts[source.split] += examples
        cleaned.sources.append({
            "split": source.split, "file": source.name, "sha256": storage.sha256_file(source.path), "bytes": source.path.stat().st_size,
            "rows": len(examples), "dropped": len(cleaned.dropped) - before,
        })  # fmt: skip
    _check_labels(cleaned, files, log)
    return cleaned


def stop_if_too_many(cleaned: Cleaned, share: float, listed: str) -> None:
    """Raise :class:`DataError` when of one key's rows more than ``share`` can't be used; ``listed`` says where all of them stand."""
    for split, examples in cleaned.parts.items():
        dropped = [row for row in cleaned.dropped if row.split == split]
        total = len(examples) + len(dropped)
        if len(dropped) <= share * total:
            continue
        places = {row.reason: row.place for row in reversed(dropped)}
        counts = Counter(row.reason for row in dropped).most_common(WORST)
        worst = "; ".join(f"{reason}: {count:,} (first at {places[reason]})" for reason, count in counts)
        raise DataError(
            f"{len(dropped):,} of {total:,} rows can't be used, more than the {share:.4g} that data.max_dropped allows: {worst}",
            place=key(split), remedy=f"mend the rows ({listed} lists them), or allow more: --set data.max_dropped=0.2",
        )  # fmt: skip


def _examples(source: Source, spec: Spec, task: Task, cleaned: Cleaned, progress: Callable[[float], None]) -> list[Example]:
    table = _with_columns(read(source))
    columns = _columns(table, source, spec, task, cleaned)
    examples = []
    for number, row in enumerate(table.rows):
        if number % 500 == 0:
            progress(table.share())
        place = f"{source.name}:{row.line}"
        try:
            if row.values is None:
                raise BadRow(row.reason)
            example = task.read(row.values, columns, place)
        except BadRow as bad:
            cleaned.dropped.append(Dropped(place, source.split, str(bad), row.raw or _beginning(row)))
            continue
        examples.append(replace(example, columns=MappingProxyType({name: _plain(row.values.get(name)) for name in spec.slices})))
    return examples


def _progress(log: RunLog, done: int, total: int, share: float) -> None:
    log.progress("data", done + share, total, "reading")


def _with_columns(table: Table) -> Table:
    """Return the table with its columns: those that its first rows have, where the format names none."""
    if table.columns is not None:
        return table
    first = list(islice(table.rows, LOOKED_AT))
    seen = dict.fromkeys(name for row in first if row.values is not None for name in row.values)
    return Table(tuple(seen), chain(first, table.rows), table.share)


def _columns(table: Table, source: Source, spec: Spec, task: Task, cleaned: Cleaned) -> dict[str, str]:
    """Return role -> column as it applies to one file; the pool, and rows of another kind, need neither labels nor groups.

    Raises :class:`DataError` for a column that is not there.
    """
    present = tuple(table.columns or ())
    columns = dict(task.columns(spec.columns, present))
    if not present:  # every row that was looked at is bad: each has its own reason
        return columns
    gold = next((role for role in ("label", "labels") if role in columns), "")
    if source.split in FREE:
        free = [role for role in (gold, "group") if columns.get(role) not in present]
        for role in (*free, gold) if source.split == "unlabeled" else free:
            columns.pop(role, None)
    elif gold and gold not in spec.columns and columns[gold] not in present:
        cleaned.without_label.append(_no_column(f"columns.{gold}", columns.pop(gold), present, source))
    for role, column in columns.items():
        if column not in present:
            raise _no_column(f"columns.{role}", column, present, source)
    for column in spec.slices if source.split not in FREE else ():
        if column not in present:
            raise _no_column("slices", column, present, source)
    return columns


def _no_column(role: str, column: str, present: Sequence[str], source: Source) -> DataError:
    near = lookup.did_you_mean(column, present)
    return DataError(
        f"there is no column '{column}' (data.{role}); there are: {', '.join(present)}", place=str(source.path),
        remedy=f"{near if near.startswith('did') else 'name the right one'}: data.{role}",
    )  # fmt: skip


def _check_labels(cleaned: Cleaned, files: Sequence[Source], log: RunLog) -> None:
    """Some files may lack labels; where all do, it is the column's name that is wrong."""
    if cleaned.without_label and len(cleaned.without_label) == sum(source.split != "unlabeled" for source in files):
        raise cleaned.without_label[0]
    for error in cleaned.without_label:
        log.warn(f"{error.place}: its rows have no gold labels, for {error.message}")


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _beginning(row: Row) -> str:
    short = {str(name): value if isinstance(value, int | float | None) else str(value)[:200] for name, value in (row.values or {}).items()}
    return json.dumps(short, ensure_ascii=True)[:200]
