"""The rounds: label, let a scout learn, look where it still errs, choose more rows, label again. Rounds read validation, never test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .. import storage
from ..cache import Stage
from ..lookup import load
from ..records import Example, Want
from ..workspace import Workspace
from .data import Data
from .label import Lesson, at_random, first, label, remaining
from .learn import Model, learn
from .teach import Teaching, main_metric, on_validation, threshold

VECTOR = Want("vector")
Record = dict[str, Any]


def label_in_rounds(work: Workspace, data: Data, teaching: Teaching, standing: Stage, more: Sequence[Example] = ()) -> tuple[Lesson, list[Record]]:
    """Return what the students learn from after the last round, and what each round asked, reached and gained.

    ``more`` are rows that were made (see ``augment``): they come with the first round. The scout is the recipe's first student: it alone
    learns in every round, the others after the last.
    """
    rounds, lesson, done, scouts = work.recipe.rounds, first(work, data).plus(more), [], []
    began = lesson
    for number in range(1, rounds.count + 1):
        record = {"round": number, "labels": len(lesson.labeled), "quality": None, **label(work, data, teaching, lesson).read()}
        done.append(record)
        if rounds.count == 1:
            break
        scouts.append(learn_scout(work, data, teaching, lesson))
        record |= {"quality": scouts[-1].score, "gain": gain(work, data, standing, *scouts[-2:]) if number > 1 else None}
        why = _why_stop(work, data, standing, scouts, left=len(remaining(data, lesson)))
        if why is not None and number < rounds.count:
            work.log.say(f"round {number} is the last: {why}")
            record["stopped"] = why
            break
        if number < rounds.count:
            lesson = lesson.plus(_chosen(work, data, teaching, standing, lesson, scouts[-1]))
    if len(done) > 1 and _wants_random_arm(work):
        done[-1]["random"] = _random_arm(work, data, teaching, standing, began, lesson, scouts[-1])
    return lesson, done


def learn_scout(work: Workspace, data: Data, teaching: Teaching, lesson: Lesson) -> Model:
    return learn(work, data, teaching, work.recipe.students[0], lesson, "distilled", work.recipe.seeds[0])


# ------------------------------------------------------------------------------------------------------------- stopping
def _why_stop(work: Workspace, data: Data, standing: Stage, scouts: Sequence[Model], *, left: int) -> str | None:
    """Return why there should be no further round; None where there should."""
    rounds = work.recipe.rounds
    if not left:
        return "the pool is spent"
    if not rounds.stop:
        return None
    if _met(work, data, standing, scouts[-1]):
        return "the requirement is met on validation"
    scores = [scout.score for scout in scouts]
    if len(scores) > rounds.patience and max(scores[-rounds.patience :]) <= max(scores[: -rounds.patience]):
        return f"the last {rounds.patience} rounds brought nothing on validation"
    return None


def _met(work: Workspace, data: Data, standing: Stage, scout: Model) -> bool:
    """Return whether the requirement's quality (or fidelity) passes on validation, by the bound that decides on the test rows."""
    required = work.recipe.requirement
    part = (required.quality or required.fidelity) if required is not None else None
    if required is None or part is None:
        return False
    rows, alpha = _rows(work, data, on_validation(standing)["teacher"], scout), 1 - part.confidence
    if required.quality is not None:
        check = load("potstill.evaluation.checks:quality_check")(required.quality, main_metric(work, data), rows, alpha)
    else:
        check = load("potstill.evaluation.checks:fidelity_check")(required.fidelity, rows, alpha)
    return bool(check.status == "pass")


def gain(work: Workspace, data: Data, standing: Stage, before: Model, after: Model) -> Record:
    """Return by how much ``after`` is better than ``before`` on validation, with its two-sided 95 % interval.

    In the main metric; without gold, in the share of rows on which it agrees with the teacher.
    """
    rows = _rows(work, data, after.decided("validation"), before)
    metric = main_metric(work, data)
    if not data.has_gold:
        teacher = on_validation(standing)["teacher"]
        known = np.isfinite(teacher).all(axis=1)
        decided = work.task.decide(np.where(known[:, None], teacher, 0.0))
        decided[~known] = -1
        metric = work.task.metrics(data.head)["accuracy" if data.head.kind == "classes" else "subset_accuracy"]
        rows = load("potstill.evaluation.checks:Rows")(decided, rows.teacher, rows.student, rows.groups)
    found = load("potstill.evaluation.checks:drop_interval")(metric, rows.known(need_gold=True), 0.025)
    return asdict(found)


def _rows(work: Workspace, data: Data, against: np.ndarray, scout: Model) -> Any:
    """Return the validation rows of ``scout`` beside those of who stands in the teacher's place."""
    gold = work.task.encode(data.validation.examples, data.head)
    return load("potstill.evaluation.checks:Rows")(gold, against, scout.decided("validation"), data.validation.groups)


