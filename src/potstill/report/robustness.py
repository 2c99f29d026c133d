"""What it costs each model that texts are written otherwise: the first student beside its teacher, drawn; all models in tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import plots, words
from .markup import Child, Html, details, el, figure, section
from .tables import Column, figure_cell, table
from .view import View

Model = Mapping[str, Any]
CHANGES = {  # arm -> its name, and what is done
    "typos": ("typos", "letters swapped, dropped, inserted or mistaken for a neighbor on the keyboard"),
    "upper_case": ("capitals", "all letters are capitals"),
    "lower_case": ("no capitals", "no letter is a capital"),
    "whitespace": ("blanks", "doubled, or tabs and line breaks; blanks before and after"),
    "truncation": ("cut short", "the first half of the words"),
    "out_of_domain": ("another kind", "other rows, from a file of their own"),
}
SIGNS = str.maketrans({"\t": "⇥", "\n": "⏎", "\r": "⏎"})


def robustness(view: View) -> Html | None:
    """Return what changed texts cost; None where nothing was changed."""
    told = view.part("robustness")
    shown = [student for student in view.students if student.get("robustness")]
    if not told.get("arms") or not shown:
        return None
    first, others = shown[0], shown[1:]
    what = "the share of its teacher’s answers to the texts as they are" if told.get("reference") == "teacher" else words.metric_name(view.metric)
    lead = (
        f"A sample of {words.rows_of(told.get('rows'), 'test row')}, changed, and everyone asked again: how much {what} is lost. "
        "It describes, and decides nothing."
    )
    tables = [
        el("h3", first["name"]),
        _table(view, first["name"], first),
        *(details(f"{model['name']}, changed", _table(view, model["name"], model)) for model in others),
    ]
    floors = [base for base in view.report.get("baselines") or () if base.get("robustness")]
    tables += [details(f"{base['name']}, changed", _table(view, base["name"], base)) for base in floors]
    made = details("How the texts were changed", _arms(told))
    return section("robustness", "Written otherwise", _plot(view, first), _notes(view, told, shown), tables, made, lead=lead)


def _notes(view: View, told: Mapping[str, Any], shown: Sequence[Model]) -> list[Html]:
    lines = [f"The teacher is not drawn: {told['unasked']}."] if told.get("unasked") else []
    lines += [f"{_name(arm).capitalize()}: all {words.rows_of(arm['unchanged'])} are so already." for arm in told["arms"] if not arm["n"]]
    if any(entry.get("few_groups") for entry in shown[0]["robustness"]):
        lines.append("Under 30 groups: the intervals are too narrow to be trusted.")
    for student in shown:
        if worse := [_name(entry) for entry in student["robustness"] if entry.get("stands_out")]:
            lines.append(f"{student['name']} is more brittle than its teacher, even when all comparisons are allowed for: {', '.join(worse)}.")
    return [el("p.small", line) for line in lines]


# ----------------------------------------------------------------------------------------------------------- the drawing
def _plot(view: View, student: Model) -> Html | None:
    taught = {entry["arm"]: entry for entry in view.teacher.get("robustness") or ()}
    rows = []
    for entry in student["robustness"]:
        if words.value(entry.get("loss")) is not None:
            rows.append(_row(view, _name(entry), student["name"], entry, _look(entry)))
        if words.value(taught.get(entry["arm"], {}).get("loss")) is not None:
            rows.append(_row(view, _name(entry), "teacher", taught[entry["arm"]], "plain"))
    if not rows:
        return None
    shares = view.metric in words.SHARES
    frame = plots.Frame(f"Loss of {student['name']} and its teacher on changed texts", "as before", ("loss", "n"), 100 if shares else 1)
    desc = "; ".join(f"{row.name}, {row.under}: loses {row.notes[0]}" for row in rows)
    drawn = plots.drawn("robustness-plot", lambda width, key, look: plots.intervals(rows, frame, width, key, look, desc))
    caption = (
        f"Loss in {'points of ' if shares else ''}{words.metric_name(view.metric)} against the same model on the same rows as they are, with two-sided "
        f"95{words.THIN}% intervals; right of the line it is worse. Red: the student loses more than its teacher; green: less; gray: not shown to differ."
    )
    other = " Rows of another kind are held against all test rows." if any(entry["arm"] == "out_of_domain" for entry in student["robustness"]) else ""
    return figure(drawn, caption=caption + other)


def _row(view: View, name: str, who: str, entry: Model, look: str) -> plots.Row:
    value, (low, high) = words.value(entry["loss"]) or 0.0, words.bounds(entry["loss"]) or (None, None)
    return plots.Row(name, who, value, low, high, look, (words.difference(view.metric, value, signed=True, unit=False), words.number(entry["n"])))


def _look(entry: Model) -> str:
    found = words.bounds(entry.get("difference"))
    return "plain" if found is None else "bad" if found[0] > 0 else "good" if found[1] < 0 else "plain"


def _name(entry: Model) -> str:
    return CHANGES.get(entry["arm"], (str(entry["arm"]).replace("_", " "), ""))[0]


# ------------------------------------------------------------------------------------------------------------ the tables
def _table(view: View, name: str, model: Model) -> Html:
    control = {entry["arm"]: entry for entry in (model.get("control") or {}).get("robustness") or ()}
    unit = ", points" if view.metric in words.SHARES else ""
    measures = [
        ("n", lambda e: words.number(e["n"])),
        ("As it is", lambda e: words.quality(view.metric, e.get("clean"))),
        ("Changed", lambda e: words.quality(view.metric, e.get("value"))),
        (f"Loss{unit}", lambda e: _lost(view, e.get("loss"))),
        (f"Teacher’s loss{unit}", lambda e: _lost(view, e.get("teacher_loss"))),
        (f"More than the teacher{unit}", lambda e: _lost(view, e.get("difference"))),
        (f"Its control’s loss{unit}", lambda e: _lost(view, control.get(e["arm"], {}).get("loss"))),
        ("Turned answers", lambda e: words.quality("agreement", words.value(e.get("flips")))),
        ("Agreement", lambda e: words.quality("agreement", words.value(e.get("agreement")))),
        ("Mean confidence", lambda e: words.quality("agreement", e.get("confidence") if e["arm"] == "out_of_domain" else None)),
    ]
    entries = model["robustness"]
    found = [(title, [cell(entry) for entry in entries]) for title, cell in measures]
    told = [(title, cells) for title, cells in found if any(cell != words.DASH for cell in cells)]
    rows: list[list[Child]] = [[_name(entry), *(cells[i] for _, cells in told)] for i, entry in enumerate(entries)]
    return table(f"{name} on changed texts", [Column("Change"), *(Column(title, "number") for title, _ in told)], rows)


def _lost(view: View, found: Any) -> Child:
    value, ends = words.value(found), words.bounds(found)
    if value is None:
        return words.DASH
    shown = [words.difference(view.metric, end, unit=False) for end in ends or ()]
    return figure_cell(words.difference(view.metric, value, signed=True, unit=False), words.spread(*shown) if ends else None)


def _arms(told: Mapping[str, Any]) -> Html:
    columns = [Column("Change"), Column("What is done"), Column("Rows", "number"), Column("Left as they are", "number"), Column("As it was"), Column("Changed")]
    rows: list[list[Child]] = []
    for arm in told["arms"]:
        example = arm.get("example") or {}
        texts = [el("span.quote", _visible(example[side]), attrs={"dir": "auto"}) if example else None for side in ("before", "after")]
        rows.append([_name(arm), CHANGES.get(arm["arm"], ("", ""))[1], words.number(arm["n"]), words.number(arm["unchanged"]), *texts])
    return table("How the texts were changed", columns, rows, look="cards")


def _visible(text: str) -> str:
    """Return a text whose tabs, line breaks and superfluous blanks can be seen."""
    shown = text.translate(SIGNS).replace("  ", "␣␣")
    return shown if shown == shown.strip() else "␣" * (len(shown) - len(shown.lstrip())) + shown.strip() + "␣" * (len(shown) - len(shown.rstrip()))
