"""Steps 7 to 9: candidates are chosen on validation, calibrated, timed; then the test rows are opened, once, on the record."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import storage
from ..cache import Stage
from ..lookup import load
from ..records import Artifact, Example, group_numbers
from ..workspace import Workspace
from . import answers, said
from .answers import Written
from .data import Data
from .learn import Model
from .teach import Teaching, labeled, load_arrays, main_metric, on_validation, save_arrays, threshold, written_metric

ANALYSIS = 2  # raised when the statistics that decide change


@dataclass(frozen=True)
class Candidate:
    """What could ship for one student: the artifact of the seed that validation chose, calibrated; and the control beside it."""

    name: str
    spec: Any
    model: Model
    control: Model | None
    sealed: Stage

    @property
    def artifact(self) -> Artifact:
        record = self.sealed.read()
        return Artifact(self.sealed.folder / "artifact", record["precision"], record["size_bytes"], record["sha256"])

    @property
    def temperature(self) -> float:
        return float(self.sealed.read()["temperature"])

    @property
    def thresholds(self) -> np.ndarray:
        """What is taken off the sealed artifact's scores before they decide: see :attr:`Model.thresholds`."""
        return np.array(self.sealed.read().get("thresholds") or [0.0], np.float32)


def candidates(work: Workspace, data: Data, models: Sequence[Model]) -> list[Candidate]:
    """Choose each student's seed on validation and fit its temperature on half of the calibration rows; the test rows choose nothing."""
    found = []
    for spec in work.recipe.students:
        best = {
            arm: max((m for m in models if (m.student, m.arm) == (spec.name, arm)), key=lambda m: (m.score, -m.seed), default=None)
            for arm in ("distilled", "control")
        }
        assert best["distilled"] is not None  # every student was trained: learn_all
        found.append(Candidate(spec.name, spec, best["distilled"], best["control"], _seal(work, data, best["distilled"])))
    return found


def _seal(work: Workspace, data: Data, model: Model) -> Stage:
    def make(folder: Path, scratch: Path) -> None:
        shutil.copytree(model.artifact.folder, folder / "artifact")
        fitted = _temperature(work, data, model)
        off = None if data.head.kind != "labels" else (model.thresholds / fitted["temperature"]).tolist()  # of tempered scores the same decisions
        artifact = load("potstill.export.ladder:seal")(folder / "artifact", fitted["temperature"], off)
        record = {name: getattr(artifact, name) for name in ("precision", "size_bytes", "sha256")}
        storage.write_json(folder / "result.json", {**record, **fitted, **({} if off is None else {"thresholds": off})})

    return work.cache.get(f"seal.{model.student}", seal_inputs(model.exported.fingerprint, data.calibration.digest), make)


def seal_inputs(exported: str, calibration: str) -> dict[str, str]:
    """Return what a sealed artifact's fingerprint stands on: the export's own, and the digest of the calibration rows."""
    return {"exported": exported, "calibration": calibration}


def _temperature(work: Workspace, data: Data, model: Model) -> dict[str, Any]:
    """Return the temperature that the first half of the calibration rows asks for; the second half is for a cascade's policy. A language model's
    is 1: what it is drawn at is chosen where it writes."""
    if data.head.kind == "tokens":
        return {"temperature": 1.0, "rows": 0, "reason": "a language model"}
    rows = data.calibration.examples
    first = {row.id for row in data.halves()[0]}
    gold = work.task.encode(rows, data.head)
    known = labeled(gold)
    use = np.array([row.id in first for row in rows], bool) & known
    found = load("potstill.evaluation.calibration:fit_temperature")(model.logprobs("calibration")[use], gold[use], rows_in_all=int(known.sum()))
    return {"temperature": found.temperature, "rows": int(use.sum()), "reason": found.reason}


