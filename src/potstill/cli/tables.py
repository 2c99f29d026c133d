"""Tables and sentences on standard output, made of plain records: what a run found, and what the small verbs tell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

DASH = "-"  # where there is no value
VERDICTS = {
    "ship": "SHIP",
    "do-not-ship": "DO NOT SHIP",
    "inconclusive": "INCONCLUSIVE: not enough test rows to tell",
    None: "no requirement, so no verdict",
}
NEXT = {
    "measure": "potstill run {command}", "label": "potstill train {command}", "train": "potstill export {command}",
    "export": "potstill evaluate {command}", "evaluate": "",
}  # fmt: skip


def result(run: Any, *, as_json: bool, quiet: bool, until: str | None, command: str) -> None:
    """Show what a run, or one stage of it, found."""
    report = run.report
    if as_json:
        typer.echo(json.dumps(report if report is not None else {"folder": str(run.folder), "stage": until}, indent=1, ensure_ascii=False))
        return
    if report is None or not report.get("students"):
        if report is not None:
            typer.echo(baseline(report))
        if not quiet:
            typer.echo(f"{until} is done; what it made is in {run.folder}; next: {NEXT[until or 'measure'].format(command=command)}")
        return
    typer.echo(verdict(report))
    typer.echo()
    typer.echo(standings(report))
    typer.echo()
    typer.echo(pairs(places(report, run.folder)))


# ------------------------------------------------------------------------------------------------------ a run's report
WRITTEN = {"texts/s": "tokens/s", "p95 ms": "first token, p95 ms"}  # what is measured of texts that are written


def verdict(report: Mapping[str, Any]) -> str:
    """Return the verdict, its reasons and the advice."""
    found = report.get("verdict") or {}
    head = VERDICTS.get(found.get("decision"), str(found.get("decision")))
    if found.get("student") and found.get("decision") == "ship":
        head += f" {found['student']}"
    lines = [f"Verdict: {head}", *(f"  {reason}" for reason in found.get("reasons") or ())]
    if found.get("rows_needed"):
        lines.append(f"  test rows needed to tell: {found['rows_needed']:,}")
    lines += [f"  advice: {advice}" for advice in found.get("advice") or ()]
    return "\n".join(lines + [f"  note: {note}" for note in report.get("notes") or ()])


def standings(report: Mapping[str, Any]) -> str:
    """Return the table of the students against teacher, control and floor."""
    metric = main_metric(report)
    teacher = report.get("teacher") or {}
    rows = [_row("teacher", "", teacher, metric)]
    for student in report.get("students") or ():
        row = _row(student["name"], student.get("kind", ""), student, metric)
        row["drop"] = _interval(student.get("quality_drop"))
        row["vs control"] = _interval((student.get("control") or {}).get("gain"), signed=True)
        row["speed-up"] = _times((student.get("speedup") or {}).get("throughput"))
        row["meets"] = {True: "yes", False: "no", None: "not shown"}[student.get("meets")] if report.get("requirement") else ""
        rows.append(row)
        if control := student.get("control"):
            rows.append(_row(f"  control of {student['name']}", "", control, metric))
    rows += [_row(f"floor: {base['name']}", "", base, metric) for base in report.get("baselines") or ()]
    written = WRITTEN if report.get("task") == "text-generation" else {}
    return grid([{written.get(head, head): cell for head, cell in row.items()} for row in rows])


def baseline(found: Mapping[str, Any]) -> str:
    """Return what `measure` found: the teacher beside the floor on validation, and the test rows that a verdict would take."""
    teacher = found.get("teacher") or {}
    rows = [{"": name, **{metric: _number(value, 4) for metric, value in values.items()}} for name, values in (found.get("validation") or {}).items()]
    size = _scaled(teacher.get("size_bytes"), 1e-6)
    lines = [f"teacher: {teacher.get('name')}" + (f", {teacher['parameters']:,} parameters" if teacher.get("parameters") else "")
             + (f", {size:,.1f} MB" if size else "")]  # fmt: skip
    lines += ["", f"on {found['data']['validation']:,} validation rows:", grid(rows)] if rows else ["there is no gold to measure it by"]
    lines += _answers(found.get("answers"))
    lines += [line for line in (_talking(found.get("instructions")), _replaced(found.get("privacy"))) if line]
    if needed := found.get("rows_needed_assumed"):
        lines += ["", "test rows that a verdict takes when the student is as good as the teacher, by the share of rows (assumed) on which one of the"]
        lines += [f"two is right and the other wrong; there are {found['data']['test']:,}:"]
        lines.append(pairs({share: "more than can be had" if rows is None else rows for share, rows in needed.items()}))
    if wanted := found.get("to_label"):
        lines += ["", f"to label by hand: {wanted['rows']:,} rows of the pool, drawn at random: {wanted['file']}"]
        lines += ["fill in the labels and name the file under data.test; they leave the pool by themselves"]
        lines += [f"the pool has no more; {wanted['missing'] - wanted['rows']:,} rows are still missing"] if wanted["missing"] > wanted["rows"] else []
    return "\n".join(lines)


def _answers(found: Mapping[str, Any] | None) -> list[str]:
    """Return how what the teacher wrote to validation rows was graded, and what it is like."""
    if not found:
        return []
    rows = [{"": name.replace("_", " "), "value": _interval(value), "rows": value["n"]} for part in found.values() for name, value in part.items()]
    return ["", "what it writes itself to validation rows:", grid(rows)]


def _talking(found: Mapping[str, Any] | None) -> str:
    """Return how many rows talk to a language model, with one of them."""
    if not found or not found["flagged"]:
        return ""
    one = found["examples"][0]
    left = f"; {found['dropped']:,} are left out" if found["mode"] == "drop" else ""
    return f"\n{found['flagged']:,} of {found['rows']:,} rows talk to a language model, or seem to{left}; {one['place']}: {one['rule']}: {one['found']}"


def _replaced(found: Mapping[str, Any] | None) -> str:
    """Return what is replaced before rows are sent."""
    if not found:
        return ""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found["replaced"].items()) or "nothing"
    return f"\nreplaced before rows are sent: {kinds}, in {found['changed']:,} of {found['rows']:,} rows"


def main_metric(report: Mapping[str, Any]) -> str:
    """Return the metric that the verdict is about."""
    quality = (report.get("requirement") or {}).get("quality") or {}
    return str(report.get("metric") or quality.get("metric") or "accuracy")


def places(report: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return what else is worth a line at the end: licenses, cost, where things are."""
    data, cost = report.get("data") or {}, report.get("cost") or {}
    last = cost.get("last") or {}
    calls = f"{last.get('teacher_calls', 0):,} asked, {last.get('cached_calls', 0):,} from the store" if last else ""
    found = {
        **{f"license of {what}": license for what, license in (report.get("licenses") or {}).items()},
        "test reads": data.get("test_reads"),
        "teacher's answers": calls,
        "cost": f"${cost['usd']:.2f}" if cost.get("usd") else "",
        "page": folder / "report.html",
        "bundle": folder / str(report["bundle"]) if report.get("bundle") else "",
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def _row(name: str, kind: str, subject: Mapping[str, Any], metric: str) -> dict[str, Any]:
    latency = subject.get("latency_ms") or {}
    return {
        "": name, "kind": kind, metric: _number((subject.get("quality") or {}).get(metric), 4), "drop": "", "vs control": "",
        "MB": _number(_scaled(subject.get("size_bytes"), 1e-6), 2), "p95 ms": _number(_value(latency.get("p95")), 2),
        "texts/s": _number(_value(subject.get("throughput_per_s")), 0), "speed-up": "", "meets": "",
    }  # fmt: skip


def _value(found: Any) -> Any:
    """A figure may come with its interval."""
    return found.get("value") if isinstance(found, Mapping) else found


def _scaled(value: Any, factor: float) -> Any:
    return None if value is None else _value(value) * factor


def _number(value: Any, digits: int) -> str:
    return "" if not isinstance(value, int | float) else f"{value:,.{digits}f}"


def _times(value: Any) -> str:
    return f"{_number(_value(value), 1)}x" if value is not None else ""


def _interval(found: Any, *, signed: bool = False) -> str:
    if not isinstance(found, Mapping) or found.get("value") is None:
        return ""
    sign = "+" if signed else ""
    return (
        f"{found['value']:{sign}.4f} [{found['low']:{sign}.4f}, {found['high']:{sign}.4f}]" if found.get("low") is not None else f"{found['value']:{sign}.4f}"
    )


# ------------------------------------------------------------------------------------------------------------- shapes
def grid(rows: Sequence[Mapping[str, Any]], *, empty: str = "nothing") -> str:
    """Return rows of the same keys as an aligned table; a column without a value is left out, numbers stand right."""
    columns = [key for key in (rows[0] if rows else ()) if any(row.get(key) not in ("", None) for row in rows)]
    if not columns:
        return empty
    cells = [[_cell(row.get(key)) for key in columns] for row in rows]
    widths = [max(len(column), *(len(row[i]) for row in cells)) for i, column in enumerate(columns)]
    right = [all(row[i][:1].isdigit() or row[i][:1] in "-+." or not row[i] for row in cells) for i in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *cells]
    return "\n".join("  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right)).rstrip() for line in lines)


def pairs(values: Mapping[str, Any]) -> str:
    """Return "key  value" lines."""
    width = max((len(str(key)) for key in values), default=0)
    return "\n".join(f"{key!s:<{width}}  {_cell(value)}" for key, value in values.items())


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


# -------------------------------------------------------------------------------------------------------- small verbs
def life(found: Mapping[str, Any]) -> str:
    """Return one row's life (see ``explain.why``)."""
    row = found["row"]
    fields = "\n".join(f"  {name}: {_cut(str(text))}" for name, text in (row.get("fields") or {}).items())
    lines = [f"{row['id']}  {row.get('place', '')}  ({row['split']})", *([fields] if fields else []), f"  gold: {row.get('gold')}"]
    for copy in found.get("duplicates") or ():
        removed, kept = f"{copy['removed']} ({copy['removed_from']})", f"{copy['kept']} ({copy['kept_in']})"
        lines.append(f"  {copy['kind']} duplicate: {kept} was kept, {removed} was removed; similarity {copy['similarity']:.2f}")
    if found.get("dropped"):
        lines.append(f"  dropped: {found['dropped']['reason']}")
    lines += [f"  {_suspect(line)}" for line in found.get("suspects") or ()]
    lines += [f"  talks to a language model, or seems to: {sign['rule']}: {sign['found']}" for sign in found.get("instructions") or ()]
    lines += [f"  answer of {held['teacher']} ({held['identity'][:12]}) in the store: {held['key']}" for held in found.get("keys") or ()]
    if answers := found.get("answers"):
        lines += ["", grid(answers)]
    lines += [f"  {note}" for note in found.get("notes") or ()]
    return "\n".join(lines)


def _suspect(line: Mapping[str, Any]) -> str:
    """Return one line of ``suspects.jsonl`` in words."""
    if line["whose"] == "conflict":
        return (
            f"near duplicates with different labels: {line['place']} '{line['label']}', {line['twin_place']} '{line['twin_label']}';"
            f" similarity {line['similarity']:.2f}"
        )
    whose = "gold label" if line["whose"] == "gold" else "teacher's label"
    again = f"; asked again, the teacher said '{line['again']}'" if line.get("again") else ""
    return f"suspect: its {whose} is '{line['label']}', likelier is '{line['likelier']}' (margin {line['margin']:+.2f}){again}"


def difference(found: Mapping[str, Any]) -> str:
    """Return the paired difference of two runs (see ``explain.diff``)."""
    lines = [f"{found['n']:,} test rows in both; {found['metric']} of the second minus the first", "", grid([_rounded(pair) for pair in found["pairs"]])]
    return "\n".join(lines + [f"  {note}" for note in found.get("notes") or ()])


def _rounded(pair: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _number(value, 4) if isinstance(value, float) else value for key, value in pair.items()}


def health(found: Mapping[str, Any]) -> str:
    """Return what the machine can do (see ``doctor.examine``)."""
    sections = []
    for title, values in found.items():
        sections.append(f"{title}\n" + "\n".join(f"  {line}" for line in pairs(values).split("\n")))
    return "\n".join(sections)


def _cut(text: str, length: int = 300) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
