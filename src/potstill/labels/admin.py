"""A look at a label store from outside: what it holds, what can go, and a copy of it in a plain format."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import lookup, storage
from ..errors import StoreError, UserError
from . import shards
from .entries import Spent
from .index import Index
from .store import LabelStore, check_version

DAY = 86400.0
PARTIAL_SECONDS = 3600.0  # a write takes seconds: a partial file that is older was left by a killed process


def ls(root: Path) -> list[dict[str, Any]]:
    """Return a line for each teacher and want: teacher, identity, want, rows, shards, bytes, first, last (seconds since the epoch)."""
    if not _exists(root):
        return []
    sql = """SELECT teacher, identity, want, SUM(rows), COUNT(*), SUM(bytes), MIN(time), MAX(time) FROM shards
             WHERE gone = 0 GROUP BY identity, want ORDER BY MAX(time) DESC, want"""
    names = ("teacher", "identity", "want", "rows", "shards", "bytes", "first", "last")
    return [dict(zip(names, row)) for row in _query(root, sql)]


def stats(root: Path) -> dict[str, Any]:
    """Return the totals: rows, shards, bytes, teachers, quarantined files, and the calls ever made: failed, possibly paid, in flight,
    their tokens and dollars, what those possibly paid may have cost beside, and the rows that runs found answered (cached)."""
    lines = ls(root)
    totals: dict[str, Any] = {name: sum(line[name] for line in lines) for name in ("rows", "shards", "bytes")}
    totals["teachers"] = len({line["identity"] for line in lines})
    totals["quarantined"] = len(list((root / "quarantine").glob("*")))
    if not _exists(root):
        return {**totals, **asdict(Spent())}
    index = Index(root)
    try:
        return {**totals, **asdict(index.spent())}
    finally:
        index.close()


def gc(root: Path, *, older_than_days: float | None = None, teacher: str | None = None, dry_run: bool = False) -> dict[str, Any]:
    """Remove what is quarantined, what killed processes left half written, and the answers that the filters choose.

    With ``older_than_days`` or ``teacher`` (a name, an identity or the beginning of one) answers go that meet all given
    filters; without either, none. The ledger of calls stays. Returns files, bytes, rows and the removed answers' teachers;
    ``dry_run`` removes nothing.
    """
    if not _exists(root):
        return {"files": 0, "bytes": 0, "rows": 0, "teachers": [], "dry_run": dry_run}
    rubbish = [*(root / "quarantine").glob("*"), *_partials(root)]
    chosen = _chosen(root, older_than_days, teacher)
    result = {
        "files": len(rubbish) + len(chosen),
        "bytes": sum(path.stat().st_size for path in rubbish) + sum(size for _, _, _, size in chosen),
        "rows": sum(rows for _, _, rows, _ in chosen),
        "teachers": sorted({name for _, name, _, _ in chosen}),
        "dry_run": dry_run,
    }
    if not dry_run:
        with storage.disk_errors(root):
            for path in rubbish:
                path.unlink(missing_ok=True)
        with LabelStore(root) as store:
            store.remove([name for name, *_ in chosen])
    return result


def export(root: Path, identity: str, path: Path) -> int:
    """Write a teacher's answers to ``path`` (.jsonl or .parquet) and return the rows written.

    A row holds example (the id of an example: sha256 of its canonical fields), want, status, reason, labels (of the
    columns of log-probabilities, else null) and value (nested lists). ``identity`` may be the beginning of one. Raises
    :class:`StoreError` where no teacher, or more than one, has it, :class:`UserError` for another kind of file.
    """
    if path.suffix not in (".jsonl", ".parquet"):
        raise UserError(f"'{path.suffix}' is no format to export to", place=str(path), remedy="name a file that ends in .jsonl or .parquet")
    lines = ls(root)
    matching = {line["identity"] for line in lines if line["identity"].startswith(identity)}
    if len(matching) != 1:
        known = ", ".join(sorted({f"{line['identity'][:12]} ({line['teacher']})" for line in lines})) or "nothing"
        raise StoreError(f"{len(matching)} teachers have '{identity}'", place=str(root), remedy=f"the store holds: {known}")
    with LabelStore(root) as store:
        rows = list(_exported(store, matching.pop()))
    if path.suffix == ".jsonl":
        storage.write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
        return len(rows)
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    storage.write_bytes(path, sink.getvalue().to_pybytes())
    return len(rows)


def _exported(store: LabelStore, identity: str) -> Iterator[dict[str, Any]]:
    for (name,) in store.index.query("SELECT name FROM shards WHERE identity = ? AND gone = 0 ORDER BY want, id", (identity,)):
        if not store.sound(name):
            continue  # set aside, and said in the log
        origin, _ = shards.describe(store.shards / name)
        for row in shards.read(store.shards / name):
            value = None if row.array is None else row.array.tolist()
            yield {
                "example": row.example, "want": origin.want, "status": row.status, "reason": row.reason,
                "labels": list(origin.labels) or None, "value": value,
            }  # fmt: skip


def _chosen(root: Path, older_than_days: float | None, teacher: str | None) -> list[tuple[str, str, int, int]]:
    """Return name, teacher, rows and bytes of the shards that the filters choose."""
    if older_than_days is None and teacher is None:
        return []
    before = time.time() - older_than_days * DAY if older_than_days is not None else float("inf")
    found = _query(root, "SELECT name, teacher, rows, bytes, identity FROM shards WHERE gone = 0 AND time < ?", (before,))
    chosen = [(n, t, r, b) for n, t, r, b, identity in found if teacher is None or t == teacher or _is(identity, teacher)]
    if teacher is not None and not chosen and older_than_days is None:
        known = sorted({line["teacher"] for line in ls(root)})
        raise StoreError(f"the store has no answers of '{teacher}'", place=str(root), remedy=lookup.did_you_mean(teacher, known))
    return chosen


def _is(identity: str, given: str) -> bool:
    """Return whether ``given`` is the identity or enough of its beginning to be no accident."""
    return identity == given or (len(given) >= 8 and identity.startswith(given))


def _partials(root: Path) -> list[Path]:
    old = time.time() - PARTIAL_SECONDS
    return [path for path in (root / "shards").glob(".*.partial") if path.stat().st_mtime < old]


def _exists(root: Path) -> bool:
    check_version(root)
    return (root / "index.sqlite").is_file()


def _query(root: Path, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    index = Index(root)
    try:
        return index.query(sql, parameters)
    finally:
        index.close()
