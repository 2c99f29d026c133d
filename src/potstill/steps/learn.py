"""Steps 5 and 6: students learn from the stored answers, controls from gold alone; both are exported in the same way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import storage
from ..cache import Stage
from ..evaluation import statistics
from ..lookup import load
from ..recipe.students import reads_rows, unshaped
from ..records import Artifact, Example
from ..redact import Redactor
from ..workspace import Workspace
from . import general as general_stage
from . import said
from .data import Data, fields
from .label import Lesson
from .teach import Teaching, learning_metric, load_arrays, save_arrays, thresholds

Arm = Literal["distilled", "control"]
PARITY_ROWS = 128  # of validation: they hold the exported model to the trained one, and show int8 what activations hold


@dataclass(frozen=True)
class Model:
    """One trained and exported model: which student, on which side, with which seed."""

    student: str
    arm: Arm
    seed: int
    trained: Stage
    exported: Stage

    @property
    def name(self) -> str:
        return f"{self.student}.{self.arm}.{self.seed}"

    @property
    def artifact(self) -> Artifact:
        record = self.exported.read()
        return Artifact(self.exported.folder / "artifact", record["precision"], record["size_bytes"], record["sha256"])

    @property
    def score(self) -> float:
        """The main metric of the exported model on validation, higher better: what chooses between seeds and orders students."""
        return float(self.exported.read()["score"])

    def logprobs(self, split: str) -> np.ndarray:
        """Return the exported model's log-probabilities, of labels log-odds, on ``validation`` or ``calibration``; temperature 1."""
        return load_arrays(self.exported.folder / "logprobs.npz")[split]

    @property
    def thresholds(self) -> np.ndarray:
        """What is taken off its scores at temperature 1 before they decide *Shape:* (labels,); (1,) of 0 where there are none."""
        return np.array(self.exported.read().get("thresholds") or [0.0], np.float32)

    def decided(self, split: str) -> np.ndarray:
        """Return its scores, their thresholds taken off."""
        return self.logprobs(split) - self.thresholds


def learn(work: Workspace, data: Data, teaching: Teaching, spec: Any, lesson: Lesson, arm: Arm, seed: int) -> Model:
    """Train and export one student; found again where nothing that it depends on has changed."""
    trained = train(work, data, teaching, spec, lesson, arm, seed)
    return Model(spec.name, arm, seed, trained, export(work, data, teaching, spec, trained, arm, seed))


def learn_all(work: Workspace, data: Data, teaching: Teaching, lesson: Lesson) -> list[Model]:
    """Train and export every student with every seed, and its control where there is gold to learn from."""
    arms: tuple[Arm, ...] = ("distilled", "control") if data.teaches_gold else ("distilled",)
    return [learn(work, data, teaching, spec, lesson, arm, seed) for spec in work.recipe.students for arm in arms for seed in work.recipe.seeds]


def train(work: Workspace, data: Data, teaching: Teaching, spec: Any, lesson: Lesson, arm: Arm, seed: int) -> Stage:
    own = tuple(term.model_dump(mode="json") for term in work.recipe.objectives_of(spec))
    terms = said.of(work, data).control_terms(own) if arm == "control" else own
    rows = tuple(e for e in lesson.gold if e.gold is not None) if arm == "control" else lesson.rows
    general = _general(work, data, teaching, spec, arm)
    source = general.folder / "model" if general else source_of(work, teaching, spec, arm)
    if source is not None and getattr(spec, "vocabulary", "all") != "all":
        source = _trimmed(work, data, spec, source, lesson)
    plan = _plan(work, spec, len(lesson.rows), source_of(work, teaching, spec, arm))
    inputs = {
        "student": spec.model_dump(mode="json", exclude={"name", "objectives", "general", *unshaped(spec)}),
        "terms": terms, "plan": plan, "seed": seed, "arm": arm,
        "rows": storage.digest([[e.id, e.gold] for e in rows]), "validation": data.validation.digest, "head": data.head.named,
        "metric": learning_metric(work, data).name,
        "teacher": teaching.fingerprint if arm == "distilled" or not data.has_gold else None,
        "source": storage.sha256_folder(source) if source else None, "max_length": max_length(work, spec),
        **({"read": storage.digest([e.id for e in lesson.rows])} if reads_rows(spec) else {}), **_replacing(work),
        **said.of(work, data).depends(teaching, arm),
    }  # fmt: skip

    def make(folder: Path, scratch: Path) -> None:
        title = f"training {spec.name}" if arm == "distilled" else f"training {spec.name}'s control, without the teacher"
        with work.log.stage(f"train.{spec.name}.{arm}.{seed}", title):
            _Training(work, data, teaching, spec, arm, seed, source, plan, terms, general).run(rows, lesson.rows, folder, scratch)

    return work.cache.get(f"train.{spec.name}.{arm}.{seed}", inputs, make, version=3)


