"""Who is at work on a store: a lock file for each process, so that a claim of a killed process is known to be stale.

A record lock goes with its process, however that ends: unlike a process id it can't be reused by another process, it
holds across containers with other process ids and other host names, and a forked child does not inherit it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from pathlib import Path

from .. import storage

_held: dict[str, int] = {}  # token -> handle, of this process: a process can't test its own record locks


class Owner:
    """One holder of claims on the store whose lock files are in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with storage.disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            while not self._take(uuid.uuid4().hex):
                pass  # another process swept the file between its making and its locking

    def _take(self, token: str) -> bool:
        self.token, path = token, self._path(token)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.lockf(handle, fcntl.LOCK_EX)
        if not path.exists():
            os.close(handle)
            return False
        _held[token] = handle
        return True

    def _path(self, token: str) -> Path:
        return self.folder / f"{token}.lock"

    def alive(self, token: str) -> bool:
        """Return whether another holder still has its claims. One's own leftovers, of a call that failed, are free."""
        if token == self.token:
            return False
        return holds(self.folder, token)

    def release(self) -> None:
        handle = _held.pop(self.token, None)
        if handle is not None:
            self._path(self.token).unlink(missing_ok=True)
            os.close(handle)


def holds(folder: Path, token: str) -> bool:
    """Return whether the process that has ``token`` lives."""
    if token in _held:
        return True
    try:
        handle = os.open(folder / f"{token}.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def sweep(folder: Path) -> None:
    """Remove the lock files of dead processes."""
    for path in folder.glob("*.lock"):
        if not holds(folder, path.stem):
            with contextlib.suppress(FileNotFoundError):  # another process swept it
                path.unlink()
