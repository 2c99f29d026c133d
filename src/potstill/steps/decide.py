"""Step 9: the requirement's lines are decided on what was measured, and every figure gets its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..lookup import load
from ..records import Check, Interval
from ..workspace import Workspace
from .data import Data
from .judge import Candidate, Opened, registered_order
from .learn import Model
from .teach import load_arrays, main_metric, quality

TWO_SIDED = 0.025  # each bound of a 95 % interval that is shown, not decided by


def certify(work: Workspace, data: Data, standing: Any, found: Sequence[Candidate], speed: Any, opened: Opened) -> Any:
    """Return the verdict, None without a requirement."""
    required = work.recipe.requirement
    if required is None:
        return None
    measured = speed.read()
    contenders = [_contender(work, data, standing, candidate, measured, opened) for candidate in found]
    part = required.quality or required.fidelity
    alpha = 1 - (part.confidence if part else 0.95)
    return load("potstill.evaluation.verdict:certify")(
        contenders, alpha=alpha, read=opened.read, test_rows=len(opened.rows), order=registered_order(work, found, standing)
    )


def rows_of(opened: Opened, student: np.ndarray, teacher: np.ndarray | None = None) -> Any:
    """Return the paired rows of a student and the teacher, or whoever stands in the teacher's place."""
    return load("potstill.evaluation.checks:Rows")(opened.gold, opened.logprobs["teacher"] if teacher is None else teacher, student, opened.groups)


def _contender(work: Workspace, data: Data, standing: Any, candidate: Candidate, measured: Mapping[str, Any], opened: Opened) -> Any:
    held = load("potstill.evaluation.checks:Rows")(
        work.task.encode(data.validation.examples, data.head), load_arrays(standing.folder / "validation.npz")["teacher"],
        candidate.model.logprobs("validation"), data.validation.groups,
    )  # fmt: skip
    return load("potstill.evaluation.verdict:contender")(
        name=candidate.name, size_bytes=candidate.artifact.size_bytes, fixed=_fixed(work, candidate, measured), required=work.recipe.requirement,
        metric=main_metric(work, data), validation=held, test=rows_of(opened, opened.logprobs[candidate.model.name]),
    )  # fmt: skip


def _fixed(work: Workspace, candidate: Candidate, measured: Mapping[str, Any]) -> tuple[Check, ...]:
    """Decide the lines that need no test row."""
    required: Any = work.recipe.requirement
    own = measured["measured"][candidate.name]
    module = "potstill.evaluation.checks"
    at_most, at_least, unknown = (load(f"{module}:{name}") for name in ("at_most", "at_least", "unknown"))
    lines = []
    if required.latency_p95_ms is not None and own["latency_ms"]["p95"] is None:
        lines.append(unknown("latency_p95_ms", required.latency_p95_ms, "fewer than 200 calls could be timed", unit="ms"))
    elif required.latency_p95_ms is not None:
        lines.append(at_most("latency_p95_ms", required.latency_p95_ms, _interval(own["latency_ms"]["p95"], "order statistics"), unit="ms"))
    if required.speedup is not None:
        ratio = measured["speedup"].get(candidate.name)
        if ratio is None:
            lines.append(unknown("speedup", required.speedup, "the teacher can't be timed here", unit="times"))
        else:
            lines.append(at_least("speedup", required.speedup, _interval(ratio["throughput"], "t interval of paired rounds' logarithms"), unit="times"))
    if required.size_mb is not None:
        size = candidate.artifact.size_bytes / 1e6
        lines.append(at_most("size_mb", required.size_mb, Interval(size, size, size, 1, "exact"), unit="MB"))
    if required.max_cost_usd is not None:
        usd = work.spent()["calls"] * work.price
        lines.append(at_most("cost_usd", required.max_cost_usd, Interval(usd, usd, usd, 1, "booked"), unit="USD"))
    return tuple(lines)


def _interval(found: Mapping[str, float], method: str) -> Interval:
    return Interval(found["value"], found["low"], found["high"], int(found["n"]), method)