def _general(work: Workspace, data: Data, teaching: Teaching, spec: Any, arm: Arm) -> Stage | None:
    """Return the general stage that a student goes through before the task; None without one.

    A control has none: what it teaches, the teacher teaches, and a control is the same student without a teacher. So the gain over
    control is that of both stages; the report says so.
    """
    if arm == "control" or getattr(spec, "general", None) is None:
        return None
    return general_stage.student(work, data, teaching, spec, max_length(work, spec))


def _trimmed(work: Workspace, data: Data, spec: Any, source: Path, lesson: Lesson) -> Path:
    """Return the model that a student starts from with the vocabulary of all rows of the lesson, for its control too: the same student."""
    at_most = spec.vocabulary if isinstance(spec.vocabulary, int) else None

    def make(folder: Path, scratch: Path) -> None:
        found = load("potstill.students.vocabulary:trim")(source, folder / "model", read_as(work, lesson.rows), fields(data), at_most)
        work.log.say(f"{spec.name}'s vocabulary: {found['after']:,} of {found['before']:,} tokens")
        storage.write_json(folder / "result.json", found)

    inputs = {
        "source": storage.sha256_folder(source), "rows": [row.id for row in lesson.rows], **({"at_most": at_most} if at_most else {}),
        **_replacing(work),
    }  # fmt: skip
    return work.cache.get(f"vocabulary.{spec.name}", inputs, make).folder / "model"


def read_as(work: Workspace, rows: Sequence[Example]) -> list[Mapping[str, Any]]:
    """Return the rows' fields as students read them."""
    redactor = Redactor.plain(work.recipe.replace)
    return [redactor.fields(row.fields) for row in rows] if work.recipe.replace else [row.fields for row in rows]


def _replacing(work: Workspace) -> dict[str, Any]:
    """Return what a student's fingerprint tells of the rules by which it reads; nothing where it reads texts as they are."""
    return {"replace": work.recipe.replace} if work.recipe.replace else {}


def source_of(work: Workspace, teaching: Teaching, spec: Any, arm: Arm) -> Path | None:
    """Return the model that a student starts from. A control starts from the model before it was adapted.

    From scratch nothing but its tokenizer is taken, which adapting leaves as it was.
    """
    source = getattr(spec, "source", None)
    if source is None:
        return None
    if source not in ("teacher", "scratch"):
        return Path(load("potstill.teachers.gguf:usable")(Path(source), log=work.log))
    return teaching.source if arm == "control" or source == "scratch" else teaching.folder


def max_length(work: Workspace, spec: Any) -> int:
    return getattr(spec, "max_length", None) or getattr(work.recipe.teacher, "max_length", None) or 128


