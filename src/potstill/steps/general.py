"""Before step 5, where a student asks for it: general distillation on plain text, kept for every recipe with the same teacher, student and text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import storage
from ..cache import Stage
from ..lookup import load
from ..recipe.students import unshaped
from ..records import Example, Head
from ..workspace import Workspace
from .data import Data
from .teach import Teaching

NO_TASK = Head("classes", ("no task", "yet"))  # names that no task has: the task's student gets a fresh classifier
SEED = 0  # one student for all seeds: they tell how the task's training varies
OF_THE_TASK = {"name", "objectives", "epochs", "learning_rate", "batch_size", "general", "source", "vocabulary"}  # what a student says about its second stage


def student(work: Workspace, data: Data, teaching: Teaching, spec: Any, max_length: int) -> Stage:
    """Return the stage whose ``model`` the task's training starts from: a student of the teacher as it was before it was adapted.

    It lies in ``$POTSTILL_HOME``: a recipe with the same teacher, the same student, the same text after the leak check and the same options
    finds it.
    """
    text, before = _text(work, data, spec), teaching.before()
    source = before.folder if spec.source in ("teacher", "scratch") else load("potstill.teachers.gguf:usable")(Path(spec.source), log=work.log)
    assert source is not None
    options = spec.general
    plan = _plan(work, spec, source, text.read()["rows"])
    inputs = {
        "teacher": before.fingerprint, "source": storage.sha256_folder(source), "student": spec.model_dump(mode="json", exclude=OF_THE_TASK | unshaped(spec)),
        "terms": [term.model_dump(mode="json") for term in options.objectives], "plan": plan, "text": text.read()["digest"],
        "max_length": max_length, "seed": SEED, **({"from": "scratch"} if spec.source == "scratch" else {}),
    }  # fmt: skip

    def make(folder: Path, scratch: Path) -> None:
        rows = load("potstill.dataset.plain:load")(text.folder)
        with work.log.stage(f"general.{spec.name}", f"teaching {spec.name} on {len(rows):,} plain texts, before the task"):
            _learn(work, before, spec, source, plan, rows, max_length, folder, scratch)

    return work.shared.get("general", inputs, make)


def _text(work: Workspace, data: Data, spec: Any) -> Stage:
    """Return the stage of the texts, clear of the rows that judge: those of this run, so the stage is the run's own."""
    options, near = spec.general, work.recipe.data.near_duplicates
    paths = [options.data] if isinstance(options.data, str) else list(options.data)

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("general.text", "reading the plain text"):
            load("potstill.dataset.plain:prepare")(paths, work.task, data.stage.folder, folder, work.log, near_duplicates=near, max_rows=options.max_rows)

    inputs = {"files": [storage.sha256_file(Path(path)) for path in paths], "data": data.stage.fingerprint, "max_rows": options.max_rows}
    return work.cache.get("general.text", inputs, make)


def _plan(work: Workspace, spec: Any, source: Path, rows: int) -> dict[str, Any]:
    usual, shared, options = load("potstill.students.build:options")(spec, source), work.recipe.training, spec.general
    batch = options.batch_size or usual.batch_size
    return {
        "steps": options.epochs * math.ceil(rows / batch), "batch_size": batch, "learning_rate": options.learning_rate or usual.learning_rate,
        **shared.model_dump(mode="json", exclude={"batch_size"}),
    }  # fmt: skip


def _learn(
    work: Workspace, before: Teaching, spec: Any, source: Path, plan: dict[str, Any], rows: Sequence[Example], max_length: int, folder: Path, scratch: Path,
) -> None:  # fmt: skip
    own = load("potstill.students.build:build")(spec, NO_TASK, source=source, fields=("text",), seed=SEED, max_length=max_length, rows=rows)
    shape = before.teacher.facts()
    terms, left_out = load("potstill.objectives.build:build")(
        [term.model_dump(mode="json") for term in spec.general.objectives], head_width=0, student_layers=own.hidden_layers, student_width=own.width,
        teacher_layers=shape["layers"], teacher_width=shape["width"], seed=SEED, student_heads=load("potstill.students.attention:heads")(own.module),
        teacher_heads=shape["heads"],
    )  # fmt: skip
    for name in left_out:
        work.log.warn(f"'{spec.name}' can't use the objective '{name}' of its general stage: it is left out")
    wants = sorted({want for term in terms for want in term.needs}, key=lambda want: want.key)
    answers = before.ask(rows, wants)
    answered = set(answers.answered(row.id for row in rows))
    learnt, held = load("potstill.training.general:held_out")([row for row in rows if row.id in answered])

    def records(part: Sequence[Example]) -> Any:
        taught = {want: answers.arrays([row.id for row in part], want) for want in wants}
        return load("potstill.training.records:TrainingRows")(own.preprocess.encode([row.fields for row in part]), [-1] * len(part), taught)

    history = load("potstill.training.loop:train")(
        own, records(learnt), terms=terms, spec=load("potstill.training.records:LoopSpec")(**plan, seed=SEED, threads=work.threads),
        evaluate=load("potstill.training.general:judge")(records(held), terms, plan["precision"]), scratch=scratch,
        progress=work.progress(f"general.{spec.name}"), log=work.log,
    )  # fmt: skip
    before.close()
    own.save(folder / "model")
    storage.write_json(folder / "result.json", {"history": history.as_json(), "rows": len(learnt), "held": len(held), "left_out": left_out, "plan": plan})
