"""Files that survive a kill: content hashes, atomic writes, folders whose manifest comes last, locks, write points.

Whatever is written is written under a temporary name, synced, then renamed. A folder is complete when, and only when,
its ``manifest.json`` exists.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import DiskError, LockedError

MANIFEST = "manifest.json"


# ------------------------------------------------------------------------------------------------------------ digests
def canonical(value: Any) -> bytes:
    """Return the one JSON spelling of ``value``: sorted keys, no spaces, UTF-8, lone surrogates kept apart."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest(*parts: Any) -> str:
    """Return the sha256 (hex) of ``parts`` in their canonical spelling."""
    return sha256_bytes(canonical(list(parts)))


def sha256_file(path: Path) -> str:
    """Return the sha256 (hex) of a file, remembered under ``$POTSTILL_HOME`` by (path, size, mtime_ns, inode)."""
    stat = path.stat()
    mark = f"{path.resolve()}\x1f{stat.st_size}\x1f{stat.st_mtime_ns}\x1f{stat.st_ino}"
    with contextlib.closing(_hash_cache()) as cache:
        row = cache.execute("SELECT sha256 FROM files WHERE mark = ?", (mark,)).fetchone()
        if row:
            return str(row[0])
        with path.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").hexdigest()
        # A file changed within the clock's grain of now could change again and keep its mark.
        if time.time_ns() - stat.st_mtime_ns > 2_000_000_000:
            cache.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (mark, value))
            cache.commit()
        return value


def _hash_cache() -> sqlite3.Connection:
    with disk_errors(home()):
        home().mkdir(parents=True, exist_ok=True)
        cache = sqlite3.connect(home() / "hashes.sqlite", timeout=30)
        cache.execute("CREATE TABLE IF NOT EXISTS files (mark TEXT PRIMARY KEY, sha256 TEXT)")
    return cache


def sha256_folder(folder: Path) -> str:
    """Return the digest of a folder's files: names relative to it, and contents."""
    return digest([[str(p.relative_to(folder)), sha256_file(p)] for p in sorted(folder.rglob("*")) if p.is_file()])


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files under a folder."""
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


# ------------------------------------------------------------------------------------------------------------- places
def home() -> Path:
    """Return ``$POTSTILL_HOME``, by default the platform's user data directory."""
    if value := os.environ.get("POTSTILL_HOME"):
        return Path(value)
    base = Path.home() / "Library/Application Support" if sys.platform == "darwin" else Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser()
    return base / "potstill"


# ------------------------------------------------------------------------------------------------------- write points
_counts: dict[str, int] = {}


def write_point(name: str) -> None:
    """Mark a place where a kill or a full disk must lose nothing.

    No-op unless the environment says otherwise: ``POTSTILL_KILL_AT=name:3`` kills this process at the third passage,
    ``POTSTILL_FULL_AT=name`` raises "no space left". The crash tests walk through all names (``tests/faults``).
    """
    _counts[name] = _counts.get(name, 0) + 1
    for variable in ("POTSTILL_KILL_AT", "POTSTILL_FULL_AT"):
        wanted, _, nth = os.environ.get(variable, "").partition(":")
        if wanted == name and _counts[name] == int(nth or 1):
            if variable == "POTSTILL_KILL_AT":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOSPC, "No space left on device", name)


# ------------------------------------------------------------------------------------------------------------- writing
@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a full or unwritable disk into :class:`DiskError` with the place and the remedy."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if not any(word in str(error) for word in ("disk", "full", "readonly", "unable to open")):
            raise
        raise DiskError(str(error), place=str(path), remedy="free some space or choose another place; what was done is kept") from error
    except OSError as error:
        remedies = {
            errno.ENOSPC: "free some space, then run the same command: it goes on where it stopped",
            errno.EDQUOT: "your quota is used up: free some space, then run the same command: it goes on where it stopped",
            errno.EACCES: "choose a folder that you may write: --output, or $POTSTILL_HOME for what runs share",
            errno.EPERM: "choose a folder that you may write: --output, or $POTSTILL_HOME for what runs share",
            errno.EROFS: "this disk is read-only: choose another place with --output or $POTSTILL_HOME",
            errno.ENOTDIR: "part of this path is a file: choose another place",
        }
        if error.errno not in remedies:
            raise
        raise DiskError(error.strerror or str(error), place=str(path), remedy=remedies[error.errno]) from error


def fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes, *, point: str = "file") -> None:
    """Write ``data`` so that ``path`` holds all of it or what it held before; passes write points ``{point}.before|after``."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            write_point(f"{point}.before")
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)
        write_point(f"{point}.after")


def write_text(path: Path, text: str, *, point: str = "file") -> None:
    write_bytes(path, text.encode("utf-8", "backslashreplace"), point=point)


def write_json(path: Path, value: Any, *, point: str = "file") -> None:
    """Write pretty JSON. NaN and infinities are refused: they are no JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", point=point)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


@contextlib.contextmanager
def new_folder(folder: Path, manifest: Mapping[str, Any], *, point: str = "folder") -> Iterator[Path]:
    """Give an empty temporary folder to fill; on leaving without error, seal it with ``manifest.json`` and move it to ``folder``.

    The manifest lists every file with its sha256 and size. A folder that stood there is replaced. A partial folder of
    a killed run is left behind under a name that ends in ``.partial`` and is swept up by the next call.
    """
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        files = {str(p.relative_to(partial)): {"sha256": sha256_file(p), "bytes": p.stat().st_size} for p in sorted(partial.rglob("*")) if p.is_file()}
        for file in files:
            with (partial / file).open("rb") as handle:
                os.fsync(handle.fileno())
        write_json(partial / MANIFEST, {**manifest, "files": files}, point=f"{point}.manifest")
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        write_point(f"{point}.before")
        os.replace(partial, folder)
        fsync_folder(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
        write_point(f"{point}.after")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return a folder's manifest, or None where the folder is not complete."""
    path = folder / MANIFEST
    return read_json(path) if path.is_file() else None


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written below ``folder``, which the caller holds alone."""
    for path in sorted(folder.rglob(".*")):
        if path.name.endswith((".partial", ".old")):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Append one line in one write, so that lines of two processes never mix."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, (line + "\n").encode("utf-8", "backslashreplace"))
        finally:
            os.close(handle)


@contextlib.contextmanager
def locked(folder: Path, *, what: str = "run", wait: bool = False) -> Iterator[None]:
    """Hold ``folder`` alone; where another process has it, wait for it or raise :class:`LockedError` naming it.

    A killed holder holds nothing.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            owner = os.pread(handle, 100, 0).decode(errors="replace").strip() or "unknown"
            raise LockedError(
                f"another {what} works here (process {owner})",
                place=str(folder),
                remedy="wait for it, stop it, or choose another folder with --output",
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)