def _plan(work: Workspace, spec: Any, rows: int, source: Path | None) -> dict[str, Any]:
    """Return the loop's options; both arms get the steps of the distilled one, so that their compute is equal.

    Rows of the pool, and those that augmentation made, have no gold, so a control can't learn from them: it goes over its gold rows
    more often instead, for as many steps.
    A kind with a fit of its own has both arms fitted by the same rounds, leaves, rate and stopping rule.
    """
    usual, shared = load("potstill.students.build:options")(spec, source), work.recipe.training
    if load("potstill.students.build:learns")(spec) == "fit":
        return {"rounds": spec.rounds, "leaves": spec.leaves, "patience": spec.patience, "learning_rate": spec.learning_rate or usual.learning_rate}
    batch = spec.batch_size or usual.batch_size or shared.batch_size
    epochs = spec.epochs or usual.epochs
    return {
        "steps": epochs * math.ceil(rows / batch), "batch_size": batch, "learning_rate": spec.learning_rate or usual.learning_rate,
        **shared.model_dump(mode="json", exclude={"batch_size"}), **({"optimizer": usual.optimizer} if usual.optimizer != "adamw" else {}),
    }  # fmt: skip


@dataclass(frozen=True)
class _Training:
    """One training with all that it needs: split into steps only to be readable."""

    work: Workspace
    data: Data
    teaching: Teaching
    spec: Any
    arm: Arm
    seed: int
    source: Path | None
    plan: dict[str, Any]
    terms: Sequence[Any]
    general: Stage | None

    def run(self, rows: Sequence[Example], read: Sequence[Example], folder: Path, scratch: Path) -> None:
        """``rows`` are learnt from; by those ``read``, the distilled arm's, both arms choose what a narrower student keeps."""
        work, data = self.work, self.data
        student = load("potstill.students.build:build")(
            self._shape(),
            data.head,
            source=self.source,
            fields=fields(data),
            seed=self.seed,
            max_length=max_length(work, self.spec),
            rows=read,
            replace=work.recipe.replace,
        )
        way = said.of(work, data)
        student = way.reading(student, self.teaching, rows)
        terms, left_out = self._terms(student, work.task.encode(rows, data.head))
        wants = sorted({want for term in terms for want in term.needs}, key=lambda want: want.key)
        rows, records = way.records(self.teaching, student, rows, wants)
        history = {"loop": self._loop, "fit": self._fit}[student.learns](student, records, terms, scratch)
        student.save(folder / "model")
        storage.write_json(
            folder / "result.json",
            {
                "history": history.as_json(), "left_out": left_out, "rows": len(rows), "parameters": student.parameters, "plan": self.plan,
                "source": storage.sha256_folder(self.source) if self.source else None,
                "general": {name: self.general.read()[name] for name in ("rows", "held")} if self.general else None,
            },
        )  # fmt: skip

    def _loop(self, student: Any, records: Any, terms: Sequence[Any], scratch: Path) -> Any:
        spec = load("potstill.training.records:LoopSpec")(**self.plan, seed=self.seed, threads=self.work.threads)
        return load("potstill.training.loop:train")(
            student, records, terms=terms, spec=spec, evaluate=self._judge(), scratch=scratch, progress=self._progress(), log=self.work.log
        )

    def _fit(self, student: Any, records: Any, terms: Sequence[Any], scratch: Path) -> Any:
        usable = {term.name for term in terms}
        spec = load("potstill.training.boosting:BoostSpec")(**self.plan, seed=self.seed, threads=self.work.threads)
        return load("potstill.training.boosting:fit")(
            student, records, terms=[term for term in self.terms if term["kind"] in usable], spec=spec,
            validation=student.preprocess.encode([row.fields for row in self.data.validation]),
            evaluate=lambda logprobs: score(self.work, self.data, self.teaching, logprobs), scratch=scratch, progress=self._progress(), log=self.work.log,
        )  # fmt: skip

    def _progress(self) -> Any:
        return self.work.progress(f"train.{self.spec.name}.{self.arm}.{self.seed}")

    def _shape(self) -> Any:
        """Return what is built: of a student that comes out of its general stage all layers and its width, for they are chosen already."""
        if self.general is None:
            return self.spec
        layers = self.spec.layers
        chosen = {"layers": layers if isinstance(layers, int) else len(layers), "source": "teacher", "heads": None, "intermediate": None, "hidden": None}
        return self.spec.model_copy(update=chosen)

    def _terms(self, student: Any, gold: np.ndarray) -> tuple[list[Any], list[str]]:
        shape = self.teaching.teacher.facts() if self.arm == "distilled" else {}
        terms, left_out = load("potstill.objectives.build:build")(
            self.terms, head_width=self.data.head.width, student_layers=student.hidden_layers, student_width=student.width,
            teacher_layers=shape.get("layers", 0), teacher_width=shape.get("width", 0), seed=self.seed,
            student_heads=load("potstill.students.attention:heads")(getattr(student, "module", None)), teacher_heads=shape.get("heads", 0),
            head_kind=self.data.head.kind, labels=self.data.head.labels, gold=gold,
        )  # fmt: skip
        for name in left_out:
            self.work.log.warn(f"'{self.spec.name}' can't use the objective '{name}': it is left out for this student")
        return terms, left_out

    def _judge(self) -> Any:
        """Return the function that early stopping asks: the main metric on validation, or agreement where there is no gold."""
        way, rows = said.of(self.work, self.data), self.data.validation.examples
        return lambda student: score(self.work, self.data, self.teaching, way.trained(student, rows))


