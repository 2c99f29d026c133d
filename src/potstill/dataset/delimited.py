"""CSV and TSV with a header line: quoted fields may hold line ends; a row of the wrong width is a bad row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from ..errors import DataError
from .rows import Line, Lines, Row, Table

csv.field_size_limit(1 << 30)  # the length of a text is judged by the task, with a reason, not by the csv module


def csv_table(path: Path, lines: Lines) -> Table:
    return _table(path, lines, delimiter=",", quoting=csv.QUOTE_MINIMAL)


def tsv_table(path: Path, lines: Lines) -> Table:
    return _table(path, lines, delimiter="\t", quoting=csv.QUOTE_MINIMAL)


def _table(path: Path, lines: Lines, *, delimiter: str, quoting: int) -> Table:
    rows = _records(path, lines, delimiter, quoting)
    header = next(rows, None)
    if header is None or header.reason or not isinstance(header.values, dict):
        raise DataError("there is no header line", place=str(path), remedy="the first line must name the columns")
    columns = [str(name).strip() for name in header.values["cells"]]
    if len(set(columns)) < len(columns):
        raise DataError(f"the header names a column twice: {', '.join(columns)}", place=f"{path}:1", remedy="give each its own name")
    return Table(columns, _named(rows, columns), lambda: lines.share)


def _named(rows: Iterator[Row], columns: list[str]) -> Iterator[Row]:
    for row in rows:
        if row.reason or row.values is None:
            yield row
            continue
        cells = row.values["cells"]
        if len(cells) != len(columns):
            yield Row(row.place, None, f"{len(cells)} fields, not {len(columns)}", row.raw)
        else:
            yield Row(row.place, dict(zip(columns, cells)))


def _records(path: Path, lines: Lines, delimiter: str, quoting: int) -> Iterator[Row]:
    """Yield one row a record, its cells under "cells"; a record of bad bytes is a bad row and costs no other."""
    pending: list[Line] = []
    quotes = 0
    for line in lines:
        if not pending and not line.data.strip():
            continue
        pending.append(line)
        quotes += line.data.count(b'"')
        if quotes % 2 == 0 or len(pending) > 10_000:
            yield _record(path, pending, delimiter, quoting)
            pending, quotes = [], 0
    if pending:
        yield _record(path, pending, delimiter, quoting)


def _record(path: Path, lines: list[Line], delimiter: str, quoting: int) -> Row:
    place, data = f"{path.name}:{lines[0].number}", b"".join(line.data for line in lines)
    if any(line.cut for line in lines):
        return Row.bad(place, "text over 1 MB", data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Row.bad(place, "invalid UTF-8", data)
    try:
        cells = next(csv.reader([text], delimiter=delimiter, quoting=quoting, strict=True), [])  # type: ignore[arg-type]
    except csv.Error:
        return Row.bad(place, "unbalanced quotes", data)
    return Row(place, {"cells": cells}, "", text[:200])
