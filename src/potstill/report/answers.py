"""Answers that were really written: how good they are by each metric, and what they are like, of teacher, students and controls side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import words
from .markup import Child, Html, el, section
from .tables import figure_cell, matrix
from .view import View

Model = Mapping[str, Any]
BEHAVIOR = {  # what answers are like -> its name, and how it is shown
    "tokens": ("length, tokens", lambda value: words.number(value, 1)),
    "stopped": ("ended by themselves, before the limit", lambda value: words.quality("accuracy", value)),
    "repetition": ("4-grams of tokens that stood there before", lambda value: words.quality("accuracy", value)),
}


def answers(view: View) -> Html | None:
    """Return the table of written answers; None where none were written."""
    asked = view.part("generation")
    models = [(name, model) for name, model in _models(view) if model.get("answers")]
    if not asked or not models:
        return None
    shipped = view.part("verdict").get("student")
    heads: list[tuple[Child, str]] = [(_heading(name), "shipped" if name == (shipped, "") else "") for name, _ in models]
    graded = [("metrics", kind, words.metric_name(kind), _share(kind)) for kind in asked["metrics"]]
    behind = [("drops", kind, words.metric_name(kind), _points(kind)) for kind in asked["metrics"]]
    like = [("behavior", kind, title, show) for kind, (title, show) in BEHAVIOR.items()]
    groups = [
        (title, [(name, [_cell(model, part, kind, show) for _, model in models]) for part, kind, name, show in lines])
        for title, lines in (("Graded", graded), ("Drop, teacher minus model, points", behind), ("What they are like", like))
    ]
    lead = (
        f"What each wrote itself to {words.rows_of(asked['judged'], 'test row')}, the likeliest token each time, at most {asked['max_new_tokens']:,} of them. "
        f"Small print: two-sided 95{words.THIN}% intervals."
    )
    return section("answers", "Written answers", matrix("Written answers", heads, groups), lead=lead)


def _models(view: View) -> list[tuple[tuple[str, str], Model]]:
    """Return (name, what it is) with each model: the teacher, then each student and its control."""
    found: list[tuple[tuple[str, str], Model]] = [(("Teacher", str(view.teacher.get("name") or "")), view.teacher)]
    for student in view.students:
        found += [((student["name"], ""), student), ((student["name"], "its control"), student.get("control") or {})]
    return found


def _heading(name: tuple[str, str]) -> list[Child]:
    return [el("b", name[0]), el("small", name[1]) if name[1] else None]


def _share(kind: str) -> Callable[[float | None], str]:
    return lambda value: words.quality(kind, value)


def _points(kind: str) -> Callable[[float | None], str]:
    return lambda value: words.difference(kind, value, unit=False)


def _cell(model: Model, part: str, kind: str, show: Callable[[float | None], str]) -> Child:
    """Return a figure with its interval; nothing where there is none."""
    found = (model["answers"].get(part) or {}).get(kind)
    ends = words.bounds(found)
    shown = show(words.value(found))
    return figure_cell(shown, words.spread(*(show(end).removesuffix(words.THIN + "%") for end in ends))) if ends else shown
