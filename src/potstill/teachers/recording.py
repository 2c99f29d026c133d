"""Rows of recorded answers, read from JSONL, CSV, TSV (these also gzipped) or Parquet, each with its place."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from .. import lookup
from ..errors import TeacherError

Rows = Iterator[tuple[str, Mapping[str, Any]]]  # place, row


def read(path: Path) -> Rows:
    """Yield (place, row) of one file. Raises :class:`TeacherError` for a file that is missing, empty or can't be read."""
    if not path.is_file():
        raise TeacherError("there is no such file", place=f"teacher.path: {path}", remedy="is the path spelt so?")
    if path.stat().st_size == 0:
        raise TeacherError("the file is empty", place=str(path), remedy="name another file, or fill this one")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes or [""])[-1]
    if kind not in READERS:
        raise TeacherError(f"'{path.name}' is of no known kind", place=str(path), remedy=f"known: {', '.join(READERS)}")
    try:
        yield from READERS[kind](path)
    except (UnicodeDecodeError, zlib.error, EOFError, gzip.BadGzipFile, csv.Error) as error:
        raise TeacherError(f"the file can't be read: {error}", place=str(path), remedy="is it whole, and UTF-8?") from error


def _open(path: Path) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _jsonl(path: Path) -> Rows:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path.name}:{number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise TeacherError(f"this is no JSON: {error.msg}", place=place, remedy="one JSON object a line") from error
            if not isinstance(row, dict):
                raise TeacherError("this is no JSON object", place=place, remedy='write {"text": ..., "label": ...}')
            yield place, row


def _delimited(delimiter: str) -> Callable[[Path], Rows]:
    def rows(path: Path) -> Rows:
        with _open(path) as file:
            reader = csv.DictReader(file, delimiter=delimiter, restval=None)
            for row in reader:
                yield f"{path.name}:{reader.line_num}", row

    return rows


def _parquet(path: Path) -> Rows:
    lookup.require("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path.name}:{number}", row
    except pa.ArrowException as error:
        raise TeacherError(f"the file can't be read: {error}", place=str(path), remedy="is it whole?") from error


READERS: Mapping[str, Callable[[Path], Rows]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".parquet": _parquet,
}
