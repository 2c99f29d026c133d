"""Open a bundle's papers: its manifest, its card, what is known of it. Answers come from ``serving.predictor``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from .. import storage
from ..errors import BundleError
from .probes import Probes

SCHEMA = 1
LABELS, CALIBRATION, PROBES, CARD, REQUIREMENTS = "labels.json", "calibration.json", "probes.json", "README.md", "requirements.txt"
PAPERS = {LABELS, CALIBRATION, PROBES, CARD, REQUIREMENTS}  # what tells of the answers; all other files make them
MEND = "fetch the bundle again, or make it again from its run"


@dataclass(frozen=True)
class Bundle:
    """A bundle's papers. ``front``: the card's front matter; ``card``: the card without it."""

    folder: Path
    manifest: Mapping[str, Any]
    labels: tuple[str, ...]
    calibration: Mapping[str, Any]
    probes: Probes
    front: Mapping[str, Any]
    card: str


def read(folder: Path) -> Bundle:
    """Return the papers of the bundle in ``folder``, hashes unchecked (:func:`verify` does). Raises :class:`BundleError`."""
    found = manifest(folder)
    labels = _json(folder / LABELS)
    front, card = _card(folder / CARD)
    probes = Probes.parse(_json(folder / PROBES), str(folder / PROBES))
    return Bundle(folder, found, tuple(labels[str(i)] for i in range(len(labels))), _json(folder / CALIBRATION), probes, front, card)


def manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest, checked. Raises :class:`BundleError` where there is no bundle, or one that can't be read here."""
    place = str(folder / storage.MANIFEST)
    try:
        found = storage.read_manifest(folder)
    except ValueError as error:
        raise BundleError(f"the manifest can't be read: {error}", place=place, remedy=MEND) from error
    if found is None:
        raise BundleError("there is no bundle here: it has no manifest", place=str(folder), remedy="a run's is in its bundle/ folder")
    if not isinstance(found, dict) or found.get("kind") != "bundle":
        raise BundleError("this manifest is not a bundle's", place=place, remedy="a run's bundle is in its bundle/ folder")
    if found.get("schema", 0) > SCHEMA:
        told = f"written by a newer potstill (schema {found['schema']}; this one knows {SCHEMA})"
        raise BundleError(told, place=place, remedy="install that version")
    listed = found.get("files")
    if not isinstance(listed, dict) or not all(_inside(name) and "sha256" in facts for name, facts in listed.items()):
        raise BundleError("the manifest does not list the bundle's files and their hashes", place=place, remedy=MEND)
    return found


def digest(found: Mapping[str, Any]) -> str:
    """Return the digest of what answers in a bundle, from its :func:`manifest`: the model and its preprocessing, not the papers about them."""
    return storage.digest({name: facts["sha256"] for name, facts in found["files"].items() if name not in PAPERS})


def _inside(name: str) -> bool:
    """Tell whether a listed name stays in the folder: a manifest is input like any other."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _json(path: Path) -> Any:
    try:
        return storage.read_json(path)
    except FileNotFoundError as error:
        raise BundleError("the file is missing", place=str(path), remedy=MEND) from error
    except ValueError as error:
        raise BundleError(f"the file can't be read: {error}", place=str(path), remedy=MEND) from error


def _card(path: Path) -> tuple[dict[str, Any], str]:
    if not path.is_file():
        raise BundleError("the file is missing", place=str(path), remedy=MEND)
    _, front, card = (["", *path.read_text("utf-8").split("---\n", 2)[1:], "", ""])[:3]
    try:
        found = yaml.safe_load(front)
    except yaml.YAMLError as error:
        raise BundleError(f"the card's front matter can't be read: {error}", place=str(path), remedy=MEND) from error
    return found if isinstance(found, dict) else {}, card.lstrip("\n")