def score(work: Workspace, data: Data, teaching: Teaching, logprobs: np.ndarray) -> statistics.Score:
    """Return how good validation answers are, higher better: the main metric on gold, else the agreement with the teacher."""
    rows = data.validation.examples
    if data.has_gold:
        gold, metric = work.task.encode(rows, data.head), learning_metric(work, data)
        return statistics.score(metric, gold, logprobs - work.task.thresholds(gold, logprobs, metric), data.validation.groups)
    taught = teaching.logprobs(rows, count=False)
    known = np.isfinite(taught).all(axis=1)
    groups = data.validation.groups
    same = ~load("potstill.evaluation.decisions:KINDS")[data.head.kind].differ(taught[known], logprobs[known])
    return statistics.share(same, None if groups is None else groups[known])


def export(work: Workspace, data: Data, teaching: Teaching, spec: Any, trained: Stage, arm: Arm, seed: int) -> Stage:
    """Export a trained student: the smallest precision that passes the gate on validation, in parity with what was trained."""
    options = work.recipe.export

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage(f"export.{spec.name}.{arm}.{seed}", f"exporting {spec.name}" + (" (control)" if arm == "control" else "")):
            student = load("potstill.students.build:load")(trained.folder / "model")
            way = said.of(work, data)

            def judge(place: Path) -> Any:
                scores = way.artifact(teaching, place, data.validation.examples)
                off = np.array(thresholds(work, data, scores) or [0.0], np.float32)
                return load("potstill.export.ladder:Judged")(score(work, data, teaching, scores).value, work.task.decide(scores - off))

            gate = load("potstill.export.ladder:Gate")(options.max_quality_loss, options.min_agreement)
            shown = [row.fields for row in data.validation.examples[:PARITY_ROWS]]
            artifact, ladder = way.export(student, folder / "artifact", judge=judge, gate=gate, rows=shown)
            logprobs: dict[str, np.ndarray] = {
                split.name: way.artifact(teaching, artifact.folder, split.examples) for split in (data.validation, data.calibration)
            }
            save_arrays(folder / "logprobs.npz", logprobs)
            off = thresholds(work, data, logprobs["validation"])
            if off is not None:
                artifact = load("potstill.export.ladder:seal")(folder / "artifact", 1.0, off)
            result = {name: getattr(artifact, name) for name in ("precision", "size_bytes", "sha256")} | ({} if off is None else {"thresholds": off})
            storage.write_json(folder / "result.json", {**result, **ladder, "score": score(work, data, teaching, logprobs["validation"]).value})

    inputs = {
        "trained": trained.fingerprint, "export": options.model_dump(mode="json"), "validation": data.validation.digest,
        "calibration": data.calibration.digest, "metric": learning_metric(work, data).name,
    }  # fmt: skip
    return work.cache.get(f"export.{spec.name}.{arm}.{seed}", inputs, make, version=4)
