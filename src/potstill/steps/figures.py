"""What the test rows tell of one model, each figure with its interval: two-sided 95 %, shown and not decided by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..lookup import load
from ..records import NO_LABEL
from ..workspace import Workspace
from . import answers
from .data import Data
from .decide import in_words, rows_of
from .judge import Candidate, Opened
from .learn import Model
from .said import of as way_of
from .teach import learning_metric, main_metric, quality

TWO_SIDED = 0.025  # each bound of a 95 % interval


def figures(work: Workspace, data: Data, candidate: Candidate, models: Sequence[Model], opened: Opened) -> dict[str, Any]:
    """Return what the report tells of one student on the test rows; its intervals are two-sided 95 %."""
    name, student = candidate.model.name, opened.logprobs[candidate.model.name]
    rows = rows_of(opened, student)
    off = (opened.thresholds["teacher"], opened.thresholds[name]) if data.head.kind == "labels" else None
    fidelity = load("potstill.evaluation.fidelity:fidelity")
    way = way_of(work, data)
    near = fidelity(opened.said["teacher"], opened.said[name], opened.groups, kind=data.head.kind, thresholds=off)
    told = {"fidelity": {**near, "kl_over": way.divergence}}
    if not data.has_gold:
        without = dict.fromkeys(("quality", "quality_intervals", "quality_drop", "retention", "control", "calibration"))
        return {**told, **without, "slices": [], "by_seed": []}
    known, decides = opened.decided.sides(name) if opened.decided else rows.known(need_gold=True), way.decides
    return {
        **told,
        **alone(work, data, opened, student, name),
        "quality_drop": _drop(work, data, known),
        "retention": _retention(work, data, known),
        "calibration": calibration(opened, name) if decides else None,
        "control": _control(work, data, candidate, opened),
        "gain_floor": _gain(work, data, opened, name, "floor"),
        "slices": _slices(work, opened, student) if decides else [],
        "flips": _flips(work, data, opened, student) if decides else None,
        "by_seed": _by_seed(work, data, models, candidate, opened),
        "over_seeds": _over_seeds(work, data, models, candidate, opened),
    }


def calibration(opened: Opened, name: str) -> dict[str, Any]:
    """Return how far one side's probabilities mean what they say, on the rows that everyone is judged on."""
    known = opened.judged
    found: dict[str, Any] = load("potstill.evaluation.calibration:as_json")(opened.gold[known], opened.said[name][known], opened.thresholds[name])
    return found


def alone(work: Workspace, data: Data, opened: Opened, logprobs: np.ndarray, name: str = "") -> dict[str, Any]:
    """Return a model's {quality, quality_intervals} by itself: every metric, the main one with its interval; null without gold.

    Of a model whose ``name`` is among those that wrote answers, {answers} too.
    """
    if not data.has_gold:
        return {"quality": None, "quality_intervals": None}
    known, metric = opened.judged, learning_metric(work, data)
    gold, said = opened.gold[known], logprobs[known]
    groups = None if opened.groups is None else opened.groups[known]
    found = load("potstill.evaluation.rows:quality_interval")(metric, gold, said, groups, TWO_SIDED)
    told: dict[str, Any] = {"quality": quality(work, data, gold, said), "quality_intervals": {metric.name: asdict(found)}}
    if opened.written is None or name not in opened.written.grades:
        return told
    wrote = answers.figures(work, opened.written, name, against=None if name == answers.TEACHER else answers.TEACHER)
    values = {kind: one["value"] for kind, one in wrote["metrics"].items()}
    return {"quality": told["quality"] | values, "quality_intervals": told["quality_intervals"] | wrote["metrics"], "answers": wrote}


def _drop(work: Workspace, data: Data, rows: Any) -> dict[str, Any]:
    return asdict(load("potstill.evaluation.checks:drop_interval")(main_metric(work, data), rows, TWO_SIDED))


def _retention(work: Workspace, data: Data, rows: Any) -> dict[str, Any] | None:
    metric = main_metric(work, data)
    if data.head.kind == "tokens" and not metric.higher_is_better:  # of a loss there is no share that is kept
        metric = work.task.metrics(data.head)["token_accuracy"]
    found = load("potstill.evaluation.rows:retention_interval")(metric, rows, TWO_SIDED)
    return asdict(found) if found else None


