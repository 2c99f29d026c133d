"""The page's large plots, drawn from plain records: quality against latency, intervals, one check of the requirement.

Each takes the width that it is drawn at, so that its words are of one size on a desk, on paper and on a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import words
from .draw import CHARACTER, Canvas, Scale, padded, tick_label
from .markup import Html, el

WIDTHS = {"wide": 960, "middle": 660, "narrow": 330}
NARROW = WIDTHS["narrow"]


def drawn(key: str, draw: Callable[[float, str, str], Html]) -> list[Html]:
    """Return ``draw(width, key, look)`` for a desk, for paper and for a phone; the style shows one of them."""
    return [draw(width, f"{key}-{name}", f"plot.{name}") for name, width in WIDTHS.items()]


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
    canvas = Canvas(width, 0.46 * width if width > NARROW else 0.95 * width)
    x, y = _trade_scales(found, canvas)
    left, right, top, bottom = x.start, x.end, y.end, y.start
    _region(canvas, found, x, y)
    _x_axis(canvas, x, bottom, top, found.x_name)
    _y_axis(canvas, y, left, right, found.metric, found.y_name)
    for point in found.points:  # all marks first, so that no label covers one
        radius = _radius(point, found.points)
        canvas.keep_clear(x(point.x) - radius, y(point.y) - radius, x(point.x) + radius, y(point.y) + radius)
        if point.y_bounds:
            canvas.keep_line_clear([(x(point.x), y(end)) for end in point.y_bounds])
        if point.x_bounds:
            canvas.keep_line_clear([(x(end), y(point.y)) for end in point.x_bounds])
    for name, level in found.levels:
        canvas.line(left, y(level), right, y(level), "level")
        canvas.text(left + 6, y(level) - 5, name, "muted")
        canvas.keep_clear(left + 6, y(level) - 17, left + 6 + CHARACTER * len(name), y(level))
    students = {point.name: point for point in found.points if point.kind == "student"}
    for point in sorted(found.points, key=lambda p: -(p.size_bytes or 0)):
        if point.kind == "control" and point.name in students:
            canvas.line(x(point.x), y(point.y), x(point.x), y(students[point.name].y), "link")
        _mark(canvas, point, x, y, _radius(point, found.points))
    for point in found.points:
        if point.kind == "control" and width < WIDTHS["wide"]:
            continue  # its line leads to its student
        name = point.name if point.kind != "control" else f"{point.name}’s control"
        canvas.label([(x(point.x), y(point.y))], _radius(point, found.points) + 5, name, f"name.{point.kind}")
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
    """A line of an interval plot; ``look`` is good, bad, unsure or plain; ``notes`` stand in columns at its right."""

    name: str
    under: str
    value: float
    low: float | None
    high: float | None
    look: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """How an interval plot is told: the line of zero and what it means, headings of the notes, a second line or None."""

    title: str
    zero: str
    heads: tuple[str, ...]
    factor: float
    limit: float | None = None


def intervals(rows: Sequence[Row], frame: Frame, width: float, key: str, look: str, desc: str) -> Html:
    """Draw a dot with its interval for each row."""
    narrow = width <= NARROW
    step, top = (44, 24) if narrow else (26, 34)
    name_w = 0.0 if narrow else min(0.36 * width, max(CHARACTER * (len(r.name) + len(r.under) + 2) for r in rows) + 14)
    note_w = [max(CHARACTER * max(len(r.notes[i]) for r in rows), CHARACTER * len(head)) + 14 for i, head in enumerate(frame.heads)]
    canvas = Canvas(width, step * len(rows) + top + 26)
    values = [frame.factor * v for r in rows for v in (r.value, r.low, r.high) if v is not None]
    ends = padded([*values, 0.0, *([frame.factor * frame.limit] if frame.limit is not None else [])], 0.06, 1e-3)
    x = Scale(*ends, name_w + 8, width - (8 if narrow else sum(note_w) + 8))
    bottom = step * len(rows) + top
    _interval_axis(canvas, x, frame, bottom, top)
    at = width
    for head, wide in zip(reversed(frame.heads), reversed(note_w)):
        if not narrow:
            canvas.text(at, 12, head, "muted", "end")
        at -= wide
    for i, row in enumerate(rows):
        y = top + step * (i + (0.72 if narrow else 0.5))
        if narrow:
            _narrow_words(canvas, row, y, width)
        else:
            _wide_words(canvas, row, y, x.start - 8, width, note_w)
        if row.low is not None and row.high is not None:
            canvas.line(x(frame.factor * row.low), y, x(frame.factor * row.high), y, f"bar.{row.look}")
        canvas.circle(x(frame.factor * row.value), y, 4.5, f"point.{row.look}")
    return canvas.svg(key, frame.title, desc, look)


def _interval_axis(canvas: Canvas, x: Scale, frame: Frame, bottom: float, top: float) -> None:
    ticks = x.ticks(7 if canvas.width > NARROW else 5)
    for at in ticks:
        canvas.line(x(at), top - 4, x(at), bottom, "grid")
        canvas.text(x(at), bottom + 16, tick_label(at, ticks), "muted", "middle")
    canvas.line(x(0), top - 8, x(0), bottom, "axis")
    half = CHARACTER * len(frame.zero) / 2
    canvas.text(min(max(x(0), half), canvas.width - half), 12, frame.zero, "muted", "middle")
    if frame.limit is not None:
        canvas.line(x(frame.factor * frame.limit), top - 4, x(frame.factor * frame.limit), bottom, "limit")


def _wide_words(canvas: Canvas, row: Row, y: float, room: float, width: float, note_w: Sequence[float]) -> None:
    name = _cut(row.name, int(room / CHARACTER) - len(row.under) - 2)
    canvas.text(0, y + 4, [el("tspan.name", name), f"  {row.under}"], "muted")
    at = width
    for i in range(len(row.notes) - 1, -1, -1):
        canvas.text(at, y + 4, row.notes[i], "" if i == 0 else "muted", "end")
        at -= note_w[i]


def _narrow_words(canvas: Canvas, row: Row, y: float, width: float) -> None:
    note = "  ".join(row.notes)
    name = _cut(row.name, int((width - CHARACTER * (len(note) + len(row.under) + 3)) / CHARACTER))
    canvas.text(0, y - 12, [el("tspan.name", name), f"  {row.under}"], "muted.over")
    canvas.text(width, y - 12, note, "muted.over", "end")


def _cut(label: str, most: int) -> str:
    return label if len(label) <= most else label[: max(1, most - 1)].rstrip() + "…"


def check(found: Any, key: str, *, at_least: bool, desc: str, width: float = 150.0) -> Html:
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
