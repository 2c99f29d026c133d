"""Students beside teacher, control and floor: the trade of quality against latency, the table of all figures, the gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import plots, words
from .markup import Child, Html, el, figure, section
from .tables import figure_cell, mark, matrix
from .view import View

Model = Mapping[str, Any]
PLAIN = {"energy_j_per_1000": "energy", "teacher.latency_ms": "teacher’s latency", "teacher.throughput_per_s": "teacher’s throughput"}
FAR = 1.5  # a floor that far below, in spans of the models' quality, is told and not drawn: it would flatten all else


# ------------------------------------------------------------------------------------------- quality against latency
def trade(view: View) -> Html | None:
    """Return the plot of quality against latency, with what is required; None where nothing was timed."""
    points = _points(view)
    if not points:
        return None
    levels, told = _levels(view, points)
    required = view.part("requirement")
    metric = view.metric
    found = plots.Trade(points, levels, required.get("latency_p95_ms"), _quality_limit(view), metric, words.metric_name(metric), "latency p95, ms a call")
    desc = "; ".join(f"{p.kind} {p.name}: {words.quality(metric, p.y)} at {words.significant(p.x, 2, 'ms')}" for p in points)
    drawn = plots.drawn("trade-plot", lambda width, key, look: plots.trade(found, width, key, look, desc))
    return section("trade", "Quality against latency", figure(drawn, caption=_trade_caption(view, points, told)), lead="Up is better, left is faster.")


def _points(view: View) -> list[plots.Point]:
    found = []
    for model, kind in ((view.teacher, "teacher"), *((student, "student") for student in view.students)):
        name = "teacher" if kind == "teacher" else model["name"]
        x = view.latency(model, "p95")
        y = view.quality(model) if view.has_gold else 1.0 if kind == "teacher" else words.value(model.get("fidelity"))
        if x is None or y is None:
            continue
        ys = view.quality_bounds(model) if view.has_gold else words.bounds(model.get("fidelity"))
        found.append(plots.Point(name, kind, x, y, view.latency_bounds(model, "p95"), ys, model.get("size_bytes")))
        control = view.quality(model.get("control") or {})
        if control is not None:
            found.append(plots.Point(name, "control", x, control))
    return found


def _levels(view: View, points: Sequence[plots.Point]) -> tuple[list[tuple[str, float]], list[str]]:
    """Return what has a quality and no latency: drawn as lines, or told in words where it lies far off."""
    found = [(f"floor: {base['name']}", value) for base in view.report.get("baselines") or () if (value := view.quality(base)) is not None]
    if view.latency(view.teacher, "p95") is None and (value := view.quality(view.teacher)) is not None:
        found.append(("teacher (its latency can’t be measured here)", value))
    ys = [p.y for p in points]
    span = max(max(ys) - min(ys), 0.02)
    near = [(name, y) for name, y in found if min(ys) - FAR * span <= y <= max(ys) + FAR * span]
    return near, [f"{name} {words.quality(view.metric, y)}" for name, y in found if (name, y) not in near]


def _quality_limit(view: View) -> float | None:
    """Return the least quality that the requirement's point estimate allows, in the plot's units."""
    required = view.part("requirement")
    teacher = view.quality(view.teacher)
    quality, fidelity = required.get("quality") or {}, required.get("fidelity") or {}
    if view.has_gold and quality and teacher is not None:
        if quality.get("max_relative_drop") is not None:
            return float(teacher * (1 - quality["max_relative_drop"]))
        sign = -1 if view.metric not in words.LOWER_IS_BETTER else 1
        return float(teacher + sign * quality["max_drop"])
    return 1 - float(fidelity["max_disagreement"]) if fidelity and not view.has_gold else None


def _trade_caption(view: View, points: Sequence[plots.Point], told: Sequence[str]) -> list[Child]:
    parts = [f"Areas are bytes on disk. {words.rows_of(view.judging, 'test row')}."]
    if any(p.y_bounds for p in points):
        parts.append("Whiskers are two-sided 95 % intervals of each model on its own; paired differences are narrower.")
    if any(p.kind == "control" for p in points):
        parts.append("Hollow, tied to its student: the control, the same without the teacher; it is as fast.")
    if view.part("requirement"):
        parts.append("Shaded: where values meet the requirement; the verdict asks for bounds.")
    if told:
        parts.append(f"Far below and not drawn: {', '.join(told)}.")
    return [" ".join(parts)]


# ---------------------------------------------------------------------------------------------------------- the table
def table(view: View) -> Html:
    """Return all figures of all models: a column each."""
    models = [(view.teacher, "teacher"), *((s, "student") for s in view.students), *((b, "floor") for b in view.report.get("baselines") or ())]
    shipped = view.part("verdict").get("student")
    heads = [(_heading(model, kind), "shipped" if kind == "student" and model["name"] == shipped else "") for model, kind in models]
    groups = [
        (title, [(name, [cell(view, model) for model, _ in models]) for name, cell in measures])
        for title, measures in (("Quality", _quality_rows(view)), ("Beside the teacher", PAIRED), ("Size", SIZE), ("Speed", SPEED), ("Cost to run", COST))
    ]
    lead = (
        f"Every figure of a student is one of the exported artifact that would ship. Small print: two-sided 95{words.THIN}% intervals. "
        f"Judged on {words.rows_of(view.part('data').get('test'), 'test row')}."
    )  # fmt: skip
    return section("models", "Students, teacher, control, floor", matrix("All figures", heads, groups), _why_null(view), lead=lead)


def _heading(model: Model, kind: str) -> list[Child]:
    under = {"teacher": model.get("name"), "student": model.get("kind"), "floor": "floor"}[kind]
    meets = {True: "yes", False: "no"}.get(model.get("meets")) if kind == "student" else None  # type: ignore[arg-type]
    return [el("b", "Teacher" if kind == "teacher" else model["name"]), el("small", under), mark(meets) if meets else None]


def _quality_rows(view: View) -> list[Any]:
    names = list(view.teacher.get("quality") or next((s["quality"] for s in view.students if s.get("quality")), {}))
    rows: list[Any] = [(words.metric_name(name), _quality_of(name)) for name in names]
    return [*rows, ("calibration error (ECE)", lambda v, m: words.quality("accuracy", words.value((m.get("calibration") or {}).get("ece"))))]


def _quality_of(metric: str) -> Any:
    def cell(view: View, model: Model) -> Child:
        found = view.quality_bounds(model, metric)
        return _with(words.quality(metric, view.quality(model, metric)), found, lambda v: words.quality(metric, v).removesuffix(words.THIN + "%"))

    return cell


def _with(main: str, found: tuple[float, float] | None, show: Any) -> Child:
    return main if main == words.DASH or not found else figure_cell(main, words.spread(show(found[0]), show(found[1])))


def _drop(view: View, model: Model) -> Child:
    found = model.get("quality_drop")
    return _difference(view, found, signed=False)


def _difference(view: View, found: Any, *, signed: bool = True) -> Child:
    main = words.difference(view.metric, words.value(found), signed=signed)
    show = lambda v: words.difference(view.metric, v, signed=signed, unit=False)  # noqa: E731
    return _with(main, words.bounds(found), show)


def _retention(view: View, model: Model) -> Child:
    found = model.get("retention")
    value = words.value(found)
    return _with(words.number(None if value is None else 100 * value, 1, "%"), words.bounds(found), lambda v: words.number(100 * v, 1))


def _agreement(view: View, model: Model) -> Child:
    found = model.get("fidelity")
    return _with(words.quality("agreement", words.value(found)), words.bounds(found), lambda v: words.number(100 * v, 1))


def _control(view: View, model: Model) -> Child:
    return words.quality(view.metric, view.quality(model.get("control") or {}))


def _n(*path: str) -> Any:
    """Return the cell of how many units stand behind a figure."""

    def cell(view: View, model: Model) -> Child:
        found: Any = model
        for key in path:
            found = (found or {}).get(key) if isinstance(found, Mapping) else None
        return None if found is None else words.number(found)

    return cell


PAIRED: list[Any] = [
    ("drop, teacher minus student", _drop),
    ("retention, student over teacher", _retention),
    ("agreement with the teacher", _agreement),
    ("its control: the same without the teacher", _control),
    ("gain over its control", lambda v, m: _difference(v, (m.get("control") or {}).get("gain"))),
    ("gain over the floor", lambda v, m: _difference(v, m.get("gain_floor"))),
    ("n of agreement, rows", _n("fidelity", "n")),
    ("n of the differences, rows or groups", _n("quality_drop", "n")),
]
SIZE: list[Any] = [
    ("parameters", lambda v, m: words.count(m.get("parameters"))),
    ("on disk, all files", lambda v, m: words.size(words.value(m.get("size_bytes"))) if m.get("size_bytes") else None),
    ("compression", lambda v, m: words.times(words.value(m.get("compression")))),
    ("precision", lambda v, m: (m.get("artifact") or {}).get("precision") if isinstance(m.get("artifact"), Mapping) else m.get("precision")),
]


def _latency(name: str) -> Any:
    def cell(view: View, model: Model) -> Child:
        return _with(words.significant(view.latency(model, name), 3, "ms"), view.latency_bounds(model, name), lambda v: words.significant(v, 2))

    return cell


def _times(key: str) -> Any:
    def cell(view: View, model: Model) -> Child:
        found = (model.get("speedup") or {}).get(key)
        return _with(words.times(words.value(found)), words.bounds(found), words.times)

    return cell


SPEED: list[Any] = [
    ("latency p50, one at a time", _latency("p50")),
    ("latency p95", _latency("p95")),
    ("latency p99", _latency("p99")),
    ("throughput a second, in rows; tokens where text is written", lambda v, m: words.significant(words.value(m.get("throughput_per_s")), 3)),
    ("speed-up in throughput", _times("throughput")),
    ("speed-up in latency p95", _times("latency_p95")),
    ("n of latency, single calls", _n("latency_intervals", "p95", "n")),
    ("n of throughput, paired rounds", _n("speedup", "throughput", "n")),
    ("start-up", lambda v, m: words.seconds(words.value(m.get("start_s")))),
]
COST: list[Any] = [
    ("peak memory", lambda v, m: words.size(words.value(m.get("peak_memory_bytes")))),
    ("energy a 1,000 rows", lambda v, m: words.significant(words.value(m.get("energy_j_per_1000")), 3, "J")),
    ("USD a million calls", lambda v, m: words.number((m.get("cost") or {}).get("usd_per_million") or None, 2)),
]


def _why_null(view: View) -> Html | None:
    """Return why figures are missing, each reason once."""
    reasons: dict[str, list[str]] = {}
    for key, reason in view.part("unmeasured").items():
        reasons.setdefault(str(reason), []).append(PLAIN.get(key, key.replace(".", "’s ").replace("_", " ")))
    return el("p.small", "Not told: " + "; ".join(f"{', '.join(keys)} ({reason})" for reason, keys in reasons.items()) + ".") if reasons else None


# ---------------------------------------------------------------------------------------------------------- the gains
def gains(view: View) -> Html | None:
    """Return what the teacher was worth: the gain over the control and over the floor."""
    rows = [
        row
        for student in view.students
        for row in (
            _gain(view, student, (student.get("control") or {}).get("gain"), "its control"),
            _gain(view, student, student.get("gain_floor"), "the floor"),
        )
        if row is not None
    ]
    if not rows:
        reason = view.why("control")
        return section("gains", "What the teacher was worth", el("p", f"Not told: {reason}")) if reason else None
    shares = view.metric in words.SHARES
    desc = "; ".join(f"{row.name} {row.under}: {' '.join(row.notes)}" for row in rows)
    frame = plots.Frame("Gain over control and floor", "no gain", ("gain", ""), 100 if shares else 1)
    drawn = plots.drawn("gains-plot", lambda width, key, look: plots.intervals(rows, frame, width, key, look, desc))
    ns = {n for student in view.students for n in (_n("control", "gain", "n")(view, student), _n("gain_floor", "n")(view, student)) if n}
    caption = (
        f"Gain in {'points of ' if shares else ''}{words.metric_name(view.metric)} with two-sided 95{words.THIN}% intervals, "
        f"paired on the same rows; n of rows or groups {', '.join(sorted(ns))}."
    )
    lead = (
        f"The control is the same student, trained as long, on the gold labels alone; the floor is {words.floor(view.report.get('task', ''))}. "
        "Right of the line, the teacher paid off."
    )
    return section("gains", "What the teacher was worth", figure(drawn, caption=caption), lead=lead)


def _gain(view: View, student: Model, found: Any, over: str) -> plots.Row | None:
    value, ends = words.value(found), words.bounds(found)
    if value is None:
        return None
    low, high = ends or (None, None)
    look = "plain" if low is None or high is None else "good" if low > 0 else "bad" if high < 0 else "unsure"
    verb = {"good": "better", "bad": "worse", "unsure": "not shown to differ", "plain": ""}[look]
    return plots.Row(student["name"], f"over {over}", value, low, high, look, (words.difference(view.metric, value, signed=True, unit=False), verb))