def _gain(work: Workspace, data: Data, opened: Opened, name: str, other: str) -> dict[str, Any] | None:
    """Return by how much a student is better than ``other``: the drop from the student to the other; None where that one is not there."""
    if other not in (opened.decided.grades if opened.decided else opened.logprobs):
        return None
    if opened.decided:
        return _drop(work, data, opened.decided.sides(other, name))
    known, sides = opened.judged, (opened.logprobs[name], opened.logprobs[other])
    groups = None if opened.groups is None else opened.groups[known]
    rows = load("potstill.evaluation.checks:Rows")(opened.gold[known], *(side[known] for side in sides), groups)
    return _drop(work, data, rows.known(need_gold=True))


def _control(work: Workspace, data: Data, candidate: Candidate, opened: Opened) -> dict[str, Any] | None:
    if candidate.control is None:
        return None
    name = candidate.control.name
    return {
        **alone(work, data, opened, opened.logprobs[name], name), "gain": _gain(work, data, opened, candidate.model.name, name),
        "seed": candidate.control.seed, "curve": candidate.control.trained.read()["history"]["evaluations"],
        "steps": candidate.control.trained.read()["history"]["steps"],
    }  # fmt: skip


def _slices(work: Workspace, opened: Opened, student: np.ndarray) -> list[dict[str, Any]]:
    known, groups = opened.judged, opened.groups
    rows = [row for row, keep in zip(opened.rows, known) if keep]
    names = sorted({name for row in rows for name in row.columns})
    columns = {
        "label": [row.labels or (NO_LABEL,) for row in rows],
        "length": load("potstill.evaluation.slices:by_length")([len(work.task.text(row)) for row in rows]),
        **{name: [row.columns.get(name, "") for row in rows] for name in names},
    }
    found: list[dict[str, Any]] = load("potstill.evaluation.slices:slices")(
        columns, opened.gold[known], opened.logprobs["teacher"][known], student[known], groups=None if groups is None else groups[known]
    )
    return found


def _flips(work: Workspace, data: Data, opened: Opened, student: np.ndarray, most: int = 12) -> dict[str, Any]:
    teacher = opened.logprobs["teacher"]
    found = load("potstill.evaluation.fidelity:flips")(opened.gold, teacher, student)
    said = {name: in_words(work, data, scores) for name, scores in (("teacher", teacher), ("student", student))}
    shown = {
        side: [
            {
                "id": opened.rows[i].id, "place": opened.rows[i].place, "text": work.task.text(opened.rows[i])[:400], "gold": opened.rows[i].told,
                "teacher": said["teacher"][i], "student": said["student"][i],
            }
            for i in places[:most].tolist()
        ]
        for side, places in found.items()
    }  # fmt: skip
    return {**shown, "counts": {side: len(places) for side, places in found.items()}}


def _of_seeds(models: Sequence[Model], candidate: Candidate, arm: str = "distilled") -> list[Model]:
    """Return a student's models, or its controls, in the order of the seeds."""
    return [m for m in models if (m.student, m.arm) == (candidate.name, arm)]


def _by_seed(work: Workspace, data: Data, models: Sequence[Model], candidate: Candidate, opened: Opened) -> list[dict[str, Any]]:
    known = opened.judged
    return [
        {
            "seed": m.seed, "quality": quality(work, data, opened.gold[known], opened.logprobs[m.name][known]), "validation": m.score,
            "chosen": m is candidate.model,
        }
        for m in _of_seeds(models, candidate)
    ]  # fmt: skip


def _over_seeds(work: Workspace, data: Data, models: Sequence[Model], candidate: Candidate, opened: Opened) -> dict[str, Any] | None:
    """Return means over seeds, rows and seeds resampled together: the main metric, the drop from the teacher to the student and to the
    control, the gain of the student over the control of the same seed. None with one seed."""
    known, groups = opened.judged, opened.groups
    own, controls = ([opened.logprobs[m.name][known] for m in _of_seeds(models, candidate, arm)] for arm in ("distilled", "control"))
    if len(own) < 2 or not known.any() or opened.decided:  # answers are written by the chosen seed alone
        return None
    teacher, metric, interval = [opened.logprobs["teacher"][known]], main_metric(work, data), load("potstill.evaluation.rows:seeds_interval")
    sides = {"quality": ([], own), "quality_drop": (teacher, own)}
    if len(controls) == len(own):
        sides |= {"control_drop": (teacher, controls), "gain": (own, controls)}
    given = {"gold": opened.gold[known], "groups": None if groups is None else np.unique(groups[known], return_inverse=True)[1], "alpha": TWO_SIDED}
    return {name: asdict(interval(metric, against=against, students=side, **given)) for name, (against, side) in sides.items()}
