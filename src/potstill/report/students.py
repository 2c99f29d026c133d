"""How each student learnt, how sure it is, where it is worse, and the rows on which it and its teacher part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import plots, words
from .markup import Child, Html, details, el, figure, section
from .tables import Column, table
from .view import View

Model = Mapping[str, Any]
WORST = 10  # slices that are drawn; all others are in the table


# ---------------------------------------------------------------------------------------------------- learning curves
def curves(view: View) -> Html | None:
    """Return the learning curves of students and controls."""
    shown = [(student, found) for student in view.students if (found := _curves(student))]
    if not shown:
        return None
    name = words.metric_name(view.metric)
    if view.metric in words.LOWER_IS_BETTER:
        name = f"minus {name}, up is better"
    lead = f"Validation {name}{', %' if view.metric in words.SHARES else ''} while training, of the student and of its control; dots are the weights that were kept."
    return section("curves", "Learning curves", el("div.multiples", [_curve_figure(view, student, found) for student, found in shown]), lead=lead)


def _curves(student: Model) -> list[plots.Curve]:
    found = [plots.Curve("distilled", "student", looks)] if (looks := _looks(student.get("curve"))) else []
    control = _looks((student.get("control") or {}).get("curve"))
    return [*([plots.Curve("control", "control", control)] if control else []), *found]


def _looks(curve: Any) -> list[tuple[float, float | None, float]]:
    """Return (step, training loss, score) of a curve's looks, which are lists of three or records."""
    found = [(look["step"], look.get("train_loss"), look["score"]) if isinstance(look, Mapping) else tuple(look) for look in curve or ()]
    return [look for look in found if look[2] is not None]


def _curve_figure(view: View, student: Model, found: Sequence[plots.Curve]) -> Html:
    teacher = words.value((view.teacher.get("quality_validation") or {}).get(view.metric))
    if teacher is not None and view.metric in words.LOWER_IS_BETTER:
        teacher = -teacher
    last = {curve.name: curve.looks[-1] for curve in found}
    desc = "; ".join(f"{name}: {words.quality(view.metric, max(s for _, _, s in c.looks))} at best" for c in found for name in [c.name])
    parts = [_counted(student.get("rows"), "row"), f"{last['distilled'][0]:,.0f} steps" if "distilled" in last else None]
    parts += ["stopped early" if student.get("stopped_early") else None]
    drawn = plots.curves(found, f"curve-{student['name']}", title=f"Learning curve of {student['name']}", desc=desc, metric=view.metric, teacher=teacher)
    return figure(el("h3", student["name"]), drawn, caption=", ".join(part for part in parts if part))


def _counted(n: Any, noun: str) -> str | None:
    return None if n is None else words.rows_of(n, noun)


# -------------------------------------------------------------------------------------------------------- calibration
def calibration(view: View) -> Html | None:
    """Return a reliability diagram for each student, the teacher beside it."""
    teacher = _bins(view.teacher)
    shown = [(student, bins) for student in view.students if (bins := _bins(student))]
    if not shown:
        return None
    lead = (
        "How often an answer is right, against how sure the model says it is, on the test rows. On the dashed diagonal, probabilities mean what they say; "
        "below it the model is too sure. Gray is the teacher. Bins hold equally many rows."
    )  # fmt: skip
    return section("calibration", "Calibration", el("div.multiples", [_reliability(view, student, bins, teacher) for student, bins in shown]), lead=lead)


def _bins(model: Model) -> list[Any]:
    found = (model.get("calibration") or {}).get("reliability") or model.get("reliability") or []
    return [b for b in found if b.get("n")]


def _reliability(view: View, student: Model, bins: Sequence[Any], teacher: Sequence[Any]) -> Html:
    ece, temperature = words.value((student.get("calibration") or {}).get("ece")), words.value(student.get("temperature"))
    desc = "; ".join(f"says {words.quality('accuracy', b['confidence'])}, is right {words.quality('accuracy', b['accuracy'])}" for b in bins)
    parts = [f"ECE {words.quality('accuracy', ece)}" if ece is not None else None, _counted(sum(b["n"] for b in bins), "row")]
    parts += [f"temperature {temperature:.2f}" if temperature is not None else None]
    drawn = plots.reliability(bins, teacher, f"reliability-{student['name']}", title=f"Reliability of {student['name']}", desc=desc)
    return figure(el("h3", student["name"]), drawn, caption=", ".join(part for part in parts if part))


