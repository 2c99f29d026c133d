"""Parquet and Arrow files, and the folder that `datasets` saves: columns read batch by batch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import lookup
from ..errors import DataError
from .rows import Row, Table

BATCH = 512


def parquet_table(path: Path) -> Table:
    lookup.require("pyarrow")
    file = _checked(path, lambda: lookup.load("pyarrow.parquet:ParquetFile")(str(path)))
    return _table(path, file.schema_arrow, file.iter_batches(batch_size=BATCH), file.metadata.num_rows)


def arrow_table(path: Path) -> Table:
    """Read an Arrow file: a stream, as `datasets` writes it, or one with a footer."""
    lookup.require("pyarrow")
    with path.open("rb") as file:
        name = "open_file" if file.read(6) == b"ARROW1" else "open_stream"
    table = _checked(path, lambda: lookup.load(f"pyarrow.ipc:{name}")(lookup.load("pyarrow:memory_map")(str(path))).read_all())
    return _table(path, table.schema, table.to_batches(max_chunksize=BATCH), table.num_rows)


def saved_files(folder: Path, place: str) -> list[Path]:
    """Return the data files of a folder: `datasets`' Arrow files, in the order that it names, or Parquet files."""
    state = folder / "state.json"
    if state.is_file():
        named = [folder / entry["filename"] for entry in json.loads(state.read_text("utf-8")).get("_data_files", [])]
        if lost := [path.name for path in named if not path.is_file()]:
            raise DataError(f"the folder lacks {', '.join(lost)}, which its state.json names", place=f"{place}: {folder}", remedy="save it again")
        if named:
            return named
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        raise DataError("the folder holds several splits", place=f"{place}: {folder}", remedy=f"name one of them: {', '.join(splits)}")
    files = sorted(folder.glob("*.arrow")) or sorted(folder.glob("*.parquet"))
    if not files:
        names = ", ".join(sorted(entry.name for entry in folder.iterdir())[:10]) or "nothing"
        remedy = "name a file, or a folder that `datasets` saved (save_to_disk) or that holds Parquet files"
        raise DataError(f"the folder holds no *.arrow or *.parquet files, but {names}", place=f"{place}: {folder}", remedy=remedy)
    return files


def _checked(path: Path, call: Any) -> Any:
    try:
        return call()
    except (lookup.load("pyarrow:ArrowException"), OSError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"the file is damaged or of another kind: {first}", place=str(path), remedy="write it again") from error


def _table(path: Path, schema: Any, batches: Iterable[Any], total: int) -> Table:
    done = [0]
    names = _class_names(schema)

    def rows() -> Iterator[Row]:
        left = iter(batches)
        while (batch := _checked(path, lambda: next(left, None))) is not None:
            for row in _rows(batch):
                done[0] += 1
                if row is None:
                    yield Row(done[0], None, "invalid UTF-8")
                else:
                    yield Row(done[0], {**row, **{column: _class(row[column], known) for column, known in names.items()}} if names else row)

    return Table(schema.names, rows(), lambda: done[0] / max(1, total))


def _rows(batch: Any) -> Iterator[Mapping[str, Any] | None]:
    """Yield the rows of a batch, None where one has bytes that are no UTF-8."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for place in range(batch.num_rows):
            try:
                yield batch.slice(place, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield None


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Return the names behind the integers of `datasets`' columns of ClassLabel, or of lists of them, by column."""
    held = (schema.metadata or {}).get(b"huggingface")
    features = json.loads(held).get("info", {}).get("features", {}) if held else {}
    found = {name: _inner(kind) for name, kind in features.items() if name in schema.names}
    return {name: list(kind["names"]) for name, kind in found.items() if kind.get("_type") == "ClassLabel" and kind.get("names")}


def _inner(kind: Any) -> dict[str, Any]:
    """Return the feature that a column holds, or holds lists of: `datasets` writes [feature], or {"feature": ..., "_type": "Sequence"}."""
    if isinstance(kind, list) and len(kind) == 1:
        kind = kind[0]
    elif isinstance(kind, dict) and kind.get("_type") in ("Sequence", "List", "LargeList"):
        kind = kind.get("feature")
    return kind if isinstance(kind, dict) else {}


def _class(value: Any, names: list[str]) -> Any:
    """Return a class's name, of a list the names; None for -1, which means that there is none."""
    if isinstance(value, list):
        return [_class(item, names) for item in value]
    if not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None
