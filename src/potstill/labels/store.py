"""The label store: what a teacher said, kept once for all runs; content-addressed, append-only, compressed, checked.

A folder of ``shards/`` (Arrow, named by their sha256), ``index.sqlite``, ``claims/`` (who is at work), ``quarantine/``
(shards whose bytes changed) and ``version.json``.
"""

from __future__ import annotations

import os
import time
import weakref
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from .. import lookup, storage
from ..errors import StoreError
from ..records import Usage, Want
from ..runlog import RunLog
from . import journal, shards
from . import owner as owners
from .entries import NOTHING, Claim, Entry, Spent
from .index import Index
from .shards import CorruptShardError, Origin, Row

VERSION = 1
_sound_files: set[tuple[str, int, int, int]] = set()  # files whose hash this process has checked: path, size, mtime_ns, inode


def key_of(identity: str, request: bytes) -> bytes:
    """Return the store key *32 bytes*: who is asked, and what exactly."""
    return bytes.fromhex(storage.digest("label", VERSION, identity, storage.sha256_bytes(request)))


class LabelStore:
    """The store under ``root``, by default ``$POTSTILL_HOME/labels``. Not for several threads at once; several processes are fine.

    Raises :class:`StoreError` for a store of a newer version or an index that can't be read, :class:`MissingExtraError`
    without pyarrow.
    """

    def __init__(self, root: Path | None = None, *, log: RunLog | None = None) -> None:
        lookup.require("pyarrow")
        self.root = storage.home() / "labels" if root is None else root
        self.log = log or RunLog()
        self.shards, self._claims = self.root / "shards", self.root / "claims"
        with storage.disk_errors(self.root):
            self.shards.mkdir(parents=True, exist_ok=True)
        check_version(self.root, create=True)
        self.index = Index(self.root)
        self._owner: owners.Owner | None = None
        self._close = weakref.finalize(self, self.index.close)
        self._finish_removals()
        self.adopt()

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.release()
        self._close()

    def release(self) -> None:
        """Give back what this process claims; the next claim takes a new name."""
        if self._owner is not None:
            self._owner.release()
            self._owner = None

    # ------------------------------------------------------------------------------------------------- what is held
    def get(self, keys: Sequence[bytes], want: Want, *, arrays: bool = True) -> dict[bytes, Row]:
        """Return the rows held for ``keys``; without ``arrays`` only whether and how each was answered.

        A shard whose bytes changed is set aside, its keys are forgotten, and the log says so.
        """
        by_shard: dict[str, list[int]] = defaultdict(list)
        for name, position in self.index.locate(keys, want.key).values():
            by_shard[name].append(position)
        found: dict[bytes, Row] = {}
        for name, positions in by_shard.items():
            if self.sound(name):
                found.update({row.key: row for row in shards.read(self.shards / name, positions, arrays=arrays)})
        return found

    def put(
        self, origin: Origin, answers: Mapping[Want, Sequence[Row]], *, claim: Claim | None = None, calls: int = 0, failed: int = 0, usd: float = 0.0
    ) -> None:  # fmt: skip
        """Keep rows durably, a shard for each want, then enter them in the index and settle ``claim``, all or nothing."""
        self.index.add(self._written(origin, answers), claim.batch if claim else None, calls=calls, failed=failed, usd=usd)

    def gather(self, origin: Origin, answers: Mapping[Want, Sequence[Row]], batches: Sequence[int]) -> None:
        """Move rows from the journal, where ``batches`` left them, to shards."""
        journal.gather(self.index, self._written(origin, answers), batches)

    def _written(self, origin: Origin, answers: Mapping[Want, Sequence[Row]]) -> list[Entry]:
        now = time.time()
        origins = {want: replace(origin, want=want.key, labels=origin.labels if want.by_label else (), time=now) for want in answers}
        return [self._entry(origins[want], rows) for want, rows in answers.items() if rows]

    def _entry(self, origin: Origin, rows: Sequence[Row]) -> Entry:
        name = shards.write(self.shards, origin, rows)
        return Entry(name, origin, [row.key for row in rows], (self.shards / name).stat().st_size)

    # ------------------------------------------------------------------------------------------- who asks for what
    def claim(self, keys: Sequence[bytes], wants: Sequence[Want], *, identity: str, run: str = "", reserve: Usage = NOTHING) -> Claim:
        """Claim what nobody else is asking for, before asking; claims of dead processes are taken over. ``reserve`` is of each key."""
        names, owner = [want.key for want in wants], self.owner()
        dead = {token for token in self.index.owners(keys, names) if not owner.alive(token)}
        if dead:
            self.adopt()  # what they made durable is not asked again
        return self.index.claim(keys, names, owner=owner.token, dead=dead, identity=identity, run=run, reserve=reserve)

    def owner(self) -> owners.Owner:
        """Return who this process is, to others that use the store."""
        if self._owner is None:
            owners.sweep(self._claims)
            self._owner = owners.Owner(self._claims)
        return self._owner

    def spent(self, run: str) -> Spent:
        """Return the calls of a run over all its invocations, killed ones too, and what they cost."""
        return self.index.spent(run)

    # ---------------------------------------------------------------------------------------------------- soundness
    def adopt(self) -> None:
        """Enter the shards that a killed process wrote and did not enter in the index, and what it left in the journal."""
        orphans = {path.name for path in self.shards.glob("*.arrow")} - self.index.names()
        entries = []
        for name in sorted(orphans):
            if (self.shards / name).exists() and self.sound(name):  # another process may just have removed it
                origin, keys = shards.describe(self.shards / name)
                entries.append(Entry(name, origin, keys, (self.shards / name).stat().st_size))
        if entries:
            self.index.add(entries)
        for origin, rows, batches in journal.left(self.index, lambda token: owners.holds(self._claims, token)):
            held = self.index.locate([row.key for row in rows], origin.want)  # its shard may be one of those that were just entered
            fresh = [row for row in rows if row.key not in held]
            journal.gather(self.index, [self._entry(origin, fresh)] if fresh else [], batches)
        self.index.settle_durable(lambda token: owners.holds(self._claims, token))

    def sound(self, name: str) -> bool:
        """Check a shard's hash at its first use here; set a bad one aside."""
        path = self.shards / name
        try:
            stat = path.stat()
            mark = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
            if mark not in _sound_files:
                shards.check(path)
                _sound_files.add(mark)
        except FileNotFoundError:
            self._set_aside(name, "the file is gone")
            return False
        except CorruptShardError as error:
            self._set_aside(name, str(error))
            return False
        return True

    def _set_aside(self, name: str, why: str) -> None:
        quarantine = self.root / "quarantine"
        with storage.disk_errors(quarantine):
            quarantine.mkdir(exist_ok=True)
            self.index.forget([name])
            try:
                os.replace(self.shards / name, quarantine / name)
                kept = f"set aside in {quarantine}, its answers will be asked again"
            except FileNotFoundError:
                kept = "its answers will be asked again"
        self.log.warn(f"label store: shard {name[:12]} is damaged ({why}): {kept}")

    def remove(self, names: Sequence[str]) -> None:
        """Forget shards and delete their files. A kill in between is finished at the next open."""
        self.index.bury(names)
        self._finish_removals()

    def _finish_removals(self) -> None:
        gone = [name for (name,) in self.index.query("SELECT name FROM shards WHERE gone = 1")]
        for name in gone:
            (self.shards / name).unlink(missing_ok=True)
        if gone:
            self.index.forget(gone)


def check_version(root: Path, *, create: bool = False) -> None:
    """Raise :class:`StoreError` unless the store under ``root`` is of a version that this code reads."""
    path = root / "version.json"
    if not path.is_file():
        if create:
            storage.write_json(path, {"schema": VERSION})
        return
    found = storage.read_json(path).get("schema")
    if found != VERSION:
        raise StoreError(
            f"the label store is of version {found}, this potstill reads version {VERSION}",
            place=str(root),
            remedy="upgrade potstill, or set POTSTILL_HOME to another folder",
        )
