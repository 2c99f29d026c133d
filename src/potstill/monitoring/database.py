"""The traffic's file: one SQLite database with a write-ahead log, readable by its owner alone."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

from ..errors import UserError

SCHEMA = 1
DAY_S = 86_400.0
AT_ONCE = 250  # rows that go in one transaction of a clearing: whoever writes waits no longer than that takes
TABLES = """
CREATE TABLE models (digest TEXT PRIMARY KEY, kind TEXT NOT NULL, labels TEXT NOT NULL, fields TEXT NOT NULL);
CREATE TABLE rows (
  id INTEGER PRIMARY KEY, at REAL NOT NULL, alias TEXT NOT NULL, digest TEXT NOT NULL, policy TEXT,
  input TEXT NOT NULL, chars INTEGER NOT NULL, fields TEXT,
  told TEXT NOT NULL, score REAL, confidence REAL NOT NULL, scores TEXT NOT NULL, served_by TEXT NOT NULL, flag TEXT NOT NULL,
  teacher TEXT, usd REAL NOT NULL, queue_ms REAL, tokenize_ms REAL, infer_ms REAL, teacher_ms REAL, share REAL NOT NULL
);
CREATE INDEX by_time ON rows (at);
"""
COLUMNS = (
    "at", "alias", "digest", "policy", "input", "chars", "fields", "told", "score", "confidence", "scores", "served_by", "flag", "teacher", "usd",
    "queue_ms", "tokenize_ms", "infer_ms", "teacher_ms", "share",
)  # fmt: skip
INSERT = f"INSERT INTO rows ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """Open the file, made where ``create`` allows it. Raises :class:`UserError` for what is no traffic log."""
    if not create and not path.is_file():
        raise UserError("there is no such file", place=str(path), remedy="`potstill serve --traffic FILE` writes one")
    try:
        os.close(os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600))  # what SQLite makes beside it gets the same mode
        base = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"the traffic log can't be opened: {error}", place=str(path), remedy="name a file in a folder that can be written to") from error
    try:
        _prepare(base, create)
    except sqlite3.Error as error:
        base.close()
        raise UserError(f"this is no traffic log: {error}", place=str(path), remedy="name another file") from error
    except UserError as error:
        base.close()
        raise UserError(error.message, place=str(path), remedy="name another file") from error
    return base


def _prepare(base: sqlite3.Connection, create: bool) -> None:
    base.execute("PRAGMA secure_delete = ON")  # what is past its days is overwritten
    (version,) = base.execute("PRAGMA user_version").fetchone()
    empty = not base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version == 0 and empty and create:
        base.execute("PRAGMA auto_vacuum = INCREMENTAL")
        base.execute("PRAGMA journal_mode = WAL")
        base.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT")
    elif version != SCHEMA:
        raise UserError("this is no traffic log" if version == 0 else f"a traffic log of another potstill (schema {version})")
    base.execute("PRAGMA synchronous = NORMAL")  # with the write-ahead log: what was committed outlives the process; a power cut may cost the last commits
    base.execute("PRAGMA journal_size_limit = 4000000")


def used_bytes(base: sqlite3.Connection) -> int:
    """Return how many bytes the file's pages hold, those that are free left out."""
    pages, free, size = (base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
    return int((pages - free) * size)


def clear(base: sqlite3.Connection, *, days: float, most_bytes: int, seconds: float = 0.3) -> bool:
    """Delete rows older than ``days``, then the oldest until what is left has ``most_bytes``; return whether that is done, for it
    ends after ``seconds``: rows wait to be written meanwhile."""
    end, gone, done = time.monotonic() + seconds, 0, False
    while not done and time.monotonic() < end:
        count = _delete(base, "WHERE at < ?", time.time() - days * DAY_S)
        if not count and used_bytes(base) > most_bytes:
            count = _delete(base, "")
        gone, done = gone + count, count == 0
    if gone:
        base.executescript("PRAGMA incremental_vacuum(5000)")  # a script is stepped to its end; execute would free one page
        with contextlib.suppress(sqlite3.OperationalError):  # a reader holds an older state: the next clearing will do it
            base.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return done


def _delete(base: sqlite3.Connection, where: str, *values: float) -> int:
    return base.execute(f"DELETE FROM rows WHERE id IN (SELECT id FROM rows {where} ORDER BY at, id LIMIT {AT_ONCE})", values).rowcount
