"""From files to rows: JSONL, CSV, TSV, Parquet, Arrow (a `datasets` folder); the first three may be gzipped.

A row that can't be read is a row too, with the reason; a file that can't be read is a :class:`DataError`. Text is read
line by line in bounded memory and decoded line by line, so that one bad byte costs one row.
"""

from __future__ import annotations

import difflib
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from ..errors import DataError
from . import columnar, delimited
from .rows import MAX_LINE, Line, Lines, Row, Table

Reader = Callable[[Path], Table]
GZIP: Final = ".gz"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Source:
    """One file of data, and the split that it is for."""

    split: str
    path: Path

    @property
    def kind(self) -> str:
        """The suffix that says how to read it: ".jsonl", ".csv.gz"."""
        suffix = self.path.suffix.lower()
        return Path(self.path.stem).suffix.lower() + suffix if suffix == GZIP else suffix


def sources(split: str, given: str | Sequence[str] | None) -> list[Source]:
    """Return the files behind one key of the recipe. Raises :class:`DataError` for what is missing, empty or unknown."""
    names = [] if given is None else [given] if isinstance(given, str) else list(given)
    found = [Source(split, path) for name in names for path in _files(Path(name), f"data.{split}")]
    for source in found:
        if source.kind not in READERS:
            known = ", ".join(READERS)
            raise DataError(f"'{source.path.name}' is of no known kind", place=f"data.{split}: {source.path}", remedy=f"known: {known}")
        if source.path.stat().st_size == 0:
            raise DataError("the file is empty", place=f"data.{split}: {source.path}", remedy="name another file, or fill this one")
    return found


def read(source: Source) -> Table:
    """Open a source: its columns where the format names them, and its rows."""
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


# -------------------------------------------------------------------------------------------------------------- lines
@dataclass
class _FileLines:
    """The lines of a file, plain or gzipped. ``share`` says how much of it has been read."""

    path: Path
    share: float = field(default=0.0, init=False)

    def __iter__(self) -> Iterator[Line]:
        size = self.path.stat().st_size
        with self.path.open("rb") as raw:
            unpacked: IO[bytes] = gzip.open(raw) if self.path.suffix.lower() == GZIP else raw  # type: ignore[assignment]
            try:
                for line in _cut(unpacked):
                    if line.number == 1:
                        line = self._first(line)
                    if line.number % 256 == 0:
                        self.share = min(1.0, raw.tell() / size)
                    yield line
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise DataError(f"the gzip file is damaged: {error}", place=str(self.path), remedy="fetch or write it again") from error
        self.share = 1.0

    def _first(self, line: Line) -> Line:
        if line.data.startswith(_UTF16):
            command = f"iconv -f UTF-16 -t UTF-8 '{self.path.name}'"
            raise DataError("the file is UTF-16, not UTF-8", place=str(self.path), remedy=f"convert it: {command}")
        return Line(line.number, line.data.removeprefix(b"\xef\xbb\xbf"), line.cut)


def _cut(file: IO[bytes]) -> Iterator[Line]:
    """Yield lines; of one longer than ``MAX_LINE`` only the quotes are looked at, the rest is passed over unread."""
    number = 0
    while data := file.readline(MAX_LINE):
        number += 1
        cut = len(data) == MAX_LINE and not data.endswith(b"\n")
        if cut:
            quotes, head = data.count(b'"'), data[:200]
            while data and not data.endswith(b"\n"):
                data = file.readline(MAX_LINE)
                quotes += data.count(b'"')
            data = b'"' * (quotes % 2) + head.replace(b'"', b"")  # a quote left open stays open for the lines after it
        yield Line(number, data, cut)


# -------------------------------------------------------------------------------------------------------------- JSONL
def _jsonl(path: Path) -> Table:
    lines = _FileLines(path)
    return Table(None, _json_rows(path, lines), lambda: lines.share)


def _json_rows(path: Path, lines: Lines) -> Iterator[Row]:
    blank = True
    for line in lines:
        if not line.data.strip():
            continue
        if blank and line.data.lstrip().startswith(b"["):
            remedy = f"one object a line is wanted: jq -c '.[]' '{path.name}' > rows.jsonl"
            raise DataError("this is one JSON array, not JSONL", place=str(path), remedy=remedy)
        blank = False
        yield _json_row(f"{path.name}:{line.number}", line)


def _json_row(place: str, line: Line) -> Row:
    if line.cut:
        return Row.bad(place, "text over 1 MB", line.data)
    try:
        values = json.loads(line.data.decode())
    except UnicodeDecodeError:
        return Row.bad(place, "invalid UTF-8", line.data)
    except (ValueError, RecursionError):
        return Row.bad(place, "invalid JSON", line.data)
    return Row(place, values) if isinstance(values, dict) else Row.bad(place, "not a JSON object", line.data)


READERS: Final[Mapping[str, Reader]] = {
    ".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _jsonl, ".jsonl.gz": _jsonl, ".ndjson.gz": _jsonl, ".json.gz": _jsonl,
    ".csv": lambda path: delimited.csv_table(path, _FileLines(path)), ".csv.gz": lambda path: delimited.csv_table(path, _FileLines(path)),
    ".tsv": lambda path: delimited.tsv_table(path, _FileLines(path)), ".tsv.gz": lambda path: delimited.tsv_table(path, _FileLines(path)),
    ".parquet": columnar.parquet_table, ".arrow": columnar.arrow_table,
}  # fmt: skip


def snippet(values: Any) -> str:
    """Return the beginning of a row, for people."""
    return json.dumps(values, ensure_ascii=True, default=str)[:200]
