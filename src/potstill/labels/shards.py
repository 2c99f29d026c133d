"""One file of answers: an Arrow IPC file that is named by its own sha256 and says all that the index needs to find it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import lookup, storage

SCHEMA = 1
# Inner states in float16 are noise to a compressor (zstd takes 7 % off queries, keys and values), and packed they would have to be unpacked
# whole to read a row. So they lie as they are, and are mapped: what is looked at is read, and goes again when memory is short. Tokens are
# entropy-coded when they come.
PLAIN = ("hidden", "qkv", "states", "tokens")
Status = Literal["answered", "refused"]


class CorruptShardError(Exception):
    """A shard's bytes are not those that were written; the argument says how that shows."""


@dataclass(frozen=True)
class Origin:
    """Whose answers a shard holds, to which want; ``labels`` names the columns of log-probabilities."""

    identity: str
    teacher: str
    want: str
    labels: tuple[str, ...] = ()
    time: float = 0.0  # seconds since the epoch


@dataclass(frozen=True)
class Row:
    """One answer to one want, as it is kept: an array, or the reason of a refusal."""

    key: bytes  # 32 bytes
    example: str  # id, so that an export can be joined to the data again
    status: Status
    reason: str = ""
    array: np.ndarray | None = None


def write(folder: Path, origin: Origin, rows: Sequence[Row]) -> str:
    """Write a shard to ``folder`` durably and return its name; passes the write points ``labels.shard.before|after``."""
    lookup.require("pyarrow")
    import pyarrow as pa

    columns = {
        "key": pa.array([row.key for row in rows], pa.binary(32)),
        "example": pa.array([row.example for row in rows], pa.string()),
        "status": pa.array([row.status for row in rows], pa.string()),
        "reason": pa.array([row.reason for row in rows], pa.string()),
        "shape": pa.array([None if row.array is None else list(row.array.shape) for row in rows], pa.list_(pa.int32())),
        "dtype": pa.array([None if row.array is None else row.array.dtype.newbyteorder("<").str for row in rows], pa.string()),
        "data": pa.array([_bytes(row.array) for row in rows], pa.large_binary()),
    }
    table = pa.table(columns, metadata={"potstill": json.dumps({"schema": SCHEMA, **asdict(origin)})})
    sink = pa.BufferOutputStream()
    packed = None if origin.want.partition(":")[0] in PLAIN else "zstd"
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=packed)) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    name = f"{storage.sha256_bytes(data)}.arrow"
    storage.write_bytes(folder / name, data, point="labels.shard")
    return name


def _bytes(array: np.ndarray | None) -> bytes | None:
    return None if array is None else np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def check(path: Path) -> None:
    """Raise :class:`CorruptShardError` unless the file's bytes give its name."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != path.stem:
        raise CorruptShardError(f"its sha256 is {found[:12]}..., its name says {path.stem[:12]}...")


def _open(path: Path, fields: Sequence[str] | None) -> tuple[Any, Any]:
    """Return the table with ``fields`` alone (None: all), and the schema's metadata."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        schema = pa.ipc.open_file(source).schema
        wanted = None if fields is None else [schema.get_field_index(name) for name in fields]
        source.seek(0)
        return pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=wanted)).read_all(), schema.metadata


def describe(path: Path) -> tuple[Origin, list[bytes]]:
    """Return a checked shard's origin and its keys in order: what the index holds of it."""
    lookup.require("pyarrow")
    table, metadata = _open(path, ["key"])
    facts = json.loads(metadata[b"potstill"])
    facts.pop("schema")
    return Origin(**{**facts, "labels": tuple(facts["labels"])}), table.column("key").to_pylist()


def read(path: Path, positions: Sequence[int] | None = None, *, arrays: bool = True) -> Iterator[Row]:
    """Yield a checked shard's rows at ``positions`` (None: all); ``arrays`` False leaves the arrays out.

    Arrays are views: into the mapped file where it is not compressed, else into one buffer.
    """
    lookup.require("pyarrow")
    table, _ = _open(path, None if arrays else ["key", "example", "status", "reason"])
    table = table.combine_chunks()
    key, example, status, reason = (table.column(name).to_pylist() for name in ("key", "example", "status", "reason"))
    array_of = _views(table) if arrays else {}
    for i in range(len(key)) if positions is None else positions:
        yield Row(key[i], example[i], status[i], reason[i], array_of.get(i))


def _views(table: Any) -> dict[int, np.ndarray]:
    """Return an array for each row that has one: views, no copies."""
    if not table.num_rows:
        return {}
    column = table.column("data").chunk(0)
    _, offsets_buffer, data = column.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[column.offset :]
    shapes, dtypes = table.column("shape").to_pylist(), table.column("dtype").to_pylist()
    views = {}
    for i, (shape, dtype) in enumerate(zip(shapes, dtypes)):
        if dtype is not None:
            count = int(np.prod(shape, dtype=np.int64))
            flat = np.frombuffer(data, dtype, count, int(offsets[i])) if count else np.empty(0, dtype)
            views[i] = flat.reshape(shape)
    return views
