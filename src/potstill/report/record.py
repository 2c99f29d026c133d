"""The run's record: cost, data, limits, licenses, machine, and how to have it all again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import small, words
from .markup import Child, Html, bullets, details, el, section
from .tables import Column, pairs, table
from .view import View

MOST = 12  # rare labels that are named
SPLITS = ("train", "unlabeled", "validation", "calibration", "test")
USES = {
    "train": "gold, learnt from", "unlabeled": "the pool that the teacher labels", "validation": "chooses: seeds, precision, when to stop",
    "calibration": "the temperature, nothing else", "test": "judges; chooses nothing",
}  # fmt: skip
GLOSSARY = {
    "student": "the small model that may ship; every figure is one of its exported artifact",
    "teacher": "the big model that it learnt from, as it runs today",
    "drop": "the teacher’s quality minus the student’s, on the same test rows; below zero the student is better",
    "control": "the same student with the same training effort, learning from the gold labels alone",
    "floor": "the cheapest models: always the most frequent label; TF-IDF with a linear model; where text is written a bigram model",
    "retention": "the student’s quality over the teacher’s",
    "fidelity, agreement": "the share of rows on which student and teacher answer alike, right or wrong",
    "inconclusive": "the bounds lie on both sides of what is allowed: more rows would tell",
    "latency p95": "95 of 100 single calls are at most that slow; where text is written, until the first token",
    "ECE": "expected calibration error: how far the stated confidence is from the share that is right",
}


def cost(view: View) -> Html | None:
    """Return what the teacher was asked, what was found in the store, and where the time went."""
    found = view.part("cost")
    if not found:
        return None
    calls, cached, last = found.get("teacher_calls") or 0, found.get("cached_calls") or 0, found.get("last") or {}
    hits = None if not calls + cached else f" ({100 * cached / (calls + cached):.0f}{words.THIN}% of {calls + cached:,})"
    told = pairs({
        "teacher asked": words.number(calls) + (f"; {words.number(last['teacher_calls'])} of them in the last invocation" if last else ""),
        "answered from the store": words.number(cached) + (hits or ""),
        "possibly paid": f"{found['possibly_paid']:,}: in flight when a run was killed" if found.get("possibly_paid") else None,
        "tokens": f"{found['tokens_in']:,} in, {found.get('tokens_out', 0):,} out" if found.get("tokens_in") else None,
        "estimated before": _estimate(found.get("estimate")),
        "teacher’s bill": f"{found['usd']:,.2f} USD" if found.get("usd") else "nothing: the teacher runs here or was paid before",
    })  # fmt: skip
    return section("cost", "Cost", told, _seconds(found.get("seconds") or {}))


def _estimate(found: Mapping[str, Any] | None) -> str | None:
    if not found:
        return None
    usd = found["usd"]
    return f"{usd['value']:,.2f} USD ({usd['low']:,.2f} to {usd['high']:,.2f}) for {found['rows']:,} rows, from {found['probed']:,} calls"


def _seconds(found: Mapping[str, float]) -> Html | None:
    if not found:
        return None
    most, total = max(found.values()) or 1, sum(found.values())
    rows = [[name, words.seconds(took), small.bar(took / most)] for name, took in sorted(found.items(), key=lambda item: -item[1])]
    return details(
        f"Time by stage: {words.seconds(total)} in all", table("Time by stage", [Column("Stage"), Column("Time", "number"), Column("", "picture")], rows)
    )


def data(view: View) -> Html | None:
    """Return the rows by use, what was dropped and why, duplicates, leaks, and how often the test rows were looked at."""
    found = view.part("data")
    if not found:
        return None
    groups, lengths = found.get("groups") or {}, found.get("length") or {}
    rows: list[list[Child]] = [
        [name, words.number(found[name]), words.number(groups.get(name)) if groups.get(name) else None, _length(lengths.get(name)), USES[name]]
        for name in SPLITS
        if found.get(name) is not None
    ]
    columns = [Column("Rows"), Column("n", "number"), Column("Groups", "number"), Column("Length, characters", "number"), Column("What for")]
    reads = found.get("test_reads")
    told = pairs({
        "dropped rows": _reasons(found.get("dropped") or {}) or "none",
        "duplicates removed": _reasons(found.get("duplicates") or {}) or "none",
        "leaks into the judging rows": f"{found['leaks']:,} rows, removed from what is learnt from" if found.get("leaks") else "none found",
        "groups on both sides": f"{found['straddling_groups']:,}: your own files say so" if found.get("straddling_groups") else None,
        "labels of the training rows": _imbalance(found.get("imbalance")),
        "labels missing": "; ".join(f"{split}: {', '.join(labels)}" for split, labels in (found.get("missing_labels") or {}).items()) or None,
        "made by augmentation": _augmented(found.get("augmented")),
        "labels worth a second look": _suspects(view.metric, found.get("suspects")),
        "rows that talk to a model": _instructions(found.get("instructions")),
        "replaced before rows were sent": _privacy(found.get("privacy")),
        "looks at the test rows": f"{reads}" + (": each costs confidence" if reads and reads > 1 else "") if reads is not None else None,
    })  # fmt: skip
    return section("data", "Data", table("Rows by use", columns, rows), told, _labels(found), _talking(found.get("instructions")), _sources(found))


def _imbalance(found: Mapping[str, Any] | None) -> str | None:
    """Return how uneven the labels are, and which are rare."""
    if not found:
        return None
    ends = [found.get("most") or {}, found.get("least") or {}]
    told = ", ".join(f"{word} {end['label']} ({words.rows_of(end['n'])})" for word, end in zip(("commonest", "rarest"), ends) if end)
    rare, row = found.get("rare") or (), found.get("per_row")
    if row:
        told += f"; {row['mean']:.2f} labels a row, at most {row['most']:.0f}, none in {words.quality('accuracy', row['none'])}"
    return told + (f"; fewer than {found['rare_below']} rows: {', '.join(rare[:MOST])}" + (" and more" if len(rare) > MOST else "") if rare else "")


def _length(found: Mapping[str, float] | None) -> str | None:
    return f"{found['q50']:,.0f} ({found['q5']:,.0f} to {found['q95']:,.0f})" if found and "q50" in found else None


def _augmented(found: Mapping[str, Any] | None) -> str | None:
    if not found:
        return None
    total, kinds = found["total"], _reasons({name: kind["kept"] for name, kind in found["kinds"].items()})
    left_out = f"{total['duplicate']:,} that were there already, {total['leaked']:,} too near to a row that judges"
    return f"{total['kept']:,} rows ({kinds}), labeled by the teacher, without gold; left out: {left_out}"


def _suspects(metric: str, found: Mapping[str, Any] | None) -> str | None:
    """Return how many labels are suspect, who says so, and what leaving them out was worth."""
    if not found:
        return None
    if "why_not" in found:
        return str(found["why_not"])
    names = {"gold": "gold labels", "teacher": "of the teacher's answers"}
    told = [f"{part['suspects']:,} of {part['rows']:,} {names[whose]}, says {part['judge']}" for whose in names if (part := found[whose])["rows"]]
    told += [f"{words.rows_of(found['conflicts'])} near to one with another label"] if found["conflicts"] else []
    worth = found.get("worth")
    if again := found.get("again"):
        told.append(
            f"asked again, with other shots, about {words.rows_of(again['rows'])}: {again['confirmed']:,} labels confirmed, "
            f"{again['otherwise']:,} said otherwise, {again['unanswered']:,} without an answer"
        )
    if found["mode"] in ("drop", "ask"):
        told.append(
            ("left out" if found["mode"] == "drop" else "those said otherwise left out")
            + (f": {words.gain(metric, worth)} on validation for the first student" if worth else ", there was none")
        )
    return "; ".join(told) + "; suspects.jsonl names them, `potstill why` shows one"


def _instructions(found: Mapping[str, Any] | None) -> str | None:
    """Return how many rows talk to a language model, or seem to, and what became of them."""
    if not found:
        return None
    if not found["flagged"]:
        return f"none of {found['rows']:,} looks as if it did"
    told = f"{found['flagged']:,} of {found['rows']:,}, or seem to ({_reasons(found['by_split'])}): {_reasons(found['by_rule'])}"
    left = f"; left out of what is learnt from: {words.rows_of(found['dropped'])}" if found["mode"] == "drop" else "; learnt from like any"
    return f"{told}{left}; instructions.jsonl lists them, `potstill why` shows one"


def _privacy(found: Mapping[str, Any] | None) -> str | None:
    """Return what was replaced before rows went to the teacher, and who reads texts so."""
    if not found:
        return None
    kinds = _reasons(found["replaced"]) or "nothing was found"
    students = "students learn from, and read, texts in which the same is replaced" if found["students"] else "students read texts as they are"
    return f"{kinds}; in {found['changed']:,} of {found['rows']:,} rows; looked for: {', '.join(found['looked_for'])}; {students}"


def _talking(found: Mapping[str, Any] | None) -> Html | None:
    """Return some of the rows that talk to a model, with the reason of each."""
    rows = [[line["place"], line["split"], line["rule"], line["found"]] for line in (found or {}).get("examples") or ()]
    columns = [Column("Row"), Column("For"), Column("Why"), Column("Where")]
    return (
        details(f"Rows that talk to a model ({len(rows)} of {found['flagged']:,})", table("Rows that talk to a model", columns, rows))
        if found and rows
        else None
    )


def _reasons(found: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in sorted(found.items(), key=lambda item: -item[1]) if n)


def _labels(found: Mapping[str, Any]) -> Html | None:
    by_label = found.get("by_label") or {}
    labels = found.get("labels") or sorted({label for counts in by_label.values() for label in counts})
    splits = [split for split in SPLITS if by_label.get(split)]
    if not splits or not labels:
        return None
    rows = [[label, *(words.number(by_label[split].get(label, 0)) for split in splits)] for label in labels]
    return details(f"Rows by label ({len(labels)} labels)", table("Rows by label", [Column("Label"), *(Column(split, "number") for split in splits)], rows))


def _sources(found: Mapping[str, Any]) -> Html | None:
    rows = [[s.get("file"), s.get("split"), words.number(s.get("rows")), el("code", str(s.get("sha256", ""))[:16])] for s in found.get("sources") or ()]
    return details("Files", table("Files", [Column("File"), Column("For"), Column("Rows", "number"), Column("sha256")], rows)) if rows else None


def limits(view: View) -> Html | None:
    """Return what was not measured, and why; then the licenses."""
    lines = view.report.get("limits") or ()
    return section("limits", "Limits", bullets(list(lines)), lead="What this page can’t tell.") if lines else None


def licenses(view: View) -> Html | None:
    found = {**view.part("licenses")}
    if not found:
        found = {
            "teacher’s weights": view.teacher.get("license"),
            "teacher’s answers": view.teacher.get("output_license"),
            "data": view.part("data").get("license"),
        }
    told = {key: value for key, value in found.items() if value}
    unknown = [key for key, value in told.items() if value == "unknown"]
    note = f"Unknown: {', '.join(unknown)}. Find out before you ship." if unknown else None
    return section("licenses", "Licenses", pairs(told), el("p.note", note) if note else None) if told else None


def machine(view: View) -> Html | None:
    found = view.part("machine")
    if not found:
        return None
    told = pairs({
        "processor": f"{found.get('cpu')}, {found.get('cores')} cores, {found.get('threads')} used",
        "memory": words.size(found.get("memory_bytes")),
        "devices": ", ".join(found.get("devices") or ()) or None,
        "fast precisions": ", ".join(found.get("precision") or ()) or None,
        "versions": ", ".join(f"{name} {version}" for name, version in (found.get("versions") or {}).items()) or None,
    })  # fmt: skip
    return section("machine", "Machine", told, lead="Speed and memory are of this machine; elsewhere they differ.")


def again(view: View) -> Html:
    """Return the command that makes this page again, and what proves that it is the same."""
    command, registered = view.report.get("command"), view.part("registered")
    told = pairs({
        "fingerprint": _code(view.report.get("fingerprint")),
        "registered before the test rows were opened": [el("code", registered["hash"]), f" at {registered.get('time')}"] if registered.get("hash") else None,
        "teacher": _code(view.teacher.get("identity")),
        "seeds": ", ".join(map(str, view.report.get("seeds") or ())) or None,
        "bundle": _code(view.report.get("bundle")),
        "potstill": view.report.get("potstill"),
    })  # fmt: skip
    return section("again", "Have it again", el("pre", command, attrs={"tabindex": "0"}) if command else None, told)


def _code(found: Any) -> Html | None:
    return el("code", found) if found else None


def glossary() -> Html:
    return section("words", "Words on this page", pairs(GLOSSARY))
