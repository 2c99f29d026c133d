"""How each student learnt, how well its confidence holds, where it is worse, and the rows on which it and its teacher part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import plots, small, words
from .markup import Child, Html, details, el, figure, section
from .tables import Column, table
from .view import View

Model = Mapping[str, Any]
MANY_LEAD = (
    "How often a label’s yes or no is right, against how sure the model says it is, on the test rows. On the dashed diagonal, probabilities mean what they "
    "say; below it the model is too sure. Gray is the teacher. Bins hold equally many decisions."
)
WORST = 10  # slices that are drawn; all others are in the table
SLICED = "accuracy"  # what slices are told in, whatever the main metric; where any number of labels apply, that of whole sets:
SETS = "subset_accuracy"
SIDES = (  # of flips: the side, its title, who was right, who was wrong
    ("harmful", "Harmful: the teacher was right, the student is not", "teacher", "student"),
    ("beneficial", "Beneficial: the student is right, the teacher was not", "student", "teacher"),
)


# ---------------------------------------------------------------------------------------------------- learning curves
def curves(view: View) -> Html | None:
    """Return the learning curves of students and controls."""
    shown = [(student, found) for student in view.students if (found := _curves(student))]
    if not shown:
        return None
    name = words.metric_name(view.learning)
    if view.learning in words.LOWER_IS_BETTER:
        name = f"minus {name}, up is better"
    shown_as = f"{name}, %," if view.learning in words.SHARES else name
    lead = f"Validation {shown_as} while training, of the student and of its control; dots are the weights that were kept."
    return section("curves", "Learning curves", el("div.multiples", [_curve_figure(view, student, found) for student, found in shown]), lead=lead)


def _curves(student: Model) -> list[small.Curve]:
    found = [small.Curve("distilled", "student", looks)] if (looks := _looks(student.get("curve"))) else []
    control = _looks((student.get("control") or {}).get("curve"))
    return [*([small.Curve("control", "control", control)] if control else []), *found]


def _looks(curve: Any) -> list[tuple[float, float | None, float]]:
    """Return (step, training loss, score) of a curve's looks, which are lists of three or records."""
    found = [(look["step"], look.get("train_loss"), look["score"]) if isinstance(look, Mapping) else tuple(look) for look in curve or ()]
    return [look for look in found if look[2] is not None]


def _curve_figure(view: View, student: Model, found: Sequence[small.Curve]) -> Html:
    teacher = words.value((view.teacher.get("quality_validation") or {}).get(view.learning))
    if teacher is not None and view.learning in words.LOWER_IS_BETTER:
        teacher = -teacher
    last = {curve.name: curve.looks[-1] for curve in found}
    desc = "; ".join(f"{name}: {words.quality(view.learning, max(s for _, _, s in c.looks))} at best" for c in found for name in [c.name])
    parts = [_counted(student.get("rows"), "row"), f"{last['distilled'][0]:,.0f} steps" if "distilled" in last else None]
    parts += ["stopped early" if student.get("stopped_early") else None]
    drawn = small.curves(found, f"curve-{student['name']}", title=f"Learning curve of {student['name']}", desc=desc, metric=view.learning, teacher=teacher)
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
    lead = MANY_LEAD if shown[0][0].get("thresholds") else (
        "How often an answer is right, against how sure the model says it is, on the test rows. On the dashed diagonal, probabilities mean what they say; "
        "below it the model is too sure. Gray is the teacher. Bins hold equally many rows."
    )  # fmt: skip
    drawn = el("div.multiples", [_reliability(view, student, bins, teacher) for student, bins in shown])
    return section("calibration", "Calibration", drawn, _thresholds(view), lead=lead)


def _thresholds(view: View) -> Html | None:
    """Return from which probability on each label is told; None where one label applies to a row."""
    shown = [student for student in view.students if student.get("thresholds")]
    if not shown:
        return None
    columns = [Column("Label"), *(Column(student["name"], "number") for student in shown), Column("")]
    alone = set(shown[0].get("shared_threshold") or ())
    rows: list[list[Child]] = [
        [label, *(words.number(student["thresholds"][label], 2) for student in shown), "the shared one: too few rows for its own" if label in alone else None]
        for label in shown[0]["thresholds"]
    ]
    return details(f"From which probability on a label is told ({len(rows)} labels), chosen on validation", table("Thresholds", columns, rows))


def _bins(model: Model) -> list[Any]:
    found = (model.get("calibration") or {}).get("reliability") or model.get("reliability") or []
    return [b for b in found if b.get("n")]


