"""``student.json``: what a student's folder holds beside its weights, so that it is found again by kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import storage
from ..errors import BundleError
from ..records import Head

FILE = "student.json"
SCHEMA = 1


def write(folder: Path, *, kind: str, spec: Mapping[str, Any], head: Head, preprocess: Mapping[str, Any]) -> None:
    """Write the description, last: a folder that has it is complete."""
    labels = {"kind": head.kind, "labels": list(head.labels)}
    storage.write_json(folder / FILE, {"schema": SCHEMA, "kind": kind, "spec": dict(spec), "head": labels, "preprocess": dict(preprocess)})


def read(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """Return the description. Raises :class:`BundleError` where there is none, of another ``kind``, or of a newer potstill."""
    path = folder / FILE
    try:
        saved: dict[str, Any] = storage.read_json(path)
    except (OSError, ValueError) as error:
        raise BundleError(f"this folder holds no student: {error}", place=str(path), remedy="a trained one is under students/NAME of a run") from error
    if saved["schema"] > SCHEMA:
        raise BundleError(f"written by a newer potstill (schema {saved['schema']})", place=str(path), remedy="install that version")
    if kind is not None and saved["kind"] != kind:
        raise BundleError(f"a student of kind '{saved['kind']}', not '{kind}'", place=str(path), remedy="load it by its own kind")
    return saved


def head_of(saved: Mapping[str, Any]) -> Head:
    return Head(saved["head"]["kind"], tuple(saved["head"]["labels"]))
