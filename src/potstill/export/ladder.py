"""The ladder: fp32, then int8; the smallest that passes the gate on validation is kept, and each step's price is written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
Score = Callable[[Predictor], float]


def export(
    student: LoopStudent, folder: Path, *, precision: Literal["int8", "fp32", "auto"], score: Score, max_loss: float,
    rows: Sequence[Mapping[str, Field]], log: RunLog,
) -> tuple[Artifact, dict[str, Any]]:  # fmt: skip
    """Write the artifact of ``student`` to ``folder``; return it, and what each step of the ladder cost.

    ``score`` (higher is better) judges a step on validation; int8 is kept where it loses at most ``max_loss`` against fp32. Raises
    :class:`PotstillError` where the fp32 graph is not what was trained.
    """
    graph = to_onnx(student)
    asked = probes(rows, student.preprocess_spec()["fields"])
    steps = [_step(student, folder, graph, "fp32", score, asked)]
    if steps[0]["parity"]["max_abs_diff"] > TOLERANCE:
        raise PotstillError(f"the exported model differs from the trained one by {steps[0]['parity']['max_abs_diff']:.2g} in its logits", place=str(folder))
    if precision != "fp32":
        steps.append(_step(student, folder, to_int8(graph), "int8", score, asked))
        loss = steps[0]["score"] - steps[1]["score"]
        kept = loss <= max_loss
        steps[1] |= {"loss": round(loss, 6), "kept": kept, "why": f"loses {loss:.4f} on validation, {max_loss:g} is allowed"}
        steps[0] |= {"kept": not kept, "why": "int8 passes the gate and is smaller" if kept else "int8 does not pass the gate"}
        if not kept:
            log.warn(f"int8 loses {loss:.4f} on validation, more than {max_loss:g}: fp32 is kept")
            _write(student, folder, graph, "fp32")
    else:
        steps[0] |= {"kept": True, "why": "the recipe asks for fp32"}
    return artifact(folder), {"steps": steps}


def _step(student: LoopStudent, folder: Path, graph: onnx.ModelProto, precision: str, score: Score, rows: Sequence[Mapping[str, Field]]) -> dict[str, Any]:
    _write(student, folder, graph, precision)
    predictor = Predictor.open(folder)
    found: Parity = parity(student, predictor, rows)
    return {
        "precision": precision, "size_bytes": storage.size_of(folder), "score": score(predictor), "loss": 0.0, "kept": True, "why": "",
        "parity": found.as_json(),
    }  # fmt: skip


def _write(student: LoopStudent, folder: Path, graph: onnx.ModelProto, precision: str) -> None:
    with storage.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    storage.write_bytes(folder / MODEL, graph.SerializeToString(deterministic=True), point="export")
    student.save_preprocess(folder)
    head = {"kind": student.head.kind, "labels": list(student.head.labels)}
    described = {
        "schema": SCHEMA, "format": "onnx", "model": MODEL, "precision": precision, "student": student.kind, "parameters": student.parameters,
        "preprocess": student.preprocess_spec(), "head": head, "temperature": 1.0,
    }  # fmt: skip
    storage.write_json(folder / DESCRIPTION, described)


def seal(folder: Path, temperature: float) -> Artifact:
    """Put the calibration's ``temperature`` into the artifact; return it, its hash being another now."""
    storage.write_json(folder / DESCRIPTION, {**storage.read_json(folder / DESCRIPTION), "temperature": temperature})
    return artifact(folder)


def artifact(folder: Path) -> Artifact:
    """Return the record of the artifact in ``folder``."""
    precision = storage.read_json(folder / DESCRIPTION)["precision"]
    return Artifact(folder, precision, storage.size_of(folder), storage.sha256_folder(folder))