# ---------------------------------------------------------------------------------------------------------------- speed
def speed(work: Workspace, data: Data, teaching: Teaching, found: Sequence[Candidate]) -> Stage:
    """Time the teacher as it runs today and every artifact, interleaved, each in a process of its own."""
    machine = load("potstill.measuring.machine:machine")(work.threads)
    way = said.of(work, data)
    subjects = [
        {"name": c.name, "ref": f"potstill.measuring.openers:{way.opener}", "spec": {"folder": str(c.artifact.folder), "threads": work.threads}} for c in found
    ]
    today = teaching.ready.today()
    if today.timed:
        spec = {**today.told(), "labels": list(data.head.labels), "head": data.head.kind, "threads": work.threads}
        subjects.insert(0, {"name": "teacher", "ref": "potstill.teachers.timed:open_timed", "spec": spec})

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("speed", "timing the teacher and the artifacts, turn by turn"):
            rows = [row.fields for row in data.validation]
            measured, ratios = way.timed([load("potstill.measuring.subject:Subject")(**subject) for subject in subjects], rows)
            storage.write_json(folder / "result.json", {"machine": machine, "measured": measured, "speedup": ratios})

    inputs = {
        "teacher": teaching.fingerprint if today.timed else None, "artifacts": {c.name: c.artifact.sha256 for c in found},
        "rows": data.validation.digest, "machine": {k: machine[k] for k in ("cpu", "cores", "threads")},
        **({} if today == teaching.ready else {"timed": today.told()["teacher"]}),
    }  # fmt: skip
    return work.cache.get("speed", inputs, make, version=2)


# ------------------------------------------------------------------------------------------------------------ the test
def registered_order(work: Workspace, data: Data, found: Sequence[Candidate], standing: Stage, held: Written | None) -> list[str]:
    """Return the names in the order in which they will be tested: closest to the teacher on validation first, then the smaller. ``held``: what was
    written to validation rows, where the requirement is about that.

    It is registered before the test rows are opened, and the verdict keeps to it.
    """
    required = work.recipe.requirement
    teacher = on_validation(standing)["teacher"]
    known = ~np.isnan(teacher).any(axis=1)
    differ = load("potstill.evaluation.decisions:KINDS")[data.head.kind].differ

    def behind(candidate: Candidate) -> float:
        if held is not None:
            metric, rows = main_metric(work, data), held.sides(candidate.model.name)
            return -float(metric.combine(metric.statistics(rows.gold, rows.student).sum(axis=0)))
        if required is None or required.fidelity is None:
            return -candidate.model.score  # the teacher's own score is the same for all
        return float(differ(candidate.model.decided("validation"), teacher)[known].mean())

    return [c.name for c in sorted(found, key=lambda c: (behind(c), c.artifact.size_bytes, c.name))]


@dataclass(frozen=True)
class Opened:
    """The test rows after they were opened: gold, and what everyone said of them; a row of NaN where there was no answer.

    ``said``: scores by name (teacher, floor, each model's); ``thresholds``: what is taken off them before they decide, (1,) of 0 where
    one class applies.
    """

    rows: tuple[Example, ...]
    gold: np.ndarray
    said: Mapping[str, np.ndarray]
    thresholds: Mapping[str, np.ndarray]
    registration: Any
    read: Any
    stage: Stage
    held: Written | None = None  # what was written to validation rows, where the requirement is about that
    written: Written | None = None  # what was written to test rows, where the recipe asks

    @property
    def decided(self) -> Written | None:
        """What decides where the requirement is about written answers; None where it is about the scores."""
        return self.written if self.held is not None else None

    @cached_property
    def logprobs(self) -> Mapping[str, np.ndarray]:
        """What decides, by name: log-probabilities, or log-odds with their thresholds taken off."""
        return {name: scores - self.thresholds[name] for name, scores in self.said.items()}

    @cached_property
    def labeled(self) -> np.ndarray:
        """Which rows have gold *Shape:* (rows,)."""
        return labeled(self.gold)

    @property
    def groups(self) -> np.ndarray | None:
        """The rows' groups as integers *Shape:* (rows,), None where they have none."""
        return group_numbers(self.rows)

    @property
    def judged(self) -> np.ndarray:
        """Which rows quality is told on, of everyone, so that columns side by side are of the same rows: gold, and the teacher answered."""
        return self.labeled & ~np.isnan(self.logprobs["teacher"]).any(axis=1)


