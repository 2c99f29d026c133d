"""Answers that come one by one: each is durable, and its call settled, in one change of the index; a shard holds them once there are enough.

A row stays claimed until a shard holds it, so that nobody else asks for it. What a killed process left here is gathered by the next one.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from .. import storage
from ..records import Usage, Want
from .entries import Entry
from .index import Index, enter
from .shards import Origin, Row

Left = tuple[Origin, list[Row], list[int]]  # whose answers, the answers, the batches that they settled


def book(index: Index, batch: int, usage: Usage, reserve: Usage) -> None:
    """Book an attempt after which its row is asked about again: the next one has the same reserve."""
    with index.change() as db:
        db.execute(f"UPDATE batches SET {ADDED} WHERE id = ?", (*_added(usage, reserve), batch))
    storage.write_point("labels.book.after")


def settle(index: Index, batch: int, origin: Origin, rows: Mapping[Want, Row], usage: Usage, reserve: Usage) -> None:
    """Book a row's last attempt and keep its answer, all or nothing; without ``rows`` it failed, and nobody claims it any more."""
    storage.write_point("labels.settle.before")
    with index.change() as db:
        sql = f"UPDATE batches SET {ADDED}, settled = 'settled', failed = ?, reserved_tokens = 0, reserved_usd = 0 WHERE id = ?"
        db.execute(sql, (*_added(usage, reserve), int(not rows), batch))
        if not rows:
            db.execute("DELETE FROM intents WHERE batch = ?", (batch,))
        db.executemany("INSERT OR IGNORE INTO journal VALUES (?,?,?,?,?,?,?,?,?,?)", [_packed(batch, origin, want.key, row) for want, row in rows.items()])
    storage.write_point("labels.settle.after")


def gather(index: Index, entries: Sequence[Entry], batches: Sequence[int]) -> None:
    """Enter the shards that hold what ``batches`` left here, and let go of their rows."""
    storage.write_point("labels.gather.before")
    with index.change() as db:
        enter(db, entries)
        for table in ("journal", "intents"):
            db.executemany(f"DELETE FROM {table} WHERE batch = ?", [(batch,) for batch in batches])
    storage.write_point("labels.gather.after")


def left(index: Index, alive: Callable[[str], bool]) -> list[Left]:
    """Return what dead askers left here, by whose answers they are and to which want."""
    sql = """SELECT b.owner, j.batch, j.origin, j.want, j.key, j.example, j.status, j.reason, j.dtype, j.shape, j.data
             FROM journal j JOIN batches b ON b.id = j.batch ORDER BY j.batch"""
    found: dict[tuple[str, str], list[tuple[int, Row]]] = defaultdict(list)
    owners: dict[str, bool] = {}
    for owner, batch, origin, want, *packed in index.query(sql):
        if not owners.setdefault(owner, alive(owner)):
            found[origin, want].append((batch, _row(*packed)))
    return [
        (_origin(origin, want), [row for _, row in rows], sorted({batch for batch, _ in rows})) for (origin, want), rows in found.items()
    ]  # fmt: skip


# What an attempt adds to its batch; one that was possibly paid may have cost all that was set aside for it.
ADDED = ", ".join(f"{name} = {name} + ?" for name in ("calls", "possibly_paid", "tokens_in", "tokens_out", "usd", "possibly_tokens", "possibly_usd"))


def _added(usage: Usage, reserve: Usage) -> tuple[Any, ...]:
    lost = usage.possibly_paid
    return (
        usage.teacher_calls, lost, usage.tokens_in, usage.tokens_out, usage.usd, lost * (reserve.tokens_in + reserve.tokens_out), lost * reserve.usd,
    )  # fmt: skip


def _packed(batch: int, origin: Origin, want: str, row: Row) -> tuple[Any, ...]:
    array = row.array
    dtype, shape = (None, None) if array is None else (array.dtype.newbyteorder("<").str, json.dumps(array.shape))
    data = None if array is None else np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return (row.key, want, batch, json.dumps(asdict(origin)), row.example, row.status, row.reason, dtype, shape, data)


def _row(key: bytes, example: str, status: Any, reason: str, dtype: str | None, shape: str | None, data: bytes | None) -> Row:
    array = None if dtype is None or shape is None or data is None else np.frombuffer(data, dtype).reshape(json.loads(shape))
    return Row(key, example, status, reason, array)


def _origin(told: str, want: str) -> Origin:
    facts = json.loads(told)
    return Origin(**{**facts, "want": want, "labels": tuple(facts["labels"]), "time": time.time()})