# ------------------------------------------------------------------------------------------------------------- choosing
def _chosen(work: Workspace, data: Data, teaching: Teaching, standing: Stage, lesson: Lesson, scout: Model) -> list[Example]:
    """Return the next round's rows, in the order of the pool."""
    rounds = work.recipe.rounds

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("choose", f"choosing {rounds.each:,} more rows of the pool"):
            rows = CHOICES[rounds.choose](work, data, teaching, standing, lesson, scout)
            storage.write_json(folder / "result.json", [row.id for row in rows])

    inputs = {
        "scout": scout.exported.fingerprint if rounds.choose != "random" else None, "choose": rounds.choose, "each": rounds.each,
        "taken": [row.id for row in lesson.labeled], "pool": data.unlabeled.digest,
        **({"teacher": teaching.fingerprint} if rounds.choose == "near_disagreements" else {}),
    }  # fmt: skip
    chosen = set(work.cache.get("choose", inputs, make).read())
    return [row for row in data.unlabeled if row.id in chosen]


def _uncertain(work: Workspace, data: Data, teaching: Teaching, standing: Stage, lesson: Lesson, scout: Model) -> list[Example]:
    """Return the remaining rows of which the scout is least sure; with any number of labels, of one of its labels."""
    left = remaining(data, lesson)
    least = load(f"potstill.dataset.select:{LEAST_SURE[data.head.kind]}")
    return [left[i] for i in least(_said(work, scout, left), work.recipe.rounds.each)]


def _near_disagreements(work: Workspace, data: Data, teaching: Teaching, standing: Stage, lesson: Lesson, scout: Model) -> list[Example]:
    """Return the remaining rows that lie, in the teacher's space, near to rows it labeled and the scout still decides otherwise.

    Never near to rows that judge: choosing by validation's mistakes would make validation an optimist. Where the scout agrees on all
    that it learnt from, the rows of which it is least sure.
    """
    known = teaching.logprobs(lesson.rows, count=False) - threshold(standing, "teacher")
    own = _said(work, scout, lesson.rows)
    answered = np.isfinite(known).all(axis=1)
    differ = answered & load("potstill.evaluation.decisions:KINDS")[data.head.kind].differ(np.where(answered[:, None], known, 0.0), own)
    if not differ.any():
        return _uncertain(work, data, teaching, standing, lesson, scout)
    wrong = [row for row, other in zip(lesson.rows, differ) if other]
    left = remaining(data, lesson)
    answers = teaching.ask([*wrong, *left], [VECTOR])
    have = set(answers.answered(row.id for row in (*wrong, *left)))
    wrong, left = ([row for row in rows if row.id in have] for rows in (wrong, left))
    around, vectors = (answers.array([row.id for row in rows], VECTOR) for rows in (wrong, left))
    return [left[i] for i in load("potstill.dataset.select:near")(vectors, around, work.recipe.rounds.each)]


def _at_random(work: Workspace, data: Data, teaching: Teaching, standing: Stage, lesson: Lesson, scout: Model) -> list[Example]:
    return at_random(data, lesson, work.recipe.rounds.each)


LEAST_SURE = {"classes": "least_sure", "labels": "least_sure_of_a_label"}
CHOICES = {"uncertain": _uncertain, "near_disagreements": _near_disagreements, "random": _at_random}


def _said(work: Workspace, scout: Model, rows: Sequence[Example]) -> np.ndarray:
    """Return the scout's scores, their thresholds taken off."""
    predictor = load("potstill.serving.predictor:Predictor").open(scout.artifact.folder, threads=work.threads)
    said: np.ndarray = predictor.predict([row.fields for row in rows]) - predictor.thresholds
    return said


# ------------------------------------------------------------------------------------------------------- the random arm
def _wants_random_arm(work: Workspace) -> bool:
    rounds = work.recipe.rounds
    if rounds.choose == "random":
        return False
    return not work.paid if rounds.random_arm is None else rounds.random_arm


def _random_arm(work: Workspace, data: Data, teaching: Teaching, standing: Stage, began: Lesson, ended: Lesson, scout: Model) -> Record:
    """Let a scout learn from as many rows drawn at random, from the same first ones on, and say what choosing was worth beside it."""
    lesson = began.plus(at_random(data, began, len(ended.labeled) - len(began.labeled)))
    work.log.say("the same number of rows at random, to show what choosing was worth")
    label(work, data, teaching, lesson)
    other = learn_scout(work, data, teaching, lesson)
    return {"labels": len(lesson.labeled), "quality": other.score, "gain": gain(work, data, standing, other, scout)}
