"""Step 1: the data, read, cleaned, split and sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import rng, storage
from ..cache import Stage
from ..lookup import load
from ..records import Example, Head, SealedSplit, Split
from ..workspace import Workspace
from .screen import screen

FILES = ("train", "validation", "calibration", "test", "unlabeled")


@dataclass(frozen=True)
class Data:
    """The rows by what they may be used for, what a student must put out, and the data card."""

    stage: Stage
    train: Split
    validation: Split
    calibration: Split
    unlabeled: Split
    test: SealedSplit
    head: Head
    card: dict[str, Any]
    elsewhere: tuple[Example, ...] = ()  # rows of another kind, for robustness alone

    @property
    def has_gold(self) -> bool:
        """Whether quality can be told: every role that judges has gold answers."""
        return all(example.gold is not None for example in self.validation) and bool(self.card["has_gold"]["test"])

    @property
    def teaches_gold(self) -> bool:
        return any(example.gold is not None for example in self.train)

    def halves(self) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
        """Return the calibration rows in two halves, by hash of the group or the row: for the temperature, and for a cascade's policy."""
        return halves(self.calibration.examples)


def halves(rows: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Return calibration rows in two halves: see :meth:`Data.halves`."""
    side = [rng.integer(0, "calibration", row.group or row.id) % 2 == 0 for row in rows]
    return tuple(r for r, first in zip(rows, side) if first), tuple(r for r, first in zip(rows, side) if not first)


def prepare(work: Workspace) -> Data:
    """Read the user's files; the stage is found again as long as their contents and the options stay. Rows that talk to a model are looked for.

    Raises :class:`MissingExtraError` where a student's kind needs what is not installed: now, not after the teacher was asked.
    """
    load("potstill.students.build:check")(work.recipe.students)
    spec = work.recipe.data
    options = spec.model_dump(mode="json", by_alias=True, exclude=set(FILES))
    files = {role: [_digest(path) for path in _paths(getattr(spec, role))] for role in FILES}

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("data", "reading the data"):
            load("potstill.dataset.prepare:prepare")(spec, work.task, folder, work.log)

    stage = work.cache.get("data", {"task": work.recipe.task, "options": options, "files": files}, make, version=2)
    found = load("potstill.dataset.prepare:load")(stage.folder)
    head = Head(work.task.head_kind, tuple(found.card["labels"]))
    data = Data(stage, found.train, found.validation, found.calibration, found.unlabeled, found.test, head, found.card)
    load("potstill.steps.answers:check")(work, data)
    return screen(work, replace(data, elsewhere=_elsewhere(work, data)))


def _elsewhere(work: Workspace, data: Data) -> tuple[Example, ...]:
    """Return the rows of another kind that ``robustness`` names; read at the start, so that a bad file costs no training."""
    paths = work.recipe.robustness.out_of_domain
    if paths is None:
        return ()

    def make(folder: Path, scratch: Path) -> None:
        learnt = {row.id for split in (data.train, data.unlabeled, data.validation, data.calibration) for row in split}
        load("potstill.dataset.prepare:prepare_elsewhere")(paths, work.recipe.data, work.task, folder, work.log, labels=data.head.labels, learnt=learnt)

    files = [_digest(path) for path in _paths(paths)]
    stage = work.cache.get("out_of_domain", {"data": data.stage.fingerprint, "files": files}, make)
    rows: tuple[Example, ...] = load("potstill.dataset.prepare:load_elsewhere")(stage.folder)
    return rows


def fields(data: Data) -> tuple[str, ...]:
    """Return the names of the fields that every example has."""
    return tuple(data.train.examples[0].fields)


def _paths(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _digest(path: str) -> str:
    place = Path(path)
    return storage.sha256_folder(place) if place.is_dir() else storage.sha256_file(place)
