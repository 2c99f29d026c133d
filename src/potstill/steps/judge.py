"""Steps 7 to 9: candidates are chosen on validation, calibrated, timed; then the test rows are opened, once, on the record."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import storage
from ..cache import Stage
from ..lookup import load
from ..records import Artifact, Example, group_numbers
from ..workspace import Workspace
from .data import Data
from .learn import Model
from .teach import Teaching, floor, load_arrays, main_metric, save_arrays

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
        artifact = load("potstill.export.ladder:seal")(folder / "artifact", fitted["temperature"])
        record = {name: getattr(artifact, name) for name in ("precision", "size_bytes", "sha256")}
        storage.write_json(folder / "result.json", {**record, **fitted})

    return work.cache.get(f"seal.{model.student}", {"exported": model.exported.fingerprint, "calibration": data.calibration.digest}, make)


def _temperature(work: Workspace, data: Data, model: Model) -> dict[str, Any]:
    """Return the temperature that the first half of the calibration rows asks for; the second half is for a cascade's policy."""
    rows = data.calibration.examples
    first = {row.id for row in data.halves()[0]}
    gold = work.task.encode(rows, data.head)
    use = np.array([row.id in first for row in rows], bool) & (gold >= 0)
    found = load("potstill.evaluation.calibration:fit_temperature")(model.logprobs("calibration")[use], gold[use], rows_in_all=int((gold >= 0).sum()))
    return {"temperature": found.temperature, "rows": int(use.sum()), "reason": found.reason}


# ---------------------------------------------------------------------------------------------------------------- speed
def speed(work: Workspace, data: Data, teaching: Teaching, found: Sequence[Candidate]) -> Stage:
    """Time the teacher as it runs today and every artifact, interleaved, each in a process of its own."""
    machine = load("potstill.measuring.machine:machine")(work.threads)
    subjects = [
        {"name": c.name, "ref": "potstill.measuring.openers:artifact", "spec": {"folder": str(c.artifact.folder), "threads": work.threads}} for c in found
    ]
    if teaching.ready.timed:
        spec = {**teaching.ready.told(), "labels": list(data.head.labels), "threads": work.threads}
        subjects.insert(0, {"name": "teacher", "ref": "potstill.teachers.timed:open_timed", "spec": spec})

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("speed", "timing the teacher and the artifacts, turn by turn"):
            rows = [row.fields for row in data.validation]
            measured = load("potstill.measuring.measure:measure")(
                [load("potstill.measuring.measure:Subject")(**subject) for subject in subjects], rows, threads=work.threads, log=work.log
            )
            storage.write_json(
                folder / "result.json", {"machine": machine, "measured": {name: m.as_json() for name, m in measured.items()}, "speedup": _speedups(measured)}
            )

    inputs = {
        "teacher": teaching.fingerprint if teaching.ready.timed else None, "artifacts": {c.name: c.artifact.sha256 for c in found},
        "rows": data.validation.digest, "machine": {k: machine[k] for k in ("cpu", "cores", "threads")},
    }  # fmt: skip
    return work.cache.get("speed", inputs, make, version=2)


def _speedups(measured: Mapping[str, Any]) -> dict[str, Any]:
    if "teacher" not in measured:
        return {}
    ratio = load("potstill.measuring.measure:speedup")
    return {name: ratio(found, measured["teacher"]) for name, found in measured.items() if name != "teacher"}


# ------------------------------------------------------------------------------------------------------------ the test
def registered_order(work: Workspace, found: Sequence[Candidate], standing: Stage) -> list[str]:
    """Return the names in the order in which they will be tested: closest to the teacher on validation first, then the smaller.

    It is registered before the test rows are opened, and the verdict keeps to it.
    """
    required = work.recipe.requirement
    teacher = load_arrays(standing.folder / "validation.npz")["teacher"]
    known = ~np.isnan(teacher).any(axis=1)

    def behind(candidate: Candidate) -> float:
        if required is None or required.fidelity is None:
            return -candidate.model.score  # the teacher's own score is the same for all
        own = work.task.decide(candidate.model.logprobs("validation"))
        return float((own != work.task.decide(teacher))[known].mean())

    return [c.name for c in sorted(found, key=lambda c: (behind(c), c.artifact.size_bytes, c.name))]


@dataclass(frozen=True)
class Opened:
    """The test rows after they were opened: gold, and what everyone said of them; a row of NaN where there was no answer."""

    rows: tuple[Example, ...]
    gold: np.ndarray
    logprobs: Mapping[str, np.ndarray]  # teacher, floor, and each model's name
    registration: Any
    read: Any
    stage: Stage

    @property
    def groups(self) -> np.ndarray | None:
        """The rows' groups as integers *Shape:* (rows,), None where they have none."""
        return group_numbers(self.rows)

    @property
    def judged(self) -> np.ndarray:
        """Which rows quality is told on, of everyone, so that columns side by side are of the same rows: gold, and the teacher answered."""
        return (self.gold >= 0) & ~np.isnan(self.logprobs["teacher"]).any(axis=1)


def open_test(work: Workspace, data: Data, teaching: Teaching, models: Sequence[Model], found: Sequence[Candidate], standing: Stage) -> Opened:
    """Register the requirement and the analysis, open the test rows, let everyone answer, and book the read."""
    required = work.recipe.requirement
    order = registered_order(work, found, standing)
    analysis = {
        "version": ANALYSIS, "metric": main_metric(work, data).name, "order": order,
        "artifacts": {c.name: c.artifact.sha256 for c in found},
    }  # fmt: skip
    registration = load("potstill.evaluation.registration:register")(
        work.folder, required.model_dump(mode="json") if required else None, data.test.digest, analysis
    )

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("test", "opening the test rows"):
            work.log.event("test.read", test=data.test.digest, registration=registration.hash)
            rows = data.test.open(registration)
            said = {"teacher": teaching.logprobs(rows)}
            if data.teaches_gold:
                said["floor"] = floor(work, data).predict_logprobs([work.task.text(row) for row in rows])
            for i, (name, place) in enumerate(answering.items()):
                work.log.progress("test", i, len(answering), name)
                said[name] = load("potstill.serving.predictor:Predictor").open(place, threads=work.threads).predict([row.fields for row in rows])
            save_arrays(folder / "logprobs.npz", said)

    chosen = {c.model.name: c.artifact.folder for c in found}
    answering = {m.name: chosen.get(m.name, m.artifact.folder) for m in models}
    inputs = {
        "registration": registration.hash, "test": data.test.digest, "teacher": teaching.fingerprint,
        "models": {m.name: m.artifact.sha256 for m in models}, "sealed": {c.name: c.artifact.sha256 for c in found},
    }  # fmt: skip
    stage = work.cache.get("test", inputs, make)
    said = load_arrays(stage.folder / "logprobs.npz")
    rows = data.test.open(registration)
    hashes = {name: storage.sha256_bytes(array.tobytes()) for name, array in said.items()}
    alpha = 1 - _confidence(required)
    read = load("potstill.evaluation.registration:read")(registration, artifacts=analysis["artifacts"], predictions=hashes, alpha=alpha)
    return Opened(rows, work.task.encode(rows, data.head), said, registration, read, stage)


def _confidence(required: Any) -> float:
    for part in (required.quality, required.fidelity) if required else ():
        if part is not None:
            return float(part.confidence)
    return 0.95
