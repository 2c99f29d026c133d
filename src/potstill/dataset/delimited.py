"""CSV and TSV with a header line.

In CSV quoted fields may hold commas and line ends (RFC 4180). In TSV one line is one row, and a quote is a letter like others, except
around a whole field: texts with stray quotes are far commoner there than fields with line ends.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError
from .rows import MAX_LINE, TOO_LONG, Line, Lines, Row, Table


class Record(NamedTuple):
    """The cells that begin on line ``first`` and end on line ``last``, or the reason why there are none."""

    first: int
    last: int
    cells: list[str]
    reason: str = ""
    raw: str = ""


def csv_table(path: Path) -> Table:
    lines = Lines(path)
    return _table(path, lines, _csv_records(path, lines))


def tsv_table(path: Path) -> Table:
    lines = Lines(path)
    return _table(path, lines, _tsv_records(lines))


def _table(path: Path, lines: Lines, records: Iterator[Record]) -> Table:
    header = next(records, None)
    if header is None or header.reason:
        raise DataError("there is no header line", place=str(path), remedy="the first line must name the columns")
    columns = [name.strip() for name in header.cells]
    if len(set(columns)) < len(columns):
        raise DataError(f"the header names a column twice: {', '.join(columns)}", place=f"{path}:1", remedy="give each its own name")
    return Table(columns, _named(records, columns), lambda: lines.share)


def _named(records: Iterator[Record], columns: list[str]) -> Iterator[Row]:
    for record in records:
        reason = record.reason or ("" if len(record.cells) == len(columns) else "wrong number of fields")
        if not reason:
            yield Row(record.first, dict(zip(columns, record.cells)))
            continue
        raw = record.raw or ",".join(record.cells)[:200].encode("utf-8", "replace").decode()
        # A stray quote has made one record of many lines: each of them counts, so that the loss shows its size.
        for line in range(record.first, record.last + 1):
            yield Row(line, None, reason, raw)


# ---------------------------------------------------------------------------------------------------------------- CSV
class _Feed:
    """Hands the csv module one line after another, and keeps what it can't take in: where a record began, which lines were cut."""

    def __init__(self, path: Path, lines: Lines) -> None:
        self.path, self.lines = path, lines
        self.begun, self.bytes, self.last, self.cut, self.head = 1, 0, 0, False, b""

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            self.bytes += len(line.data)
            if self.bytes > MAX_LINE and line.number > self.begun:
                raise self.open_quote()
            self.last, self.cut, self.head = line.number, self.cut or line.cut, self.head or line.data[:200]
            # A bad byte becomes a lone surrogate, which marks its record and no other.
            yield line.data.decode("utf-8", "surrogateescape")

    def next_record(self) -> None:
        self.begun, self.bytes, self.cut, self.head = self.last + 1, 0, False, b""

    def open_quote(self) -> DataError:
        place = f"{self.path}:{self.begun}"
        return DataError("a quote that opens in this row is never closed", place=place, remedy='close it, or write a quote inside a text as ""')


def _csv_records(path: Path, lines: Lines) -> Iterator[Record]:
    csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_LINE))  # how long a text may be is for the task to say, with a reason
    feed = _Feed(path, lines)
    reader = csv.reader(feed, strict=True)
    while True:
        feed.next_record()
        reason, cells = "", []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error) and feed.last > feed.begun:
                raise feed.open_quote() from error
            reason = "invalid CSV" if "new-line" in str(error) else "unbalanced quotes"
        if not cells and not feed.cut and not reason:
            continue  # a blank line
        reason = TOO_LONG if feed.cut else "invalid UTF-8" if _has_bad_bytes(cells) else reason
        yield Record(feed.begun, feed.last, cells, reason, feed.head.decode("utf-8", "replace") if reason else "")


def _has_bad_bytes(cells: list[str]) -> bool:
    return any(not cell.isascii() and any("\udc80" <= letter <= "\udcff" for letter in cell) for cell in cells)


# ---------------------------------------------------------------------------------------------------------------- TSV
def _tsv_records(lines: Lines) -> Iterator[Record]:
    for line in lines:
        if line.data.strip() or line.cut:
            yield _tsv_record(line)


def _tsv_record(line: Line) -> Record:
    raw = line.data[:200].decode("utf-8", "replace")
    if line.cut:
        return Record(line.number, line.number, [], TOO_LONG, raw)
    try:
        text = line.data.decode()
    except UnicodeDecodeError:
        return Record(line.number, line.number, [], "invalid UTF-8", raw)
    return Record(line.number, line.number, [_unquoted(cell) for cell in text.rstrip("\r\n").split("\t")])


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    whole = len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if whole else cell
