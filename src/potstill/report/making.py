"""How each artifact came to be: its training, the export ladder and its parity, seeds, rounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import words
from .markup import Child, Html, el, section
from .tables import Column, figure_cell, table
from .view import View

Model = Mapping[str, Any]


def making(view: View) -> Html | None:
    """Return the tables of how the students were made; None without students."""
    tables = [made for make in (_trained, _ladder, _seeds, _rounds) if (made := make(view))]
    return section("making", "How they were made", tables) if tables else None


def _trained(view: View) -> Html | None:
    columns = [
        Column("Student"), Column("Kind"), *(Column(title, "number") for title in ("Rows", "Steps", "Seed", "Training")), Column("Left out"),
        Column("Exported against trained"),
    ]  # fmt: skip
    rows = []
    for student in view.students:
        counts = [words.number(words.value(student.get(key))) for key in ("rows", "steps", "seed")]
        took, left_out = words.seconds(words.value(student.get("train_seconds"))), ", ".join(student.get("left_out") or ()) or "nothing"
        if set(counts) == {words.DASH}:
            continue  # an older or thinner report
        rows.append([student["name"], student.get("kind"), *counts, took, left_out, _parity(student.get("parity") or {})])
    return table("Training", columns, rows) if rows else None


def _parity(found: Mapping[str, Any]) -> str | None:
    if found.get("max_abs_diff") is None:
        return None
    return f"largest difference {found['max_abs_diff']:.2g}, {found.get('label_flips', 0)} of {found.get('n', '?')} answers flip"


def _ladder(view: View) -> Html | None:
    def row(student: Model, step: Model) -> list[Child]:
        judged = [
            words.size(step.get("size_bytes")),
            words.quality(view.learning, step.get("score")),
            words.difference(view.learning, step.get("loss"), unit=False),
            words.quality("agreement", step.get("agreement")),
        ]
        return [student["name"], _way(step), *judged, el("b", "kept") if step.get("kept") else "no", step.get("why")]

    rows = [row(student, step) for student in view.students for step in student.get("ladder") or ()]
    columns = [
        Column("Export"),
        Column("Precision"),
        *(Column(title, "number") for title in ("Size", "Validation", "Loss", "As fp32")),
        Column("Kept"),
        Column("Why"),
    ]
    return table("Export ladder", columns, rows) if rows else None


def _way(step: Model) -> str:
    """Return "int8, weights and products", or the precision alone where that says all."""
    precision, method = str(step.get("precision")), step.get("method")
    return precision if method in (None, precision) else f"{precision}, {method}"


def _seeds(view: View) -> Html | None:
    def row(student: Model, one: Model) -> list[Child]:
        judged = [words.quality(view.metric, view.quality(one)), words.quality(view.learning, words.value(one.get("validation")))]
        return [student["name"], str(one.get("seed")), *judged, "chosen" if one.get("chosen") else ""]

    rows = []
    for student in view.students:
        if len(student.get("by_seed") or ()) > 1:
            rows += [row(student, one) for one in student["by_seed"]]
            rows += [_mean(view, student)] if student.get("over_seeds") else []
    columns = [Column("Seeds"), *(Column(title, "number") for title in ("Seed", "Test", "Validation")), Column("")]
    return table("By seed", columns, rows) if rows else None


def _mean(view: View, student: Model) -> list[Child]:
    """Return the line of all seeds: it is the recipe's, where the others are each one artifact's."""
    found, drop = student["over_seeds"].get("quality"), student["over_seeds"].get("quality_drop")
    quality = figure_cell(words.quality(view.metric, words.value(found)), _ends(found, lambda end: words.quality(view.metric, end)))
    ends = _ends(drop, lambda end: words.difference(view.metric, end, unit=False))
    told = f"drop {words.difference(view.metric, words.value(drop))}" + (f" ({ends})" if ends else "")
    if gain := student["over_seeds"].get("gain"):
        told += f"; over its control {words.gain(view.metric, gain)}"
    return [student["name"], "all, mean", quality, None, f"rows and seeds resampled together; {told}"]


def _ends(found: Any, show: Any) -> str | None:
    ends = words.bounds(found)
    return words.spread(*map(show, ends)) if ends else None


def _rounds(view: View) -> Html | None:
    """Return what each round asked, reached and gained, and the arm of rows at random beside the last."""

    def row(student: Model, number: str, one: Model, gain: Any) -> list[Child]:
        reached = words.quality(view.metric, words.value(one.get("quality")))
        return [student["name"], number, words.number(words.value(one.get("labels"))), reached, _gain(view.metric, gain), one.get("stopped") or ""]

    rows: list[list[Child]] = []
    for student in view.students[:1]:  # the scout: the others learn after the last round
        done = student.get("rounds") or ()
        rows += [row(student, str(i), one, one.get("gain")) for i, one in enumerate(done, 1) if len(done) > 1]
        if done and (arm := done[-1].get("random")):
            rows.append(row(student, f"{len(done)}, at random", {**arm, "stopped": _worth(view.metric, arm["gain"])}, None))
    columns = [Column("Rounds"), Column("Round"), *(Column(title, "number") for title in ("Labels", "Validation", "Gain")), Column("")]
    return table("By round", columns, rows) if rows else None


def _gain(metric: str, found: Any) -> Child:
    if words.value(found) is None:
        return words.DASH
    low, high = (words.difference(metric, end, signed=True, unit=False) for end in words.bounds(found) or (None, None))
    return figure_cell(words.difference(metric, words.value(found), signed=True, unit=False), words.spread(low, high))


def _worth(metric: str, gain: Any) -> str:
    return f"choosing was worth {words.gain(metric, gain)}"
