"""Parquet and Arrow files, and the folder that `datasets` saves: columns read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import lookup
from ..errors import DataError
from .rows import Row, Table

BATCH = 4096


def parquet_table(path: Path) -> Table:
    file = _opened(path, "pyarrow.parquet:ParquetFile")
    total = max(1, file.metadata.num_rows)
    return _table(path, file.schema_arrow.names, file.iter_batches(batch_size=BATCH), total)


def arrow_table(path: Path) -> Table:
    lookup.require("pyarrow")
    pa = lookup.load("pyarrow:ipc")
    try:
        reader = pa.open_stream(str(path))  # what `datasets` writes
    except Exception:  # pyarrow has no narrower error for "not a stream"; a file with a footer is tried next
        reader = None
    if reader is not None:
        table = reader.read_all()
    else:
        opened = _opened(path, "pyarrow.ipc:open_file")
        table = opened.read_all()
    return _table(path, table.column_names, iter(table.to_batches(max_chunksize=BATCH)), max(1, table.num_rows))


def saved_files(folder: Path, place: str) -> list[Path]:
    """Return the data files of a folder: `datasets`' Arrow files, or Parquet files."""
    files = sorted(folder.glob("*.arrow")) or sorted(folder.glob("*.parquet"))
    if not files:
        names = ", ".join(sorted(entry.name for entry in folder.iterdir())[:10]) or "nothing"
        remedy = "name a file, or a folder that `datasets` saved (save_to_disk) or that holds Parquet files"
        raise DataError(f"the folder holds no *.arrow or *.parquet files, but {names}", place=f"{place}: {folder}", remedy=remedy)
    return files


def _opened(path: Path, ref: str) -> Any:
    lookup.require("pyarrow")
    opener, invalid = lookup.load(ref), lookup.load("pyarrow:ArrowInvalid")
    try:
        return opener(str(path))
    except (invalid, OSError) as error:
        raise DataError(f"the file is damaged or of another kind: {error}", place=str(path), remedy="write it again") from error


def _table(path: Path, columns: list[str], batches: Iterator[Any], total: int) -> Table:
    done = [0]

    def rows() -> Iterator[Row]:
        for batch in batches:
            for values in batch.to_pylist():
                done[0] += 1
                yield Row(f"{path.name}:{done[0]}", values)

    return Table(columns, rows(), lambda: done[0] / total)
