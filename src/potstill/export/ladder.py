"""The ladder: fp32, then int8; the smallest that passes the gate on validation is kept, and each step's price is written down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnx

from .. import storage
from ..errors import PotstillError
from ..records import Artifact, Field
from ..runlog import RunLog
from ..serving.predictor import DESCRIPTION, SCHEMA, Predictor
from ..students.protocol import LoopStudent
from .int8 import to_int8
from .parity import Parity, parity, probes
from .to_onnx import to_onnx

MODEL = "model.onnx"
TOLERANCE = 1e-3  # of fp32 logits between torch and ONNX Runtime; 2e-5 is usual
Precision = Literal["fp32", "int8"]
Score = Callable[[Predictor], float]


def export(
    student: LoopStudent, folder: Path, *, precision: Literal["int8", "fp32", "auto"], score: Score, max_loss: float,
    rows: Sequence[Mapping[str, Field]], log: RunLog,
) -> tuple[Artifact, dict[str, Any]]:  # fmt: skip
    """Write the artifact of ``student`` to ``folder``; return it, and what each step of the ladder cost.

    ``score`` (higher is better) judges a step on validation; int8 is kept where it loses at most ``max_loss`` against fp32,
    whether it was asked for or left to us ("auto"). ``rows`` and odd inputs hold the exported model to the trained one. Raises
    :class:`PotstillError` where the fp32 graph is not what was trained.
    """
    graph = to_onnx(student)
    asked = probes(rows, student.preprocess_spec()["fields"])
    whole = _step(student, folder, graph, "fp32", score, asked)
    if not whole.parity.max_abs_diff <= TOLERANCE:
        raise PotstillError(f"the exported model differs from the trained one by {whole.parity.max_abs_diff:.2g} in its logits", place=str(folder))
    if precision == "fp32":
        return artifact(folder), {"steps": [whole.told(True, "the recipe asks for fp32")]}
    made = to_int8(graph)
    small = _step(student, folder, made.model, "int8", score, asked, max_batch=made.max_batch)
    loss = whole.score - small.score
    fault = _fault(whole, small, max_loss)
    why = fault or f"loses {loss:.4f} on validation, {max_loss:g} is allowed"
    steps = [
        whole.told(bool(fault), f"int8 {fault}" if fault else "int8 passes the gate and is smaller"),
        small.told(not fault, why) | {"loss": _number(loss), "tables": list(made.tables), "matrices": list(made.matrices)},
    ]
    if fault:
        log.warn(f"int8 {fault}: fp32 is kept")
        _write(student, folder, graph, "fp32")
    return artifact(folder), {"steps": steps}


@dataclass(frozen=True)
class Step:
    """One precision tried: what it weighs, how good it is on validation, how far it is from what was trained."""

    precision: Precision
    size_bytes: int
    score: float
    parity: Parity

    def told(self, kept: bool, why: str) -> dict[str, Any]:
        return {
            "precision": self.precision, "size_bytes": self.size_bytes, "score": _number(self.score), "loss": 0.0, "kept": kept, "why": why,
            "parity": self.parity.as_json(),
        }  # fmt: skip


def _fault(whole: Step, small: Step, max_loss: float) -> str | None:
    """Return why int8 may not be kept, if it may not."""
    if not (math.isfinite(small.parity.max_abs_diff) and math.isfinite(small.score)):
        return "gives scores that are no numbers"
    loss = whole.score - small.score
    if loss > max_loss + 1e-9:  # what is allowed is allowed, whatever the last digit of a difference
        return f"loses {loss:.4f} on validation, {max_loss:g} is allowed"
    return "is no smaller" if small.size_bytes >= whole.size_bytes else None


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _step(
    student: LoopStudent, folder: Path, graph: onnx.ModelProto, precision: Precision, score: Score, rows: Sequence[Mapping[str, Field]],
    *, max_batch: int | None = None,
) -> Step:  # fmt: skip
    _write(student, folder, graph, precision, max_batch=max_batch)
    predictor = Predictor.open(folder)
    return Step(precision, storage.size_of(folder), float(score(predictor)), parity(student, predictor, rows))


def _write(student: LoopStudent, folder: Path, graph: onnx.ModelProto, precision: Precision, *, max_batch: int | None = None) -> None:
    """Write the artifact, its description last; what it describes that lies in other files stands there with its hash."""
    with storage.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    storage.write_bytes(folder / MODEL, graph.SerializeToString(deterministic=True), point="export")
    student.save_preprocess(folder)
    spec = student.preprocess_spec()
    others = [folder / name for name in (MODEL, spec.get("file")) if name]
    described = {
        "schema": SCHEMA, "format": "onnx", "model": MODEL, "precision": precision, "student": student.kind, "parameters": student.parameters,
        "preprocess": spec, "head": {"kind": student.head.kind, "labels": list(student.head.labels)}, "temperature": 1.0,
        "max_batch": max_batch,
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": storage.sha256_file(path)} for path in others},
    }  # fmt: skip
    storage.write_json(folder / DESCRIPTION, described)


def seal(folder: Path, temperature: float) -> Artifact:
    """Put the calibration's ``temperature`` into the artifact; return it, its hash being another now."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise PotstillError(f"a temperature of {temperature} can't be", place=str(folder))
    storage.write_json(folder / DESCRIPTION, {**storage.read_json(folder / DESCRIPTION), "temperature": temperature})
    return artifact(folder)


def artifact(folder: Path) -> Artifact:
    """Return the record of the artifact in ``folder``: its size and its hash are those of all its files."""
    precision = storage.read_json(folder / DESCRIPTION)["precision"]
    return Artifact(folder, precision, storage.size_of(folder), storage.sha256_folder(folder))
