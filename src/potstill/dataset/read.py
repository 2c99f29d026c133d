"""From files to rows: JSONL, CSV, TSV, Parquet, Arrow (a `datasets` folder); the first three may be gzipped.

A row that can't be read is a row too, with the reason; a file that can't be read is a :class:`DataError`. Text is read
line by line in bounded memory and decoded line by line, so that one bad byte costs one row.
"""

from __future__ import annotations

import difflib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import DataError
from . import columnar, delimited
from .rows import GZIP, TOO_LONG, Line, Lines, Row, Table

Reader = Callable[[Path], Table]
ELSEWHERE: Final = "out_of_domain"  # the split of rows that are neither learnt from nor judged by, but looked at for robustness


@dataclass(frozen=True)
class Source:
    """One file of data, and the split that it is for."""

    split: str
    path: Path
    name: str  # as places show it: the file's, with as many of its folders as tell it from the others

    @property
    def kind(self) -> str:
        """The suffix that says how to read it: ".jsonl", ".csv.gz"."""
        suffix = self.path.suffix.lower()
        return Path(self.path.stem).suffix.lower() + suffix if suffix == GZIP else suffix


def key(split: str) -> str:
    """Return the recipe's key that names the files of ``split``."""
    return "robustness.out_of_domain" if split == ELSEWHERE else f"data.{split}"


def sources(given: Mapping[str, str | Sequence[str] | None]) -> list[Source]:
    """Return the files behind the keys of the recipe (split -> paths). Raises :class:`DataError` for what is missing, empty or unknown."""
    lists = {split: [] if paths is None else [paths] if isinstance(paths, str) else list(paths) for split, paths in given.items()}
    found = [(split, path) for split, paths in lists.items() for name in paths for path in _files(Path(name), key(split))]
    names = _names([path for _, path in found])
    made = [Source(split, path, names[path]) for split, path in found]
    for source in made:
        _check(source)
    return made


def _check(source: Source) -> None:
    place = f"{key(source.split)}: {source.path}"
    if source.kind not in READERS:
        raise DataError(f"'{source.path.name}' is of no known kind", place=place, remedy=f"known: {', '.join(READERS)}")
    if source.path.stat().st_size == 0:
        raise DataError("the file is empty", place=place, remedy="name another file, or fill this one")
    if not os.access(source.path, os.R_OK):
        raise DataError("the file may not be read", place=place, remedy="give yourself the right to read it")


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the shortest ends of the paths that tell them apart."""
    names, deep = {path: path.name for path in paths}, 1
    while len(set(names.values())) < len(names):
        deep += 1
        shared = Counter(names.values())
        names = {path: "/".join(path.parts[-deep:]) if shared[name] > 1 else name for path, name in names.items()}
    return names


def read(source: Source) -> Table:
    """Open a source: its columns where the format names them, and its rows. Raises :class:`DataError`."""
    return READERS[source.kind](source.path)


def _files(path: Path, place: str) -> list[Path]:
    if path.is_dir():
        return columnar.saved_files(path, place)
    if not path.is_file():
        raise DataError("there is no such file", place=f"{place}: {path}", remedy=_nearest(path))
    return [path]


def _nearest(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder '{folder}' either"
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    near = difflib.get_close_matches(path.name, names, n=3)
    listed = near or [name for name in names if any(name.lower().endswith(kind) for kind in READERS)][:10]
    return f"near it: {', '.join(listed)}" if listed else f"'{folder}' holds no data files"


# -------------------------------------------------------------------------------------------------------------- JSONL
def _jsonl(path: Path) -> Table:
    lines = Lines(path)
    return Table(None, _json_rows(path, lines), lambda: lines.share)


def _json_rows(path: Path, lines: Lines) -> Iterator[Row]:
    blank = True
    for line in lines:
        if not line.data.strip() and not line.cut:
            continue
        if blank and not line.cut and line.data.lstrip().startswith(b"["):
            remedy = f"one object a line is wanted: jq -c '.[]' '{path.name}' > rows.jsonl"
            raise DataError("this is one JSON array, not JSONL", place=str(path), remedy=remedy)
        blank = False
        yield _json_row(line)


def _json_row(line: Line) -> Row:
    if line.cut:
        return Row.bad(line.number, TOO_LONG, line.data)
    try:
        values = json.loads(line.data.decode())
    except UnicodeDecodeError:
        return Row.bad(line.number, "invalid UTF-8", line.data)
    except (ValueError, RecursionError):
        return Row.bad(line.number, "invalid JSON", line.data)
    return Row(line.number, values) if isinstance(values, dict) else Row.bad(line.number, "not a JSON object", line.data)


READERS: Final[Mapping[str, Reader]] = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz"), _jsonl),
    **dict.fromkeys((".csv", ".csv.gz"), delimited.csv_table),
    **dict.fromkeys((".tsv", ".tsv.gz"), delimited.tsv_table),
    ".parquet": columnar.parquet_table,
    ".arrow": columnar.arrow_table,
}
