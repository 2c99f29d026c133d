"""The ladder: fp32, then int8 step by step; the smallest that passes the gate on validation is kept, and each step's price is written down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import onnx

from .. import storage
from ..errors import PotstillError
from ..records import Artifact, Field
from ..runlog import RunLog
from ..serving.predictor import DESCRIPTION, REPLACED, SCHEMAS, Predictor
from ..students.protocol import AnyStudent
from .int8 import Int8, by_harm, to_int8, watch
from .parity import parity, probes
from .to_onnx import to_onnx

MODEL = "model.onnx"
TOLERANCE = 1e-3  # of fp32 logits between torch and ONNX Runtime; 2e-5 is usual
# And for each point of the greatest logit: a sum of n terms in float32 is good to n * 6e-8 of what they come to, 4e-4 at the 6,600 that our longest
# probe has to an n-gram student. Where they are 600 times the same word, rounding goes one way: 1.7e-4 was seen.
DIGITS = 5e-4
SPARED = 0.15  # of the matrices: those whose 8-bit products harm the answers most. Two of 18 brought agreement from 98.5 to 99.4 % (docs/log.md)
HARM_ROWS = 32  # rows by which harm is told
Precision = Literal["fp32", "int8"]


@dataclass(frozen=True)
class Judged:
    """What validation says of a step: its score, higher better, and its decisions *Shape:* (rows, ...)."""

    score: float
    decisions: np.ndarray


@dataclass(frozen=True)
class Gate:
    """What int8 may cost on validation, against fp32: points of the score, and the share of decisions that must stay."""

    max_loss: float
    min_agreement: float = 0.0

    def fault(self, whole: Step, small: Step) -> str | None:
        """Return why a step may not be kept, if it may not."""
        if not (math.isfinite(small.parity.max_abs_diff) and math.isfinite(small.judged.score)):
            return "gives scores that are no numbers"
        if small.loss(whole) > self.max_loss + 1e-9:  # what is allowed is allowed, whatever the last digit of a difference
            return f"loses {small.loss(whole):.4f} on validation, {self.max_loss:g} is allowed"
        if small.agreement(whole) < self.min_agreement - 1e-9:
            return f"decides {small.agreement(whole):.1%} of the validation rows as fp32 does, {self.min_agreement:.1%} is asked"
        return "is no smaller" if small.size_bytes >= whole.size_bytes else None


class Apart(Protocol):
    """How far a step is from what was trained."""

    @property
    def max_abs_diff(self) -> float: ...

    @property
    def scale(self) -> float: ...

    def as_json(self) -> dict[str, Any]: ...


Judge = Callable[[Predictor], Judged]


def export(
    student: AnyStudent, folder: Path, *, precision: Literal["int8", "fp32", "auto"], judge: Judge, gate: Gate,
    rows: Sequence[Mapping[str, Field]], log: RunLog,
) -> tuple[Artifact, dict[str, Any]]:  # fmt: skip
    """Write the artifact of ``student`` to ``folder``; return it, and what each step of the ladder cost.

    ``judge`` looks at a step on validation; int8 is kept where it passes the ``gate``, whether it was asked for or left to us
    ("auto"). ``rows`` and odd inputs hold the exported model to the trained one, and ``rows`` show what its activations hold. Raises
    :class:`PotstillError` where the fp32 graph is not what was trained.
    """
    graph = to_onnx(student)
    asked = probes(rows, student.preprocess_spec()["fields"])
    whole = _step(student, folder, graph, "fp32", "fp32", judge, asked)
    if not whole.parity.max_abs_diff <= TOLERANCE + DIGITS * whole.parity.scale:
        raise PotstillError(f"the exported model differs from the trained one by {whole.parity.max_abs_diff:.2g} in its logits", place=str(folder))
    if precision == "fp32":
        return artifact(folder), {"steps": [whole.told(whole, True, "the recipe asks for fp32")]}
    tried, fault = [], None
    for method, made in _steps_of(graph, student, rows):
        small = _step(student, folder, made.model, "int8", method, judge, asked)
        fault = gate.fault(whole, small)
        why = fault or f"loses {small.loss(whole):.4f} on validation, {gate.max_loss:g} is allowed"
        weights = {"tables": list(made.tables), "matrices": list(made.matrices), "spared": list(made.spared)}
        tried.append(small.told(whole, not fault, why) | weights)
        if not fault:
            break
    if not tried:
        return artifact(folder), {"steps": [whole.told(whole, True, "int8 has nothing to gain here: no table and no matrix is large")]}
    told = whole.told(whole, bool(fault), f"int8 {fault}" if fault else "int8 passes the gate and is smaller")
    if fault:
        log.warn(f"int8 {fault}: fp32 is kept")
        _write(student, folder, graph, "fp32")
    return artifact(folder), {"steps": [told, *tried]}


def _steps_of(graph: onnx.ModelProto, student: AnyStudent, rows: Sequence[Mapping[str, Field]]) -> Iterator[tuple[str, Int8]]:
    """Yield int8 graphs, each costing more time and less quality's worth than the one before: their sizes differ by little.

    None where nothing is large enough.
    """
    batches = [student.preprocess.collate([item]) for item in student.preprocess.encode(list(rows))]
    seen = watch(graph, batches)
    first = to_int8(graph, seen)
    if not first.tables and not first.matrices:
        return
    if set(first.spared) == set(first.matrices):  # nothing is multiplied in 8 bits, so there is nothing to spare
        yield "weights", first
        return
    yield "weights and products", first
    ranked = [name for name in by_harm(graph, seen, batches[:: max(1, len(batches) // HARM_ROWS)]) if name not in first.spared]
    yield "weights and most products", to_int8(graph, seen, spared=ranked[: math.ceil(SPARED * len(ranked))])
    yield "weights", to_int8(graph)


@dataclass(frozen=True)
class Step:
    """One way to write the model: what it weighs, how good it is on validation, how far it is from what was trained."""

    precision: Precision
    method: str
    size_bytes: int
    judged: Judged
    parity: Apart

    def loss(self, whole: Step) -> float:
        return whole.judged.score - self.judged.score

    def agreement(self, whole: Step) -> float:
        """Return the share of validation rows that are decided as ``whole`` decides them."""
        same = self.judged.decisions == whole.judged.decisions
        return float(same.reshape(len(same), -1).all(axis=1).mean()) if len(same) else 1.0

    def told(self, whole: Step, kept: bool, why: str) -> dict[str, Any]:
        return {
            "precision": self.precision, "method": self.method, "size_bytes": self.size_bytes, "score": _number(self.judged.score),
            "loss": _number(self.loss(whole)), "agreement": _number(self.agreement(whole)), "kept": kept, "why": why, "parity": self.parity.as_json(),
        }  # fmt: skip


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _step(
    student: AnyStudent, folder: Path, graph: onnx.ModelProto, precision: Precision, method: str, judge: Judge, rows: Sequence[Mapping[str, Field]]
) -> Step:
    _write(student, folder, graph, precision)
    predictor = Predictor.open(folder)
    return Step(precision, method, storage.size_of(folder), judge(predictor), parity(student, predictor, rows))


def _write(student: AnyStudent, folder: Path, graph: onnx.ModelProto, precision: Precision) -> None:
    """Write the artifact, its description last; what it describes that lies in other files stands there with its hash."""
    with storage.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    storage.write_bytes(folder / MODEL, graph.SerializeToString(deterministic=True), point="export")
    student.save_preprocess(folder)
    spec = student.preprocess_spec()
    others = [folder / name for name in (MODEL, spec.get("file")) if name]
    described = {
        "schema": REPLACED if spec.get("replace") else SCHEMAS[student.head.kind],
        "format": "onnx", "model": MODEL, "precision": precision, "student": student.kind,
        "parameters": student.parameters, "preprocess": spec, "head": {"kind": student.head.kind, "labels": list(student.head.labels)}, "temperature": 1.0,
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": storage.sha256_file(path)} for path in others},
    }  # fmt: skip
    storage.write_json(folder / DESCRIPTION, described)


def seal(folder: Path, temperature: float, thresholds: Sequence[float] | None = None) -> Artifact:
    """Put the calibration's ``temperature`` into the artifact; return it, its hash being another now.

    ``thresholds``: in log-odds at that temperature, one for each label, where any number of labels apply.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise PotstillError(f"a temperature of {temperature} can't be", place=str(folder))
    described = {**storage.read_json(folder / DESCRIPTION), "temperature": temperature}
    if thresholds is not None:
        described["head"] = {**described["head"], "thresholds": [float(at) for at in thresholds]}
    storage.write_json(folder / DESCRIPTION, described)
    return artifact(folder)


def artifact(folder: Path) -> Artifact:
    """Return the record of the artifact in ``folder``: its size and its hash are those of all its files."""
    precision = storage.read_json(folder / DESCRIPTION)["precision"]
    return Artifact(folder, precision, storage.size_of(folder), storage.sha256_folder(folder))
