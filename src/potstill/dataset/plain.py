"""Plain text for general distillation: read, cleaned, kept clear of the rows that judge as the pool is; written, and read back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from .. import storage
from ..contracts import BadRow, Task
from ..errors import DataError
from ..records import Example
from ..runlog import RunLog
from .leaks import HELD, clear
from .prepare import read_split
from .read import READERS, Source, read
from .rows import TOO_LONG, Lines, Row
from .split import first_by_hash

LINES: Final = (".txt", ".txt.gz")  # a line a text
COLUMN: Final = "text"  # of all other kinds


def prepare(paths: Sequence[str], task: Task, data: Path, folder: Path, log: RunLog, *, near_duplicates: float, max_rows: int | None) -> None:
    """Fill ``folder`` with the texts of ``paths`` that are neither the same as, nor near to, a row that judges in ``data``, a prepared folder.

    Empty texts and rows that can't be read are left out and counted. Raises :class:`DataError` for files that can't be read, and where
    nothing is left. The test rows are looked at here as the pool's check looks at them: to leave rows out, before anything is learnt.
    """
    dropped: Counter[str] = Counter()
    rows = [row for number, path in enumerate(paths) for row in _texts(Path(path), task, dropped, log, number, len(paths) + 1)]
    held = {name: read_split(data, name) for name in HELD}
    kept, duplicates = clear(
        {**held, "train": [], "unlabeled": rows}, task.text, near_duplicates,
        lambda done, total, detail: log.progress("general.text", len(paths) + done / total, len(paths) + 1, detail),
    )  # fmt: skip
    ours = [duplicate for duplicate in duplicates if duplicate.removed_from == "unlabeled"]
    leaks = sum(duplicate.kept_in in HELD for duplicate in ours)
    left = first_by_hash(kept["unlabeled"], max_rows)
    if not left:
        raise DataError("there is no plain text to learn from", place=", ".join(paths), remedy="name files with a text a line, or a column `text`")
    for name, lines in (("rows", ([row.place, row.fields[COLUMN]] for row in left)), ("duplicates", map(asdict, ours))):
        with storage.disk_errors(folder), (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=True) + "\n" for line in lines)
    storage.write_json(
        folder / "result.json",
        {
            "rows": len(left), "read": len(rows), "dropped": dict(dropped.most_common()), "leaks": leaks, "repeated": len(ours) - leaks,
            "digest": storage.digest([row.id for row in left]),
        },
    )  # fmt: skip
    log.say(f"plain text: {len(left):,} rows of {len(rows):,}" + (f", {leaks:,} taken out because they stand among the rows that judge" if leaks else ""))


def load(folder: Path) -> list[Example]:
    """Return the rows that :func:`prepare` wrote."""
    with (folder / "rows.jsonl").open(encoding="utf-8") as file:
        return [Example.make({COLUMN: text}, place=place) for place, text in map(json.loads, file)]


def _texts(path: Path, task: Task, dropped: Counter[str], log: RunLog, number: int, total: int) -> Iterator[Example]:
    for at, (row, share) in enumerate(_rows(path)):
        if at % 500 == 0:
            log.progress("general.text", number + share, total, "reading")
        try:
            if row.values is None:
                raise BadRow(row.reason)
            yield task.read(row.values, {COLUMN: COLUMN}, f"{path.name}:{row.line}")
        except BadRow as bad:
            dropped[str(bad)] += 1


def _rows(path: Path) -> Iterator[tuple[Row, float]]:
    """Yield a file's rows, and how much of it has been read."""
    source = Source("general", path, path.name)
    if source.kind in READERS:
        table = read(source)
        yield from ((row, table.share()) for row in table.rows)
    elif source.kind in LINES:
        lines = Lines(path)
        for line in lines:
            if line.data.strip():
                yield (Row.bad(line.number, TOO_LONG, line.data) if line.cut else _line(line.number, line.data)), lines.share
    else:
        raise DataError(f"'{path.name}' is of no known kind", place=str(path), remedy=f"known: {', '.join((*LINES, *READERS))}")


def _line(number: int, data: bytes) -> Row:
    try:
        values: Mapping[str, Any] = {COLUMN: data.decode().strip()}
    except UnicodeDecodeError:
        return Row.bad(number, "invalid UTF-8", data)
    return Row(number, values)