def open_test(work: Workspace, data: Data, teaching: Teaching, models: Sequence[Model], found: Sequence[Candidate], standing: Stage) -> Opened:
    """Register the requirement and the analysis, open the test rows, let everyone answer, and book the read."""
    required = work.recipe.requirement
    held = _rehearsed(work, data, teaching, found)
    order = registered_order(work, data, found, standing, held)
    analysis = {
        "version": ANALYSIS, "metric": main_metric(work, data).name, "order": order,
        "artifacts": {c.name: c.artifact.sha256 for c in found}, **answers.registered(work),
    }  # fmt: skip
    registration = load("potstill.evaluation.registration:register")(
        work.folder, required.model_dump(mode="json") if required else None, data.test.digest, analysis
    )

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("test", "opening the test rows"):
            work.log.event("test.read", test=data.test.digest, registration=registration.hash)
            rows = data.test.open(registration)
            way, scores = said.of(work, data), {"teacher": teaching.logprobs(rows)}
            if data.teaches_gold:
                scores["floor"] = way.below(way.floor(teaching), teaching, rows)
            for i, (name, place) in enumerate(answering.items()):
                work.log.progress("test", i, len(answering), name)
                scores[name] = way.artifact(teaching, place, rows)
            save_arrays(folder / "logprobs.npz", scores)

    chosen = {c.model.name: c.artifact.folder for c in found}
    answering = {m.name: chosen.get(m.name, m.artifact.folder) for m in models}
    inputs = {
        "registration": registration.hash, "test": data.test.digest, "teacher": teaching.fingerprint,
        "models": {m.name: m.artifact.sha256 for m in models}, "sealed": {c.name: c.artifact.sha256 for c in found},
    }  # fmt: skip
    stage = work.cache.get("test", inputs, make)
    scores = load_arrays(stage.folder / "logprobs.npz")
    rows = data.test.open(registration)
    hashes = {name: storage.sha256_bytes(array.tobytes()) for name, array in scores.items()}
    written = _written(work, data, teaching, rows, found)
    hashes |= {f"written.{name}": storage.sha256_bytes(grades.tobytes()) for name, grades in (written.grades if written else {}).items()}
    alpha = 1 - _confidence(required)
    read = load("potstill.evaluation.registration:read")(registration, artifacts=analysis["artifacts"], predictions=hashes, alpha=alpha)
    off = {name: threshold(standing, name) for name in ("teacher", "floor")} | {m.name: m.thresholds for m in models}
    off |= {c.model.name: c.thresholds for c in found}
    return Opened(rows, work.task.encode(rows, data.head), scores, off, registration, read, stage, held, written)


def _rehearsed(work: Workspace, data: Data, teaching: Teaching, found: Sequence[Candidate]) -> Written | None:
    """Return what is written to validation rows, by which students are ordered where the requirement is about such a metric; else None."""
    if written_metric(work) is None:
        return None
    return answers.on_validation(work, data, teaching, {c.model.name: (c.artifact.sha256, c.artifact.folder) for c in found})


def _written(work: Workspace, data: Data, teaching: Teaching, rows: Sequence[Example], found: Sequence[Candidate]) -> Written | None:
    """Return what the teacher, what would ship and its controls write to test rows that were opened; None where the recipe asks for nothing."""
    if not work.recipe.generation.metrics:
        return None
    folders = {c.model.name: (c.artifact.sha256, c.artifact.folder) for c in found}
    folders |= {c.control.name: (c.control.artifact.sha256, c.control.artifact.folder) for c in found if c.control is not None}
    return answers.written(work, data, teaching, "test", rows, folders)


def _confidence(required: Any) -> float:
    for part in (required.quality, required.fidelity) if required else ():
        if part is not None:
            return float(part.confidence)
    return 0.95