def _reliability(view: View, student: Model, bins: Sequence[Any], teacher: Sequence[Any]) -> Html:
    ece, temperature = words.value((student.get("calibration") or {}).get("ece")), words.value(student.get("temperature"))
    desc = "; ".join(f"says {words.quality('accuracy', b['confidence'])}, is right {words.quality('accuracy', b['accuracy'])}" for b in bins)
    parts = [
        f"ECE {words.quality('accuracy', ece)}" if ece is not None else None,
        _counted(sum(b["n"] for b in bins), "decision" if student.get("thresholds") else "row"),
    ]
    parts += [f"temperature {temperature:.2f}" if temperature is not None else None]
    taught = words.value((view.teacher.get("calibration") or {}).get("ece"))
    parts += [f"teacher’s ECE {words.quality('accuracy', taught)}" if taught is not None else None]
    drawn = small.reliability(bins, teacher, f"reliability-{student['name']}", title=f"Reliability of {student['name']}", desc=desc)
    return figure(el("h3", student["name"]), drawn, caption=", ".join(part for part in parts if part))


# ------------------------------------------------------------------------------------------------------------- slices
def slices(view: View) -> Html | None:
    """Return where the students are worse than their teacher: drawn for the first one, tables for all."""
    shown = [student for student in view.students if student.get("slices")]
    if not shown:
        return None
    first = shown[0]
    rows = [_slice(row) for row in sorted(first["slices"], key=lambda row: -(words.value(row.get("drop")) or 0.0))[:WORST]]
    overall = words.value(first.get("quality_drop")) if view.metric in (SLICED, SETS) else None
    desc = "; ".join(f"{row.name}: drop {row.notes[0]}" for row in rows)
    frame = plots.Frame(f"Worst slices of {first['name']}", "as the teacher", ("drop", SLICED, "n"), 100, overall)
    drawn = plots.drawn("slices-plot", lambda width, key, look: plots.intervals(rows, frame, width, key, look, desc))
    lead = (
        f"{first['name']}: drop in {SLICED} against the teacher, in points, worst first. "
        "Slices are many and looked at together: they point, they decide nothing."
    )
    caption = f"Two-sided 95{words.THIN}% intervals; to the right the student is worse." + (" Dotted: its drop on all rows." if overall is not None else "")
    tables = [details(f"All slices of {student['name']} ({len(student['slices'])})", _slice_table(student)) for student in shown]
    return section("slices", "Worst slices", figure(drawn, caption=caption), tables, lead=lead)


def _slice(row: Any) -> plots.Row:
    value, ends = words.value(row.get("drop")) or 0.0, words.bounds(row.get("drop"))
    low, high = ends or (None, None)
    look = "bad" if low is not None and low > 0 else "good" if high is not None and high < 0 else "plain"
    notes = (words.difference(SLICED, value, signed=True, unit=False), words.quality(SLICED, words.value(row.get("quality"))), f"{row['n']:,}")
    return plots.Row(str(row["value"]), str(row["column"]), value, low, high, look, notes)


def _slice_table(student: Model) -> Html:
    columns = [Column("Column"), Column("Value"), *(Column(title, "number") for title in ("n", "Student", "Teacher", "Drop, points", "95 % interval"))]
    rows: list[list[Child]] = []
    for row in student["slices"]:
        ends = words.bounds(row.get("drop"))
        judged = [words.quality(SLICED, words.value(row.get(who))) for who in ("quality", "teacher")]
        drop = words.difference(SLICED, words.value(row.get("drop")), signed=True, unit=False)
        spread = words.spread(*(words.difference(SLICED, end, unit=False) for end in ends)) if ends else None
        rows.append([row["column"], str(row["value"]), words.number(row["n"]), *judged, drop, spread])
    return table(f"Slices of {student['name']}", columns, rows)


# -------------------------------------------------------------------------------------------------------------- flips
def flips(view: View) -> Html | None:
    """Return example rows on which only the teacher, or only the student, is right."""
    shown = [student for student in view.students if (student.get("flips") or {}).get("counts")]
    if not shown:
        return None
    first = [el("h3", shown[0]["name"], el("small", f" {_flip_counts(shown[0])}")), _flips(shown[0])]
    others = [details([student["name"], el("small", f" {_flip_counts(student)}")], _flips(student)) for student in shown[1:]]
    return section("flips", "Flips", first, others, lead="Test rows on which student and teacher part, the student’s surest answers first.")


def _flip_counts(student: Model) -> str:
    counts = student["flips"]["counts"]
    return f"{counts.get('harmful', 0):,} harmful, {counts.get('beneficial', 0):,} beneficial"


def _flips(student: Model) -> list[Child]:
    parts: list[Child] = []
    for side, title, right, wrong in SIDES:
        rows, total = student["flips"].get(side) or [], student["flips"]["counts"].get(side, 0)
        if rows:
            parts += [el("h4", title, el("small", f" {len(rows)} of {total:,}")), _flip_table(f"{title}, {student['name']}", rows, right, wrong)]
    return parts


def _flip_table(name: str, rows: Sequence[Any], right: str, wrong: str) -> Html:
    columns = [Column("Text"), Column(f"Gold and {right}"), Column(f"{wrong.capitalize()} said"), Column("Row")]
    cells = [
        [el("span.quote", row.get("text") or "", attrs={"dir": "auto"}), row.get("gold"), row.get(wrong), el("small", row.get("place") or row["id"][:12])]
        for row in rows
    ]
    return table(name, columns, cells, look="cards.flips")