# -------------------------------------------------------------------------------------------------------------- figures
def figures(work: Workspace, data: Data, candidate: Candidate, models: Sequence[Model], opened: Opened) -> dict[str, Any]:
    """Return what the report tells of one student on the test rows; its intervals are two-sided 95 %."""
    student = opened.logprobs[candidate.model.name]
    rows = rows_of(opened, student)
    answered = rows.known(need_gold=False)
    told = {"fidelity": load("potstill.evaluation.fidelity:fidelity")(answered.teacher, answered.student, answered.groups)}
    if not data.has_gold:
        return {
            **told,
            "quality": None,
            "quality_drop": None,
            "retention": None,
            "control": None,
            "slices": [],
            "by_seed": [],
            "calibration": None,
        }
    known = rows.known(need_gold=True)
    return {
        **told,
        "quality": quality(work, data, known.gold, known.student),
        "quality_drop": _drop(work, data, known),
        "retention": _retention(work, data, known),
        "calibration": load("potstill.evaluation.calibration:as_json")(known.gold, known.student),
        "control": _control(work, data, candidate, opened, student),
        "gain_floor": _gain(work, data, opened, student, opened.logprobs["floor"]) if "floor" in opened.logprobs else None,
        "slices": _slices(work, opened, student),
        "flips": _flips(work, data, opened, student),
        "by_seed": _by_seed(work, data, models, candidate, opened),
    }


def _drop(work: Workspace, data: Data, rows: Any) -> dict[str, Any]:
    return asdict(load("potstill.evaluation.checks:drop_interval")(main_metric(work, data), rows, TWO_SIDED))


def _retention(work: Workspace, data: Data, rows: Any) -> dict[str, Any] | None:
    found = load("potstill.evaluation.rows:retention_interval")(main_metric(work, data), rows, TWO_SIDED)
    return asdict(found) if found else None


def _gain(work: Workspace, data: Data, opened: Opened, student: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """Return by how much the student is better than ``other``: the drop from the student to the other."""
    return _drop(work, data, rows_of(opened, other, teacher=student).known(need_gold=True))


def _control(work: Workspace, data: Data, candidate: Candidate, opened: Opened, student: np.ndarray) -> dict[str, Any] | None:
    if candidate.control is None:
        return None
    control = opened.logprobs[candidate.control.name]
    gold = opened.gold >= 0
    return {
        "quality": quality(work, data, opened.gold[gold], control[gold]), "gain": _gain(work, data, opened, student, control),
        "seed": candidate.control.seed, "curve": candidate.control.trained.read()["history"]["evaluations"],
        "steps": candidate.control.trained.read()["history"]["steps"],
    }  # fmt: skip


def _slices(work: Workspace, opened: Opened, student: np.ndarray) -> list[dict[str, Any]]:
    known = (opened.gold >= 0) & ~np.isnan(opened.logprobs["teacher"]).any(axis=1)
    rows = [row for row, keep in zip(opened.rows, known) if keep]
    names = sorted({name for row in rows for name in row.columns})
    columns = {
        "label": [str(row.gold) for row in rows],
        "length": load("potstill.evaluation.slices:by_length")([len(work.task.text(row)) for row in rows]),
        **{name: [row.columns.get(name, "") for row in rows] for name in names},
    }
    found: list[dict[str, Any]] = load("potstill.evaluation.slices:slices")(columns, opened.gold[known], opened.logprobs["teacher"][known], student[known])
    return found


def _flips(work: Workspace, data: Data, opened: Opened, student: np.ndarray, most: int = 12) -> dict[str, Any]:
    teacher = opened.logprobs["teacher"]
    found = load("potstill.evaluation.fidelity:flips")(opened.gold, teacher, student)
    labels = data.head.labels
    shown = {
        side: [
            {
                "id": opened.rows[i].id, "place": opened.rows[i].place, "text": work.task.text(opened.rows[i])[:400], "gold": str(opened.rows[i].gold),
                "teacher": labels[int(teacher[i].argmax())], "student": labels[int(student[i].argmax())],
            }
            for i in places[:most].tolist()
        ]
        for side, places in found.items()
    }  # fmt: skip
    return {**shown, "counts": {side: len(places) for side, places in found.items()}}


def _by_seed(work: Workspace, data: Data, models: Sequence[Model], candidate: Candidate, opened: Opened) -> list[dict[str, Any]]:
    known = opened.gold >= 0
    return [
        {
            "seed": m.seed, "quality": quality(work, data, opened.gold[known], opened.logprobs[m.name][known]), "validation": m.score,
            "chosen": m is candidate.model,
        }
        for m in models
        if (m.student, m.arm) == (candidate.name, "distilled")
    ]  # fmt: skip