# ------------------------------------------------------------------------------------------------------------- slices
def slices(view: View) -> Html | None:
    """Return where the students are worse than their teacher: drawn for the first one, tables for all."""
    shown = [student for student in view.students if student.get("slices")]
    if not shown:
        return None
    first = shown[0]
    found = sorted(first["slices"], key=lambda row: -(words.value(row.get("drop")) or 0.0))
    metric = "accuracy"  # a slice's quality, whatever the main metric: contracts of evaluation.slices
    rows = [_slice(row, metric) for row in found[:WORST]]
    overall = words.value(first.get("quality_drop")) if view.metric == metric else None
    desc = "; ".join(f"{row.name}: drop {row.note}" for row in rows)
    drawn = plots.both(
        lambda width, look: plots.intervals(
            rows, width, f"slices-{look[5:]}", look, title=f"Worst slices of {first['name']}", desc=desc, factor=100, zero="as the teacher", limit=overall
        )
    )
    lead = f"{first['name']}: drop in accuracy against the teacher, in points, worst first. Slices are many and looked at together: they point, they decide nothing."
    caption = "Two-sided 95 % intervals; to the right the student is worse." + (" Dotted: its drop on all rows." if overall is not None else "")
    tables = [details(f"All slices of {student['name']} ({len(student['slices'])})", _slice_table(student)) for student in shown]
    return section("slices", "Worst slices", figure(drawn, caption=caption), tables, lead=lead)


def _slice(row: Any, metric: str) -> plots.Row:
    value, ends = words.value(row.get("drop")) or 0.0, words.bounds(row.get("drop"))
    low, high = ends or (None, None)
    look = "plain" if low is None or high is None else "bad" if low > 0 else "good" if high < 0 else "unsure"
    note = f"{words.difference(metric, value, signed=True, unit=False)}  {words.quality(metric, words.value(row.get('quality')))}  n {row['n']:,}"
    return plots.Row(str(row["value"]), value, low, high, look, note, str(row["column"]))


def _slice_table(student: Model) -> Html:
    columns = [
        Column("Column"),
        Column("Value"),
        Column("n", "number"),
        Column("Student", "number"),
        Column("Teacher", "number"),
        Column("Drop, points", "number"),
        Column("95 % interval", "number"),
    ]
    rows = []
    for row in student["slices"]:
        ends = words.bounds(row.get("drop"))
        rows.append([
            row["column"], str(row["value"]), words.number(row["n"]), words.quality("accuracy", words.value(row.get("quality"))),
            words.quality("accuracy", words.value(row.get("teacher"))), words.difference("accuracy", words.value(row.get("drop")), signed=True, unit=False),
            words.spread(*(words.difference("accuracy", end, unit=False) for end in ends)) if ends else None,
        ])  # fmt: skip
    return table(f"Slices of {student['name']}", columns, rows)


# -------------------------------------------------------------------------------------------------------------- flips
def flips(view: View) -> Html | None:
    """Return example rows on which only the teacher, or only the student, is right."""
    shown = [student for student in view.students if (student.get("flips") or {}).get("counts")]
    if not shown:
        return None
    blocks = [
        _flips(shown[0]),
        *(details([student["name"], el("small", f" {_flip_counts(student)}")], _flips(student, heading=False)) for student in shown[1:]),
    ]
    lead = "Test rows on which student and teacher part, the student’s surest answers first."
    return section("flips", "Flips", blocks, lead=lead)


def _flip_counts(student: Model) -> str:
    counts = student["flips"]["counts"]
    return f"{counts.get('harmful', 0):,} harmful, {counts.get('beneficial', 0):,} beneficial"


