"""Small drawings that stand side by side, one a student: learning curves, reliability; and the bar in a table's cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import words
from .draw import Canvas, Scale, padded, tick_label
from .markup import Html


@dataclass(frozen=True)
class Curve:
    """A training's looks at validation: (step, loss, score), and the name by which it is drawn."""

    name: str
    kind: str
    looks: Sequence[tuple[float, float | None, float]]


def curves(found: Sequence[Curve], key: str, *, title: str, desc: str, metric: str, teacher: float | None, width: float = 300.0) -> Html:
    """Draw the score on validation against the optimizer's steps, the student's and its control's; the teacher's as a line."""
    canvas = Canvas(width, 200)
    scores = [score for curve in found for _, _, score in curve.looks] + ([teacher] if teacher is not None else [])
    factor = 100 if metric in words.SHARES else 1
    y = Scale(*padded([factor * s for s in scores], 0.1, 0.05), 164, 14)
    x = Scale(0, max(step for curve in found for step, _, _ in curve.looks), 38, width - 12)
    ticks = y.ticks(4)
    for at in ticks:
        canvas.line(x.start, y(at), x.end, y(at), "grid")
        canvas.text(x.start - 5, y(at) + 4, tick_label(at, ticks), "muted", "end")
    canvas.line(x.start, y.start, x.end, y.start, "axis")
    ticks = x.ticks(4)
    for at in ticks:
        canvas.text(x(at), y.start + 15, tick_label(at, ticks), "muted", "middle")
    canvas.text(x.end, y.start + 31, "optimizer steps", "muted", "end")
    if teacher is not None:
        canvas.line(x.start, y(factor * teacher), x.end, y(factor * teacher), "level")
        canvas.text(x.end, y(factor * teacher) - 4, "teacher", "muted", "end")
        canvas.keep_clear(x.end - 50, y(factor * teacher) - 16, x.end, y(factor * teacher))
    for curve in found:
        canvas.keep_line_clear([(x(step), y(factor * score)) for step, _, score in curve.looks])
    for curve in found:
        _curve(canvas, curve, x, y, factor)
    return canvas.svg(key, title, desc, "plot.small")


def _curve(canvas: Canvas, curve: Curve, x: Scale, y: Scale, factor: float) -> None:
    places = [(x(step), y(factor * score)) for step, _, score in curve.looks]
    canvas.path(places, f"curve.{curve.kind}")
    best = min(places, key=lambda place: place[1])
    canvas.circle(*best, 4, f"mark.{curve.kind}")
    canvas.label([best, *reversed(places)], 8, curve.name, f"name.{curve.kind}")


def reliability(bins: Sequence[Any], teacher: Sequence[Any], key: str, *, title: str, desc: str, width: float = 260.0) -> Html:
    """Draw how often decisions are right against how sure they are: on the diagonal is what means what it says."""
    canvas = Canvas(width, width)
    start = min([0.8, *(min(b["confidence"], b["accuracy"]) for b in (*bins, *teacher))])
    low = max(0.0, round(start - 0.06, 1))
    x, y = Scale(low, 1.0, 36, width - 10), Scale(low, 1.0, width - 36, 10)
    ticks = x.ticks(5)
    for at in ticks:
        canvas.line(x.start, y(at), x.end, y(at), "grid")
        canvas.text(x.start - 5, y(at) + 4, f"{100 * at:.0f}", "muted", "end")
        canvas.text(x(at), y.start + 15, f"{100 * at:.0f}", "muted", "middle")
    canvas.line(x(low), y(low), x(1), y(1), "level")
    canvas.text(x.end, y.start + 31, "says, %", "muted", "end")
    canvas.text(x.start + 5, 22, "is right, %", "muted")
    for kind, found in (("teacher", teacher), ("student", bins)):
        if found:
            canvas.path([(x(b["confidence"]), y(b["accuracy"])) for b in found], f"curve.{kind}")
            for b in found:
                canvas.circle(x(b["confidence"]), y(b["accuracy"]), 3.2, f"mark.{kind}")
    return canvas.svg(key, title, desc, "plot.small")


def bar(share: float, width: float = 120.0) -> Html:
    """Draw a share of a whole; the number stands beside it."""
    canvas = Canvas(width, 10)
    canvas.rect(0, 1, width * share, 8, "amount")
    return canvas.ornament("bar")
