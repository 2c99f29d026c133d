"""The page's head: the verdict as one sentence, why, what next; and the requirement, line by line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import plots, words
from .markup import Child, Html, bullets, el, section
from .tables import Column, mark, table
from .view import View

TEST_CHECKS = {"quality", "fidelity"}  # what the test rows decide
AT_LEAST = {"speedup"}
UNITS = {"latency_p95_ms": "ms", "size_mb": "MB", "cost_usd": "USD", "max_cost_usd": "USD"}
TITLES = {
    "quality": "Drop", "fidelity": "Disagreement with the teacher", "latency_p95_ms": "Latency, 95th percentile",
    "speedup": "Speed-up in throughput", "size_mb": "Size on disk", "cost_usd": "The teacher’s bill", "max_cost_usd": "The teacher’s bill",
}  # fmt: skip


def headline(view: View) -> str:
    """Return the verdict in few words."""
    if view.decision == "ship":
        return f"Ship {view.part('verdict').get('student')}"
    if view.decision == "do-not-ship":
        return "Do not ship"
    if view.decision == "inconclusive":
        open_checks = {c["name"] for s in view.students for c in s.get("checks") or () if c["status"] == "inconclusive"}
        return "Not enough test rows to tell" if not open_checks or open_checks & TEST_CHECKS else "Not measured well enough to tell"
    return "No requirement, so no verdict"


def head(view: View) -> Html:
    """Return the page's head."""
    verdict, looks = view.part("verdict"), {"ship": "good", "do-not-ship": "bad", "inconclusive": "unsure"}
    needed, rows = verdict.get("rows_needed"), view.judging
    advice: list[Child] = list(verdict.get("advice") or ())
    if needed and not any(f"{needed:,}" in str(line) for line in advice):
        advice.insert(0, f"About {needed:,} test rows would decide in 80{words.THIN}% of cases; there are {words.number(rows)}.")
    notes = view.report.get("notes") or ()
    return el(
        f"header.verdict.{looks.get(view.decision or '', 'none')}",
        el("p.kicker", f"{view.report.get('name', '')} · {view.report.get('task', '')} · {_day(view.report.get('created'))}"),
        el("h1", headline(view)),
        el("p.standfirst", sentence(view)) if view.students else None,
        _tiles(view),
        _block("Why", verdict.get("reasons") or ()),
        _block("What next", advice),
        _block("Worth knowing", notes),
    )


def _block(title: str, lines: Sequence[Child]) -> Html | None:
    return el("div.block", el("h2.minor", title), bullets(lines)) if lines else None


def _day(created: Any) -> str:
    return str(created or "").replace("T", " ").removesuffix("Z")[:16] + " UTC" if created else ""


def sentence(view: View) -> str:
    """Return in plain words how the first student compares with its teacher."""
    student = view.students[0]
    drop, agreement = student.get("quality_drop") or {}, student.get("fidelity") or {}
    told = []
    if words.value(drop) is not None:
        told.append(_behind(view, drop))
    elif words.value(agreement) is not None:
        told.append(f"agrees with its teacher on {words.quality('agreement', words.value(agreement))} of {words.rows_of(agreement.get('n'), 'test row')}")
    own, other = view.latency(student, "p95"), view.latency(view.teacher, "p95")
    if own is not None:
        told.append(
            f"answers within {words.significant(own, 2, 'ms')} in 95 of 100 calls" + (f" (teacher {words.significant(other, 2, 'ms')})" if other else "")
        )
    faster = words.value((student.get("speedup") or {}).get("throughput"))
    if faster is not None:
        told.append(f"has {words.times(faster)} its throughput")
    mass = f"weighs {words.size(student.get('size_bytes'))}"
    told.append(mass + (f" (teacher {words.size(view.teacher['size_bytes'])})" if view.teacher.get("size_bytes") else ""))
    who = student["name"] if view.decision == "ship" else f"The best student on validation, {student['name']},"
    return f"{who} " + (", ".join(told[:-1]) + " and " if len(told) > 1 else "") + told[-1] + "."


def _behind(view: View, drop: Mapping[str, Any]) -> str:
    value, name = words.value(drop) or 0.0, words.metric_name(view.metric)
    side = "behind" if value >= 0 else "ahead of"
    shown = (
        f"is {words.difference(view.metric, abs(value))} of {name} {side} its teacher"
        if words.difference(view.metric, value)[:4] != "0.00"
        else f"equals its teacher in {name}"
    )
    found = words.bounds(drop)
    if found is None:
        return shown
    between = words.spread(*(words.difference(view.metric, end, unit=False) for end in found))
    return f"{shown} (95{words.THIN}% interval of the drop {between}; {words.rows_of(view.judging, 'test row')})"


def _tiles(view: View) -> Html | None:
    """Return the four figures that are asked for first."""
    if not view.students:
        return None
    student, teacher = view.students[0], view.teacher
    quality = view.quality(student) if view.has_gold else words.value(student.get("fidelity"))
    faster = (student.get("speedup") or {}).get("throughput")
    ends, smaller = words.bounds(faster), words.value(student.get("compression"))
    p95 = [words.significant(view.latency(model, "p95"), 2, "ms") for model in (student, teacher)]
    tiles = [
        (
            words.metric_name(view.metric),
            words.quality(view.metric, quality),
            _teachers(words.quality(view.metric, view.quality(teacher))) if view.has_gold else "with the teacher",
        ),
        ("latency p95", p95[0], _teachers(p95[1])),
        ("throughput", words.times(words.value(faster)), words.spread(*map(words.times, ends)) if ends else "teacher not measured"),
        ("size", words.size(student.get("size_bytes")), f"{words.times(smaller)} smaller" if smaller else "teacher not measured"),
    ]
    told = [tile for tile in tiles if tile[1] != words.DASH]
    return el("div.tiles", [el("div.tile", el("span.what", what), el("span.big", big), el("span.beside", beside)) for what, big, beside in told])


