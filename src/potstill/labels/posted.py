"""What was sent by the file and is not fetched yet: which rows went up in which, and by which number the server knows it.

Each row stays a call of its own in the ledger, with its own claim. A file's rows pass to the next asker whole, once their own is dead.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .. import storage
from ..records import Parcel, Usage
from .by_call import ByCall


@dataclass(frozen=True)
class Posted:
    """See :class:`potstill.contracts.Post`: on the ledger that ``calls`` are booked in."""

    calls: ByCall
    say: Callable[[str], None]

    def left(self) -> list[Parcel]:
        parcels = []
        for name in self._names():
            remote, rows = self._adopt(name)
            found = []
            for batch, key, tokens, usd in rows:
                if (example := self.calls.asked.get(key)) is not None:  # another is left to whoever asks about it
                    self.calls.open[example.id] = (batch, key, Usage(teacher_calls=1, tokens_in=tokens, usd=usd))
                    self.calls.posted.add(key)
                    found.append(example)
            if found:
                parcels.append(Parcel(name, remote, tuple(found)))
        return parcels

    def sending(self, ids: Sequence[str]) -> str:
        name = uuid.uuid4().hex
        with self.calls.store.index.change() as db:
            db.execute("INSERT INTO parcels VALUES (?, NULL, ?)", (name, time.time()))
            db.executemany("UPDATE batches SET parcel = ? WHERE id = ?", [(name, self.calls.open[id][0]) for id in ids])
        storage.write_point("labels.sending.after")
        return name

    def sent(self, name: str, remote: str) -> None:
        storage.write_point("labels.sent.before")
        with self.calls.store.index.change() as db:
            db.execute("UPDATE parcels SET remote = ? WHERE name = ?", (remote, name))
        storage.write_point("labels.sent.after")

    def progress(self, words: str) -> None:
        self.say(words)

    def _names(self) -> list[str]:
        """Return the files with rows of this teacher that the dead had sent; forget those of which all came back."""
        store, owner = self.calls.store, self.calls.store.owner()
        store.adopt()  # what the dead had fetched and kept
        with store.index.change() as db:
            db.execute("DELETE FROM parcels WHERE name NOT IN (SELECT b.parcel FROM batches b JOIN intents i ON i.batch = b.id WHERE b.parcel IS NOT NULL)")
        sql = """SELECT DISTINCT b.parcel, b.owner FROM batches b JOIN intents i ON i.batch = b.id
                 WHERE b.parcel IS NOT NULL AND b.settled IS NULL AND b.identity = ? ORDER BY b.id"""
        return list(dict.fromkeys(name for name, its in store.index.query(sql, (self.calls.origin.identity,)) if not owner.alive(its)))

    def _adopt(self, name: str) -> tuple[str | None, list[tuple[int, bytes, int, float]]]:
        """Make the open rows of a file ours, all or nothing: none where another process was faster. Return its number and them."""
        store, owner = self.calls.store, self.calls.store.owner()
        with store.index.change() as db:
            its = [token for (token,) in db.execute("SELECT DISTINCT owner FROM batches WHERE parcel = ? AND settled IS NULL", (name,))]
            if any(token == owner.token or owner.alive(token) for token in its):
                return None, []
            values = (owner.token, os.getpid(), socket.gethostname(), name)
            db.execute("UPDATE batches SET owner = ?, pid = ?, host = ? WHERE parcel = ? AND settled IS NULL", values)
            sql = """SELECT DISTINCT b.id, i.key, b.reserved_tokens, b.reserved_usd FROM batches b JOIN intents i ON i.batch = b.id
                     WHERE b.parcel = ? AND b.settled IS NULL ORDER BY b.id"""
            rows = db.execute(sql, (name,)).fetchall()
            remote = db.execute("SELECT remote FROM parcels WHERE name = ?", (name,)).fetchone()
        return (remote[0] if remote else None), rows
