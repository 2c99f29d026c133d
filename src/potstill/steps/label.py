"""Step 4: the teacher is asked, once, about the rows that students learn from; in rounds, where the pool is dealt out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import rng, storage
from ..cache import Stage
from ..records import Example
from ..workspace import Workspace
from . import said
from .data import Data
from .teach import Teaching


@dataclass(frozen=True)
class Lesson:
    """What the students of a round learn from: gold rows, and the pool rows that the teacher labeled."""

    gold: tuple[Example, ...]
    labeled: tuple[Example, ...] = ()

    @property
    def rows(self) -> tuple[Example, ...]:
        return (*self.gold, *self.labeled)

    def plus(self, more: Sequence[Example]) -> Lesson:
        return Lesson(self.gold, (*self.labeled, *more))


def ask_ahead(work: Workspace, data: Data, teaching: Teaching) -> None:
    """Ask at once about all rows that are known to be needed, where a teacher works through files of requests: one takes hours, not seconds."""
    if getattr(work.recipe.teacher, "batch", None) is None:
        return
    rows = (*data.validation, *data.calibration, *first(work, data).rows)

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("ask", f"asking the teacher, by the file, about {len(rows):,} rows"):
            answers = teaching.raw(rows, [data.head.want])
            storage.write_json(folder / "result.json", {"counts": answers.counts})

    work.cache.get("ask", {"teacher": teaching.fingerprint, "rows": [row.id for row in rows]}, make)


def label(work: Workspace, data: Data, teaching: Teaching, lesson: Lesson) -> Stage:
    """Ask for all that the students' objectives need on the lesson's rows; what the store holds is not asked again."""
    objectives = {spec.name: [term.model_dump(mode="json") for term in work.recipe.objectives_of(spec)] for spec in work.recipe.students}
    layers = {spec.name: getattr(spec, "layers", None) for spec in work.recipe.students}

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("label", f"asking the teacher about {len(lesson.rows):,} rows"):
            before = work.usage
            answers = said.of(work, data).label(teaching, lesson.rows)
            storage.write_json(folder / "result.json", {"counts": answers.counts, "usage": asdict(work.usage - before)})

    inputs = {"teacher": teaching.fingerprint, "rows": [row.id for row in lesson.rows], "objectives": objectives, "layers": layers}
    inputs |= said.of(work, data).depends(teaching, "distilled")
    return work.cache.get("label", inputs, make)


def first(work: Workspace, data: Data) -> Lesson:
    """Return the first round's lesson: all gold rows, and the pool or its first rows by a seeded order."""
    pool = data.unlabeled.examples
    count = len(pool) if work.recipe.rounds.first == "all" else work.recipe.rounds.first
    return Lesson(data.train.examples, tuple(_shuffled(pool, 0)[:count]) if count < len(pool) else pool)


def remaining(data: Data, lesson: Lesson) -> list[Example]:
    """Return the rows of the pool that the teacher was not asked about."""
    taken = {row.id for row in lesson.labeled}
    return [row for row in data.unlabeled if row.id not in taken]


def at_random(data: Data, lesson: Lesson, count: int) -> list[Example]:
    """Return ``count`` of the remaining rows by a seeded order."""
    return _shuffled(remaining(data, lesson), len(lesson.labeled))[:count]


def _shuffled(rows: Sequence[Example], salt: int) -> list[Example]:
    return sorted(rows, key=lambda row: rng.integer(0, "pool", salt, row.id))
