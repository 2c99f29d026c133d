"""What was fixed before the test rows were opened, and the ledger of reads: every look at the rows costs confidence."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import storage
from ..records import Registration

FILE = "registration.json"
FIRST_SHARE = 0.8  # of alpha that the first read spends; each later one spends half of what is left


@dataclass(frozen=True)
class Read:
    """One look at the test rows: which it is, and the alpha that it may spend. ``repeated``: the same look again spends nothing.

    ``booked``: how many looks at these rows there were so far, by any registration; 0 stands for ``number``.
    """

    number: int
    alpha: float
    repeated: bool
    booked: int = 0

    @property
    def next(self) -> int:
        """The number that the next look at these rows will have."""
        return max(self.number, self.booked) + 1


def register(folder: Path, requirement: Mapping[str, Any] | None, test_digest: str, analysis: Mapping[str, Any]) -> Registration:
    """Write the requirement, the rows and the analysis to ``registration.json``, durably; the same again keeps its first time.

    A registration that differs from the one on file takes its place, and the one before is kept beside it as
    ``registration-HASH.json``: it is another read, and the ledger counts it.
    """
    path = folder / FILE
    content = {"requirement": requirement, "test": test_digest, "analysis": dict(analysis)}
    hashed = storage.digest(content)
    current = _content(path)
    if current.get("hash") == hashed:
        return Registration(hashed, test_digest, str(current["time"]), path)
    if current:
        storage.write_json(_kept(folder, str(current["hash"])), current, point="registration.kept")
    first = _content(_kept(folder, hashed)).get("time")  # registered here before, then changed, now changed back
    when = str(first or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    storage.write_json(path, {"hash": hashed, "time": when, **content}, point="registration")
    return Registration(hashed, test_digest, when, path)


def _kept(folder: Path, hashed: str) -> Path:
    return folder / f"registration-{hashed[:16]}.json"


def _content(path: Path) -> dict[str, Any]:
    return dict(storage.read_json(path)) if path.is_file() else {}


def read(registration: Registration, *, artifacts: Mapping[str, str], predictions: Mapping[str, str], alpha: float) -> Read:
    """Book a look at the test rows and return what it may spend of ``alpha``; a look already booked is found, not counted again.

    The ledger is ``$POTSTILL_HOME/reads``: whatever folder a run writes to, the same rows have one ledger.
    """
    folder = storage.home() / "reads"
    path = folder / f"{registration.test_hash}.jsonl"
    key = storage.digest(registration.test_hash, registration.hash, dict(artifacts), dict(predictions))
    with storage.locked(folder / "lock", wait=True):
        booked = [entry["key"] for entry in _entries(path)]
        repeated = key in booked
        if not repeated:
            if path.is_file() and not path.read_bytes().endswith(b"\n"):
                storage.append_line(path, "")  # a torn line must not swallow the next
            line = {"key": key, "registration": registration.hash, "time": time.time(), "artifacts": dict(artifacts)}
            storage.append_line(path, json.dumps(line))
            _sync(path)
            storage.write_point("read.after")
            booked.append(key)
    number = booked.index(key) + 1
    return Read(number, share(number, alpha), repeated, len(booked))


def _sync(path: Path) -> None:
    """Make the booking durable before anyone is told what it bought: a look that power loss forgets would be free."""
    with storage.disk_errors(path):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        storage.fsync_folder(path.parent)


def share(number: int, alpha: float) -> float:
    """Return what the ``number``-th read (from 1) may spend: four fifths, then half of what is left each time. Their sum stays under alpha."""
    if number == 1:
        return FIRST_SHARE * alpha
    return (1 - FIRST_SHARE) * alpha * 0.5 ** (number - 1)


def reads(test_digest: str) -> int:
    """Return how many looks at these rows are booked."""
    return len(_entries(storage.home() / "reads" / f"{test_digest}.jsonl"))


def _entries(path: Path) -> list[dict[str, Any]]:
    """Return the ledger's entries; a torn last line, of a full disk, was never acted upon and is passed over."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text("utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "key" in entry:
            found.append(entry)
    return found
