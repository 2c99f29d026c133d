"""Where each answer lies, who is asking for what just now, and what calls were made: SQLite in WAL mode.

The index can be rebuilt from the shards; only the count of calls can't. Every change is one durable transaction.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any

from .. import storage
from ..errors import StoreError
from ..records import Usage
from .entries import COLUMNS, NOTHING, SUMS, Claim, Entry, Spent

TABLES = """
CREATE TABLE IF NOT EXISTS shards (
  id INTEGER PRIMARY KEY, name TEXT UNIQUE, identity TEXT, teacher TEXT, want TEXT, rows INTEGER, bytes INTEGER, time REAL,
  gone INTEGER NOT NULL DEFAULT 0);                      -- gone: its rows are forgotten, its file is about to go
CREATE TABLE IF NOT EXISTS rows (key BLOB, want TEXT, shard INTEGER, position INTEGER, PRIMARY KEY (key, want)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rows_by_shard ON rows (shard);
CREATE TABLE IF NOT EXISTS batches (                     -- the ledger: calls that were made, or may have been
  id INTEGER PRIMARY KEY, owner TEXT, pid INTEGER, host TEXT, run TEXT, identity TEXT, time REAL,
  settled TEXT,                                          -- NULL: in flight; 'settled'; 'abandoned': its asker died or gave up
  calls INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, possibly_paid INTEGER NOT NULL DEFAULT 0{columns});
CREATE TABLE IF NOT EXISTS intents (key BLOB, want TEXT, batch INTEGER, PRIMARY KEY (key, want)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS intents_by_batch ON intents (batch);
CREATE TABLE IF NOT EXISTS journal (                     -- answers that came one by one, until a shard holds them
  key BLOB, want TEXT, batch INTEGER, origin TEXT, example TEXT, status TEXT, reason TEXT, dtype TEXT, shape TEXT, data BLOB,
  PRIMARY KEY (key, want)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parcels (                     -- files of requests at a server, which outlive whoever sent them
  name TEXT PRIMARY KEY, remote TEXT, time REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hits (run TEXT, identity TEXT, rows INTEGER NOT NULL, PRIMARY KEY (run, identity)) WITHOUT ROWID;
"""
CHUNK = 2000  # keys in one query
BUSY_SECONDS = 60.0  # how long another process's change is waited for; one takes milliseconds


class Index:
    """The index of the store in ``root``."""

    def __init__(self, root: Path) -> None:
        self.path = root / "index.sqlite"
        with self._errors():
            # A store that nobody holds any more is closed by the garbage collector, in whichever thread that runs.
            self._db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._wal()
            self._db.execute("PRAGMA synchronous = FULL")  # a commit must outlive a power cut, not only a kill
            self._db.executescript(TABLES.replace("{columns}", "".join(f", {name} {kind}" for name, kind in COLUMNS.items())))
            self._upgrade()

    def _wal(self) -> None:
        """Switch to WAL. SQLite does not wait for others in this one change, as two processes that make a store at once meet it."""
        until = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(0.02)

    def _upgrade(self) -> None:
        """Give the ledger of an older potstill the columns that it lacks."""
        if set(COLUMNS) <= self._columns():
            return
        with self.change() as db:
            for name in set(COLUMNS) - self._columns():
                db.execute(f"ALTER TABLE batches ADD COLUMN {name} {COLUMNS[name]}")

    def _columns(self) -> set[str]:
        return {name for _, name, *_ in self._db.execute("PRAGMA table_info(batches)")}

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with storage.disk_errors(self.path):
                yield
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:  # not set on errors of Python's own making
                raise StoreError(
                    f"another process has held the label store's index for {BUSY_SECONDS:.0f} seconds",
                    place=str(self.path),
                    remedy="run the same command again: what was done is kept",
                ) from error
            raise StoreError(
                f"the index of the label store can't be read: {error}",
                place=str(self.path),
                remedy="while no run is at work, delete index.sqlite, index.sqlite-wal and index.sqlite-shm: it is rebuilt from the shards",
            ) from error

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction that no other process's change comes between."""
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._errors():
            return self._db.execute(sql, parameters).fetchall()

    # ------------------------------------------------------------------------------------------------- what is held
    def locate(self, keys: Sequence[bytes], want: str) -> dict[bytes, tuple[str, int]]:
        """Return the shard's name and the position in it for each key that is held."""
        found = {}
        for part in _parts(keys):
            marks = ",".join("?" * len(part))
            sql = f"SELECT r.key, s.name, r.position FROM rows r JOIN shards s ON s.id = r.shard WHERE r.want = ? AND r.key IN ({marks})"
            found.update({key: (name, position) for key, name, position in self.query(sql, (want, *part))})
        return found

    def names(self) -> set[str]:
        return {name for (name,) in self.query("SELECT name FROM shards")}

    def knows(self, identity: str) -> bool:
        """Return whether any answer of this teacher is held."""
        return bool(self.query("SELECT 1 FROM shards WHERE identity = ? AND gone = 0 LIMIT 1", (identity,)))

    def add(
        self, shards: Iterable[Entry], batch: int | None = None, *, calls: int = 0, failed: int = 0, usd: float = 0.0
    ) -> None:  # fmt: skip
        """Enter shards and settle the batch that they came from, all or nothing."""
        storage.write_point("labels.index.before")
        with self.change() as db:
            enter(db, shards)
            if batch is not None:
                sql = "UPDATE batches SET settled = 'settled', calls = ?, failed = ?, usd = ?, reserved_usd = 0 WHERE id = ?"
                db.execute(sql, (calls, failed, usd, batch))
                db.execute("DELETE FROM intents WHERE batch = ?", (batch,))
        storage.write_point("labels.index.after")

    def forget(self, names: Sequence[str]) -> None:
        """Forget shards and their rows: these keys will be asked again."""
        with self.change() as db:
            for name in names:
                db.execute("DELETE FROM rows WHERE shard = (SELECT id FROM shards WHERE name = ?)", (name,))
                db.execute("DELETE FROM shards WHERE name = ?", (name,))

    def bury(self, names: Sequence[str]) -> None:
        """Forget the rows of shards and mark them as gone, so that a kill before their files are unlinked does not bring them back."""
        with self.change() as db:
            for name in names:
                db.execute("DELETE FROM rows WHERE shard = (SELECT id FROM shards WHERE name = ?)", (name,))
                db.execute("UPDATE shards SET gone = 1 WHERE name = ?", (name,))

    # ------------------------------------------------------------------------------------------- who asks for what
    def owners(self, keys: Sequence[bytes], wants: Sequence[str]) -> set[str]:
        """Return who asks for any of ``wants`` of ``keys``, alive or not."""
        found: set[str] = set()
        for part in _parts(keys):
            sql = f"""SELECT DISTINCT b.owner FROM intents i JOIN batches b ON b.id = i.batch
                      WHERE i.want IN ({_marks(wants)}) AND i.key IN ({_marks(part)})"""
            found |= {owner for (owner,) in self.query(sql, (*wants, *part))}
        return found

    def claim(self, keys: Sequence[bytes], wants: Sequence[str], *, owner: str, dead: Set[str], identity: str, run: str, reserve: Usage = NOTHING) -> Claim:
        """Claim ``wants`` of those keys that miss all of them and that nobody is asking for: the durable intent of a call.

        Claims of the ``dead`` are taken over; their shards must have been adopted before. ``reserve`` is set aside until the call is
        settled.

        A key of which another process has answered some of ``wants`` meanwhile is in neither set: look again.
        """
        with self.change() as db:
            possibly_paid = _take_over(db, keys, wants, dead)
            held, busy = _with_any(db, "rows", keys, wants), _with_any(db, "intents", keys, wants)
            granted = [key for key in keys if key not in held and key not in busy]
            batch = None
            if granted:
                aside = ((reserve.tokens_in + reserve.tokens_out) * len(granted), reserve.usd * len(granted))
                values = (owner, os.getpid(), socket.gethostname(), run, identity, time.time(), *aside)
                names = "owner, pid, host, run, identity, time, reserved_tokens, reserved_usd"
                cursor = db.execute(f"INSERT INTO batches ({names}) VALUES (?,?,?,?,?,?,?,?)", values)
                batch = cursor.lastrowid
                db.executemany("INSERT INTO intents VALUES (?,?,?)", [(key, want, batch) for key in granted for want in wants])
        storage.write_point("labels.intent.after")
        return Claim(batch, frozenset(granted), frozenset(busy), possibly_paid)

    def settle_durable(self, alive: Callable[[str], bool]) -> None:
        """Settle those batches of dead askers of which every answer is held: killed after their last shard was written."""
        sql = """SELECT b.id, b.owner FROM intents i JOIN batches b ON b.id = i.batch LEFT JOIN rows r ON r.key = i.key AND r.want = i.want
                 GROUP BY b.id HAVING COUNT(r.key) = COUNT(*)"""
        whole = [batch for batch, owner in self.query(sql) if not alive(owner)]
        if whole:
            with self.change() as db:
                for batch in whole:
                    _abandon(db, batch)

    def holders(self, keys: Sequence[bytes]) -> list[int]:
        """Return the process ids that ask for any of ``keys``, for people."""
        part = list(keys)[:CHUNK]
        sql = f"SELECT DISTINCT b.pid FROM intents i JOIN batches b ON b.id = i.batch WHERE i.key IN ({_marks(part)})"
        return [pid for (pid,) in self.query(sql, part)]

    def hit(self, run: str, identity: str, rows: int) -> None:
        """Count rows that a run found answered."""
        with self.change() as db:
            db.execute("INSERT INTO hits VALUES (?,?,?) ON CONFLICT (run, identity) DO UPDATE SET rows = rows + excluded.rows", (run, identity, rows))

    def spent(self, run: str | None = None) -> Spent:
        """Return what calls were made, and what they cost; of one run, or of all."""
        where, parameters = ("", ()) if run is None else ("WHERE run = ?", (run,))
        sums = self.query(f"SELECT {', '.join(f'SUM({name})' for name in SUMS)} FROM batches {where}", parameters)[0]
        sql = f"SELECT COUNT(DISTINCT key) FROM intents JOIN batches ON batches.id = intents.batch {where}"
        open_calls = f"{sql} {'AND' if where else 'WHERE'} settled IS NULL"
        hits = self.query(f"SELECT SUM(rows) FROM hits {where}", parameters)[0][0]
        return Spent(**{name: value or 0 for name, value in zip(SUMS, sums)}, in_flight=self.query(open_calls, parameters)[0][0], cached=int(hits or 0))

    def prices(self, identity: str) -> list[tuple[int, int, float]]:
        """Return the tokens in, tokens out and dollars of each row that this teacher was asked about by itself, on whoever's account."""
        return self.query("SELECT tokens_in, tokens_out, usd FROM batches WHERE identity = ? AND settled = 'settled' AND tokens_in > 0", (identity,))


def _take_over(db: sqlite3.Connection, keys: Sequence[bytes], wants: Sequence[str], dead: Set[str]) -> int:
    """Abandon the batches of the dead that hold any of ``keys``; return the calls that may have been paid in vain."""
    if not dead:
        return 0
    batches: set[int] = set()
    for part in _parts(keys):
        sql = f"""SELECT DISTINCT i.batch FROM intents i JOIN batches b ON b.id = i.batch
                  WHERE b.owner IN ({_marks(list(dead))}) AND i.want IN ({_marks(wants)}) AND i.key IN ({_marks(part)})"""
        batches |= {batch for (batch,) in db.execute(sql, (*dead, *wants, *part))}
    return sum(_abandon(db, batch) for batch in sorted(batches))


def _abandon(db: sqlite3.Connection, batch: int) -> int:
    """Settle what an unfinished batch left durable (its shards were adopted), count the rest as possibly paid."""
    sql = """SELECT i.key, COUNT(r.key) < COUNT(*) FROM intents i LEFT JOIN rows r ON r.key = i.key AND r.want = i.want
             WHERE i.batch = ? GROUP BY i.key"""
    open_calls = db.execute(sql, (batch,)).fetchall()  # empty where another process was faster
    lost = sum(missing for _, missing in open_calls)
    share = lost / max(len(open_calls), 1)
    values = (len(open_calls) - lost, 1 - share, lost, share, share, batch)
    db.execute(
        """UPDATE batches SET settled = 'abandoned', calls = calls + ?, usd = usd + ? * reserved_usd, possibly_paid = possibly_paid + ?,
           possibly_tokens = possibly_tokens + ? * reserved_tokens, possibly_usd = possibly_usd + ? * reserved_usd,
           reserved_tokens = 0, reserved_usd = 0 WHERE id = ? AND settled IS NULL""",
        values,
    )
    db.execute("DELETE FROM intents WHERE batch = ?", (batch,))
    return lost


def enter(db: sqlite3.Connection, shards: Iterable[Entry]) -> None:
    """Enter shards and their rows, within a change."""
    for entry in shards:
        origin = entry.origin
        values = (entry.name, origin.identity, origin.teacher, origin.want, len(entry.keys), entry.bytes, origin.time)
        db.execute("INSERT OR IGNORE INTO shards (name, identity, teacher, want, rows, bytes, time) VALUES (?,?,?,?,?,?,?)", values)
        (shard,) = db.execute("SELECT id FROM shards WHERE name = ?", (entry.name,)).fetchone()
        db.executemany("INSERT OR IGNORE INTO rows VALUES (?,?,?,?)", [(key, origin.want, shard, i) for i, key in enumerate(entry.keys)])


def _with_any(db: sqlite3.Connection, table: str, keys: Sequence[bytes], wants: Sequence[str]) -> set[bytes]:
    found: set[bytes] = set()
    for part in _parts(keys):
        sql = f"SELECT DISTINCT key FROM {table} WHERE want IN ({_marks(wants)}) AND key IN ({_marks(part)})"
        found |= {key for (key,) in db.execute(sql, (*wants, *part))}
    return found


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))


def _parts(keys: Sequence[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(keys), CHUNK):
        yield list(keys[start : start + CHUNK])
