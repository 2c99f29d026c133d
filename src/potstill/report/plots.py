"""The page's plots, drawn from plain records: quality against latency, intervals, curves, reliability, bars.

Each takes the width that it is drawn at; the page shows the wide drawing on a desk and in print, the narrow one on a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import words
from .draw import CHARACTER, Canvas, Scale, padded, tick_label
from .markup import Html

WIDE, NARROW = 760, 330


def both(draw: Callable[[float, str], Html]) -> list[Html]:
    """Return ``draw(width, look)`` for a desk and for a phone; the style shows one of them."""
    return [draw(WIDE, "plot.wide"), draw(NARROW, "plot.narrow")]


# ------------------------------------------------------------------------------------------- quality against latency
@dataclass(frozen=True)
class Point:
    """A model: ``x`` its latency, ``y`` its quality, each with bounds or None; ``kind`` teacher, student or control."""

    name: str
    kind: str
    x: float
    y: float
    x_bounds: tuple[float, float] | None = None
    y_bounds: tuple[float, float] | None = None
    size_bytes: float | None = None


@dataclass(frozen=True)
class Trade:
    """What the trade plot shows: points, levels that have no latency, and what is required, None where nothing is."""

    points: Sequence[Point]
    levels: Sequence[tuple[str, float]]
    x_limit: float | None
    y_limit: float | None
    metric: str
    y_name: str
    x_name: str


def trade(found: Trade, width: float, key: str, look: str, desc: str) -> Html:
    """Draw quality (up is better) against latency (left is faster, by powers of ten), areas by bytes."""
    canvas = Canvas(width, 0.52 * width if width > NARROW else 0.95 * width)
    x, y = _trade_scales(found, canvas)
    left, right, top, bottom = x.start, x.end, y.end, y.start
    _region(canvas, found, x, y)
    _x_axis(canvas, x, bottom, top, found.x_name)
    _y_axis(canvas, y, left, right, found.metric, found.y_name)
    for point in found.points:  # all marks first, so that no label covers one
        radius = _radius(point, found.points)
        canvas.keep_clear(x(point.x) - radius, y(point.y) - radius, x(point.x) + radius, y(point.y) + radius)
    for name, level in found.levels:
        canvas.line(left, y(level), right, y(level), "level")
        canvas.text(left + 6, y(level) - 5, name, "muted")
        canvas.keep_clear(left + 6, y(level) - 17, left + 6 + CHARACTER * len(name), y(level))
    for point in sorted(found.points, key=lambda p: -(p.size_bytes or 0)):
        _mark(canvas, point, x, y, _radius(point, found.points))
    for point in found.points:
        words_ = point.name if point.kind != "control" else f"{point.name}’s control"
        canvas.label(x(point.x), y(point.y), _radius(point, found.points) + 5, words_, f"name.{point.kind}")
    return canvas.svg(key, f"{found.y_name} against {found.x_name}", desc, look)


def _trade_scales(found: Trade, canvas: Canvas) -> tuple[Scale, Scale]:
    xs = [value for p in found.points for value in (p.x, *(p.x_bounds or ()))] + ([found.x_limit] if found.x_limit else [])
    ys = [value for p in found.points for value in (p.y, *(p.y_bounds or ()))] + [level for _, level in found.levels]
    ys += [found.y_limit] if found.y_limit is not None else []
    low, high = padded(ys, 0.12, 0.005)
    if found.metric in words.LOWER_IS_BETTER:
        low, high = high, low
    x = Scale(min(xs) / 1.7, max(xs) * 1.9, 46, canvas.width - 12, log=True)
    return x, Scale(low, high, canvas.height - 40, 22)


def _region(canvas: Canvas, found: Trade, x: Scale, y: Scale) -> None:
    if found.x_limit is None and found.y_limit is None:
        return
    right = x.inside(found.x_limit) if found.x_limit is not None else x.end
    bottom = y(found.y_limit) if found.y_limit is not None else y.start
    canvas.rect(x.start, y.end, right - x.start, bottom - y.end, "region")
    canvas.text(x.start + 6, y.end + 14, "required", "good")
    canvas.keep_clear(x.start, y.end, x.start + 62, y.end + 18)


def _x_axis(canvas: Canvas, x: Scale, bottom: float, top: float, name: str) -> None:
    ticks = x.ticks(9 if canvas.width > NARROW else 5)
    for at in ticks:
        canvas.line(x(at), top, x(at), bottom, "grid")
        canvas.text(x(at), bottom + 16, words.number(at, 0 if at >= 1 else 1 if at >= 0.1 else 2), "muted", "middle")
    canvas.line(x.start, bottom, x.end, bottom, "axis")
    canvas.text(x.end, bottom + 33, name, "muted", "end")


def _y_axis(canvas: Canvas, y: Scale, left: float, right: float, metric: str, name: str) -> None:
    factor = 100 if metric in words.SHARES else 1
    scaled = Scale(min(y.low, y.high) * factor, max(y.low, y.high) * factor, y.start, y.end)
    ticks = scaled.ticks(6 if canvas.width > NARROW else 5)
    for at in ticks:
        canvas.line(left, y(at / factor), right, y(at / factor), "grid")
        canvas.text(left - 6, y(at / factor) + 4, tick_label(at, ticks), "muted", "end")
    canvas.text(2, 12, name + (", %" if factor == 100 else ""), "muted")


def _radius(point: Point, points: Sequence[Point]) -> float:
    """Area by bytes, beside the biggest; never too small to see."""
    biggest = max((p.size_bytes or 0 for p in points), default=0)
    if not point.size_bytes or point.kind == "control":
        return 4.0
    return float(max(4.0, 20.0 * (point.size_bytes / biggest) ** 0.5))


def _mark(canvas: Canvas, point: Point, x: Scale, y: Scale, radius: float) -> None:
    if point.y_bounds:
        canvas.line(x(point.x), y(point.y_bounds[0]), x(point.x), y(point.y_bounds[1]), f"whisker.{point.kind}")
    if point.x_bounds:
        canvas.line(x(point.x_bounds[0]), y(point.y), x(point.x_bounds[1]), y(point.y), f"whisker.{point.kind}")
    canvas.circle(x(point.x), y(point.y), radius, f"mark.{point.kind}")
    if radius > 6:
        canvas.circle(x(point.x), y(point.y), 1.8, f"dot.{point.kind}")


# ---------------------------------------------------------------------------------------------------------- intervals
@dataclass(frozen=True)
class Row:
    """A line of an interval plot; ``look`` is good, bad, unsure or plain; ``note`` stands at its right."""

    name: str
    value: float
    low: float | None
    high: float | None
    look: str
    note: str
    under: str = ""


def intervals(rows: Sequence[Row], width: float, key: str, look: str, *, title: str, desc: str, factor: float, zero: str, limit: float | None = None) -> Html:
    """Draw a dot with its interval for each row, by the line of zero; ``limit`` is a second line."""
    narrow = width <= NARROW
    step = 46 if narrow else 30
    name_w = 0 if narrow else min(270.0, max(90.0, max(CHARACTER * max(len(r.name), len(r.under)) for r in rows) + 14))
    note_w = 0 if narrow else min(250.0, max(CHARACTER * len(r.note) for r in rows) + 16)
    canvas = Canvas(width, step * len(rows) + 44)
    values = [factor * v for r in rows for v in (r.value, r.low, r.high) if v is not None]
    x = Scale(*padded([*values, 0.0, *([factor * limit] if limit is not None else [])], 0.06, 1e-3), name_w + 6, width - note_w - 10)
    bottom = step * len(rows) + 20
    ticks = x.ticks(7 if not narrow else 5)
    for at in ticks:
        canvas.line(x(at), 16, x(at), bottom, "grid")
        canvas.text(x(at), bottom + 16, tick_label(at, ticks), "muted", "middle")
    canvas.line(x(0), 12, x(0), bottom, "axis")
    canvas.text(min(max(x(0), CHARACTER * len(zero) / 2), width - CHARACTER * len(zero) / 2), 9, zero, "muted", "middle")
    if limit is not None:
        canvas.line(x(factor * limit), 16, x(factor * limit), bottom, "limit")
    for i, row in enumerate(rows):
        _interval_row(canvas, row, x, factor, 20 + step * (i + (0.72 if narrow else 0.5)), width, narrow=narrow)
    return canvas.svg(key, title, desc, look)


def _interval_row(canvas: Canvas, row: Row, x: Scale, factor: float, y: float, width: float, *, narrow: bool) -> None:
    if narrow:
        most = int((width - CHARACTER * len(row.note) - 10) / CHARACTER)
        canvas.text(0, y - 12, _cut(f"{row.name} {row.under}".strip(), most), "name")
        canvas.text(width, y - 12, row.note, f"muted.{row.look}", "end")
    else:
        most = int((x.start - 12) / CHARACTER)
        canvas.text(0, y + (4 if not row.under else -2), _cut(row.name, most), "name")
        if row.under:
            canvas.text(0, y + 12, _cut(row.under, most + 2), "muted.small")
        canvas.text(width, y + 4, row.note, f"muted.{row.look}", "end")
    if row.low is not None and row.high is not None:
        canvas.line(x(factor * row.low), y, x(factor * row.high), y, f"bar.{row.look}")
    canvas.circle(x(factor * row.value), y, 4.5, f"point.{row.look}")


def _cut(label: str, most: int) -> str:
    return label if len(label) <= most else label[: max(1, most - 1)] + "…"


def check(found: Any, key: str, *, at_least: bool, desc: str, width: float = 190.0) -> Html:
    """Draw one check of the requirement: its value and bounds beside what is allowed (shaded)."""
    canvas = Canvas(width, 30)
    value = float(found["value"])
    low, high = (float(found[end]) if found.get(end) is not None else value for end in ("low", "high"))
    required = float(found["required"])
    start, stop = padded([low, high, value, required, 0.0], 0.12, 1e-6)
    start = start if low < 0 else 0.0
    x = Scale(start, stop, 2, width - 2)
    allowed = (x(required), x.end) if at_least else (x.start, x(required))
    canvas.rect(allowed[0], 6, allowed[1] - allowed[0], 18, "region")
    canvas.line(x.start, 24, x.end, 24, "grid")
    if start < 0:
        canvas.line(x(0), 6, x(0), 24, "grid")
    canvas.line(x(required), 2, x(required), 28, "limit")
    look = {"pass": "good", "fail": "bad"}.get(found["status"], "unsure")
    canvas.line(x(low), 15, x(high), 15, f"bar.{look}")
    canvas.circle(x(value), 15, 4.5, f"point.{look}")
    return canvas.svg(key, "the check, drawn", desc, "plot.check")


# --------------------------------------------------------------------------------------------------------- small ones
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
        _curve(canvas, curve, x, y, factor)
    return canvas.svg(key, title, desc, "plot.small")


def _curve(canvas: Canvas, curve: Curve, x: Scale, y: Scale, factor: float) -> None:
    places = [(x(step), y(factor * score)) for step, _, score in curve.looks]
    canvas.path(places, f"curve.{curve.kind}")
    best = min(places, key=lambda place: place[1])
    canvas.circle(*best, 4, f"mark.{curve.kind}")
    canvas.label(*best, 8, curve.name, f"name.{curve.kind}")


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
