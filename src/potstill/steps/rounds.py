"""The rounds: label, let a scout learn, choose where it is least sure, label again. Rounds read validation, never test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import storage
from ..lookup import load
from ..workspace import Workspace
from .data import Data
from .label import Lesson, choose, first, label
from .learn import Model, learn
from .teach import Teaching


def label_in_rounds(work: Workspace, data: Data, teaching: Teaching) -> tuple[Lesson, list[dict[str, Any]]]:
    """Return what the students learn from after the last round, and what each round asked and reached.

    The scout is the recipe's first student: it alone learns in every round, the others after the last.
    """
    lesson, done = first(work, data), []
    for number in range(1, work.recipe.rounds.count + 1):
        stage = label(work, data, teaching, lesson)
        record = {"round": number, "labels": len(lesson.labeled), "quality": None, **stage.read()}
        if number < work.recipe.rounds.count:
            scout = learn(work, data, teaching, work.recipe.students[0], lesson, "distilled", work.recipe.seeds[0])
            record["quality"] = scout.score
            lesson = lesson.plus(_chosen(work, data, lesson, scout))
        done.append(record)
    return lesson, done


def _chosen(work: Workspace, data: Data, lesson: Lesson, scout: Model) -> list[Any]:
    rounds = work.recipe.rounds

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("choose", f"choosing {rounds.each:,} more rows of the pool"):
            logprobs = None
            if rounds.choose == "uncertain":
                predictor = load("potstill.serving.predictor:Predictor").open(scout.artifact.folder, threads=work.threads)
                logprobs = predictor.predict([row.fields for row in data.unlabeled])
            storage.write_json(folder / "result.json", [row.id for row in choose(work, data, lesson, logprobs)])

    inputs = {
        "scout": scout.exported.fingerprint if rounds.choose == "uncertain" else None, "choose": rounds.choose, "each": rounds.each,
        "taken": [row.id for row in lesson.labeled], "pool": data.unlabeled.digest,
    }  # fmt: skip
    chosen = set(work.cache.get("choose", inputs, make).read())
    return [row for row in data.unlabeled if row.id in chosen]