def _teachers(shown: str) -> str:
    return f"teacher {shown}" if shown != words.DASH else "teacher not measured"


# -------------------------------------------------------------------------------------------------------- requirement
def requirement(view: View) -> Html | None:
    """Return the requirement's lines, decided for each student; None where nothing is required."""
    if not view.report.get("requirement"):
        return None
    verdict, registered = view.part("verdict"), view.part("registered")
    lead = "Every line must hold by its bound, not by its value. "
    if verdict.get("alpha") is not None:
        lead += f"Bounds of what the test rows decide are one-sided at α = {verdict['alpha']:.3g}, what this look may spend"
        lead += f" (look number {verdict['read']} at these rows)" if verdict.get("read") else ""
        lead += "; all others are two-sided 95" + words.THIN + "%. "
    if registered.get("time"):
        lead += f"Registered before the test rows were opened, at {_day(registered['time'])}."
    return section("requirement", "The requirement", [_student(view, student) for student in view.students], lead=lead)


def _student(view: View, student: Mapping[str, Any]) -> Html:
    meets = {True: "yes", False: "no"}.get(student.get("meets"), "open")  # type: ignore[arg-type]
    columns = [
        Column("Check"),
        Column("Required", "number"),
        Column("Measured", "number"),
        Column("Bounds", "number"),
        Column("n", "number"),
        Column("", "picture"),
        Column("Status"),
    ]
    rows = [_check(view, check, f"check-{student['name']}-{i}") for i, check in enumerate(student.get("checks") or ())]
    untested = (
        ""
        if student.get("tested", True)
        else "Not tested: "
        + ("a line that needs none had failed." if student.get("meets") is False else "a student before it in the sequence was not shown to be good enough.")
    )
    return el(
        "div.checks",
        el("h3", student["name"], " ", mark(meets)),
        el("p.small", untested) if untested else None,
        table(f"Checks of {student['name']}", columns, rows, look="cards.fixed") if rows else None,
    )


def _check(view: View, check: Mapping[str, Any], key: str) -> list[Child]:
    name, value = check["name"], words.value(check["value"])
    title = TITLES.get(name, name.replace("_", " "))
    if name == "quality":
        title = _capitalized(check.get("unit") or f"drop in {words.metric_name(view.metric)}")
    for metric, shown in words.METRICS.items():
        title = title.replace(f" {metric}", f" {shown}")
    compare = "at least" if name in AT_LEAST else "at most"
    found = words.bounds(check)
    exact = found is None or found[0] == found[1]
    spread = (
        words.DASH if found is None else "exact" if exact else words.spread(show(view, check, found[0], unit=False), show(view, check, found[1], unit=False))
    )
    desc = f"{title}: {show(view, check, value)}, bounds {spread}, {compare} {_given(view, check)}: {check['status']}"
    picture = plots.check(check, key, at_least=name in AT_LEAST, desc=desc) if value is not None else None
    note = check.get("note") if not exact or value is None else None
    return [
        [title, el("small", note) if note else None],
        f"{compare} {_given(view, check)}", show(view, check, value), spread, None if exact else _units(check), picture, mark(check["status"]),
    ]  # fmt: skip


def _units(check: Mapping[str, Any]) -> str:
    """Return how many independent units stand behind a check's bounds, and what they are."""
    nouns = {"latency_p95_ms": "call", "speedup": "round"}
    return words.rows_of(check.get("n"), nouns.get(check["name"], "group" if "group" in str(check.get("note")) else "row"))


def _given(view: View, check: Mapping[str, Any]) -> str:
    """Return what is required, in the digits that the recipe gave it."""
    name, required = check["name"], float(check["required"])
    if name == "quality" and not str(check.get("unit")).startswith("relative"):
        return words.given(100 * required, "points") if view.metric in words.SHARES else words.given(required)
    if name in ("quality", "fidelity"):
        return words.given(100 * required, "%")
    return f"{words.given(required)}×" if name == "speedup" else words.given(required, UNITS.get(name, str(check.get("unit") or "")))


def show(view: View, check: Mapping[str, Any], value: float | None, *, unit: bool = True) -> str:
    """Return a value of a check in the check's own unit."""
    name, given = check["name"], str(check.get("unit") or "")
    if value is None:
        return words.DASH
    if name == "quality":
        return words.number(100 * value, 2, "%" if unit else "") if given.startswith("relative") else words.difference(view.metric, value, unit=unit)
    if name == "fidelity":
        return words.number(100 * value, 2, "%" if unit else "")
    if name == "speedup":
        return words.times(value, 3) if unit else words.times(value, 3).removesuffix("×")
    return words.significant(value, 3, UNITS.get(name, given) if unit else "")


def _capitalized(title: str) -> str:
    return title[:1].upper() + title[1:]
