"""What of a row may be sent: where the recipe says so, what may name a person is replaced, under a key that stays here."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

from ... import storage
from ...errors import TeacherError
from ...redact import Redactor

FILE = "privacy.key"  # in $POTSTILL_HOME, readable by its owner alone
LEAST = 16  # bytes of a key


def redactor(spec: Any) -> Redactor | None:
    """Return what replaces in all that goes to the endpoint of ``spec``; None where its recipe sends rows as they are.

    Raises :class:`TeacherError` where the key is missing or no key.
    """
    if spec.privacy is None:
        return None
    made: Redactor = spec.privacy.redactor(_named(spec.privacy.key) if spec.privacy.key else own_key())
    return made


def own_key() -> bytes:
    """Return this machine's key, made at its first use: so that in every run the same address is the same word, and no row is asked twice."""
    path = storage.home() / FILE
    if not path.is_file():
        with storage.disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _make(path)
    key = path.read_bytes()
    if len(key) < LEAST:
        raise TeacherError("this is no key", place=str(path), remedy="remove the file: a new key is made, and rows with something replaced are asked again")
    return key


def _make(path: Path) -> None:
    """Write a new key whole; whoever comes second finds the first one's."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink()


def _named(name: str) -> bytes:
    variable = name.removeprefix("env:")
    value = os.environ.get(variable, "").strip()
    if len(value.encode()) < LEAST:
        what = f"the variable {variable} is not set" if not value else f"what stands in {variable} is shorter than {LEAST} bytes"
        remedy = f"export {variable}=..., a long random text; the same one wherever the same address shall be the same word"
        raise TeacherError(what, place="teacher.privacy.key", remedy=remedy)
    return value.encode()