def _flips(student: Model, *, heading: bool = True) -> list[Child]:
    found = student["flips"]
    parts: list[Child] = [el("h3", student["name"], el("small", f" {_flip_counts(student)}"))] if heading else []
    for side, title in (
        ("harmful", "Harmful: the teacher was right, the student is not"),
        ("beneficial", "Beneficial: the student is right, the teacher was not"),
    ):
        rows = found.get(side) or []
        total = found["counts"].get(side, 0)
        if rows:
            parts += [el("h4", title, el("small", f" {len(rows)} of {total:,}")), _flip_table(f"{title}, {student['name']}", rows)]
    return parts


def _flip_table(name: str, rows: Sequence[Any]) -> Html:
    columns = [Column("Text"), Column("Gold"), Column("Teacher"), Column("Student"), Column("Row")]
    cells = [
        [el("span.quote", row.get("text") or "", attrs={"dir": "auto"}), row.get("gold"), row.get("teacher"), row.get("student"), el("small", row.get("place") or row["id"][:12])]
        for row in rows
    ]  # fmt: skip
    return table(name, columns, cells, look="cards.flips")


# ------------------------------------------------------------------------------------------------------------- making
def making(view: View) -> Html | None:
    """Return how each artifact came to be: training, export ladder, parity, seeds, rounds."""
    if not view.students:
        return None
    tables = [_trained(view), _ladder(view), _seeds(view), _rounds(view)]
    return section("making", "How they were made", [part for part in tables if part])


def _trained(view: View) -> Html:
    columns = [
        Column("Student"),
        Column("Kind"),
        Column("Rows", "number"),
        Column("Steps", "number"),
        Column("Seed", "number"),
        Column("Training", "number"),
        Column("Left out"),
        Column("Exported against trained"),
    ]
    rows = []
    for student in view.students:
        parity = student.get("parity") or {}
        told = (
            f"largest difference {parity['max_abs_diff']:.2g}, {parity.get('label_flips', 0)} of {parity.get('n', '?')} answers flip"
            if "max_abs_diff" in parity
            else None
        )
        rows.append([
            student["name"], student.get("kind"), words.number(words.value(student.get("rows"))), words.number(words.value(student.get("steps"))),
            str(student.get("seed", words.DASH)), words.seconds(words.value(student.get("train_seconds"))), ", ".join(student.get("left_out") or ()) or "nothing", told,
        ])  # fmt: skip
    return table("Training", columns, rows)


def _ladder(view: View) -> Html | None:
    rows = [
        [
            student["name"], step.get("precision"), words.size(step.get("size_bytes")), words.quality(view.metric, step.get("score")),
            words.difference(view.metric, step.get("loss"), unit=False), el("b", "kept") if step.get("kept") else "no", step.get("why"),
        ]
        for student in view.students
        for step in student.get("ladder") or ()
    ]  # fmt: skip
    if not rows:
        return None
    columns = [
        Column("Export"),
        Column("Precision"),
        Column("Size", "number"),
        Column("Validation", "number"),
        Column("Loss", "number"),
        Column("Kept"),
        Column("Why"),
    ]
    return table("Export ladder", columns, rows)


def _seeds(view: View) -> Html | None:
    rows = [
        [student["name"], str(one.get("seed")), words.quality(view.metric, view.quality(one)), words.quality(view.metric, words.value(one.get("validation"))), "chosen" if one.get("chosen") else ""]
        for student in view.students
        if len(student.get("by_seed") or ()) > 1
        for one in student["by_seed"]
    ]  # fmt: skip
    columns = [Column("Seeds"), Column("Seed", "number"), Column("Test", "number"), Column("Validation", "number"), Column("")]
    return table("By seed", columns, rows) if rows else None


def _rounds(view: View) -> Html | None:
    rows = [
        [student["name"], str(i + 1), words.number(words.value(one.get("labels"))), words.quality(view.metric, words.value(one.get("quality"))), words.number(words.value(one.get("usd")), 2)]
        for student in view.students
        if len(student.get("rounds") or ()) > 1
        for i, one in enumerate(student["rounds"])
    ]  # fmt: skip
    columns = [Column("Rounds"), Column("Round", "number"), Column("Labels", "number"), Column("Validation", "number"), Column("USD", "number")]
    return table("By round", columns, rows) if rows else None
