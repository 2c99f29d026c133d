"""What must be said beside the figures: what was not measured and why, and what an honest colleague would point out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..lookup import load
from ..recipe.teacher import members
from ..records import Interval
from ..workspace import Workspace
from .augment import said
from .evidence import Evidence
from .models import thresholds
from .said import of as way_of
from .teach import learning_metric, written_metric

TWO_SIDED = 0.025  # each bound of a 95 % interval
RARE = 10  # training rows under which a label is named as rare: too few to learn it, or to judge it, from


def limits(found: Evidence, measured: Mapping[str, Any]) -> list[str]:
    """Return what the page can't tell, in sentences."""
    lines = [f"speed and memory are of this machine ({measured['machine']['cpu']}, {measured['machine']['threads']} threads); elsewhere they differ"]
    for name, m in measured["measured"].items():
        if m["latency_ms"].get("p99") is None:
            lines.append(f"{name}: no p99, which takes 1,000 single calls")
    if any(m["energy_j_per_1000"] is None for m in measured["measured"].values()):
        lines.append(f"energy: {next(m['energy_reason'] for m in measured['measured'].values())}")
    if "teacher" not in measured["measured"]:
        lines.append(f"{_untimed(found)}: its speed, memory and size can't be measured here")
    if found.teaching.ready.probe:
        lines.append(f"the teacher was asked in {found.teaching.ready.probe['why']}; timed it was in fp32, as it runs unless a recipe says otherwise")
    if (told := found.robustness.read())["arms"] and told["unasked"]:
        lines.append(f"{told['unasked']}; whether a student is more brittle than its teacher can't be told")
    for split, labels in found.data.card["missing_labels"].items():
        lines.append(f"{split} has no row of: {', '.join(labels)}")
    if rare := (imbalance(found.data.card) or {"rare": []})["rare"]:
        lines.append(f"labels with fewer than {RARE} training rows each: {_some(rare)}")
    if shared := thresholds(found, found.candidates[0]).get("shared_threshold"):
        lines.append(f"too few validation rows for a threshold of their own, so they have the one that is best for all: {_some(shared)}")
    if found.teaching.work.recipe.replace:
        lines.append(
            "students learnt from, and read, texts in which what may name a person is replaced: whoever loads one without potstill replaces it first, by "
            "the rules under preprocess.replace of its student.json"
        )
    return lines + _of_answers(found)


def _of_answers(found: Evidence) -> list[str]:
    """Return what can't be told for want of answers: the teacher's whole distribution, gold."""
    lines = []
    if way_of(found.teaching.work, found.data).divergence == "top_and_tail":
        lines.append(
            "the teacher tells of the likeliest tokens, the one that stands there and the mass of all others: a divergence from it (kl) is over these, "
            "all others one, and a lower bound of that over the whole vocabulary"
        )
    if not found.data.has_gold:
        lines.append("there is no gold in validation and test: quality, control and retention can't be told, the verdict rests on fidelity")
    return lines


def imbalance(card: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how uneven the labels of the training rows are: rows of the commonest and of the rarest, and which are rare; None without gold."""
    counts = card["by_label"].get("train")
    if not counts:
        return None
    most, least = max(counts, key=counts.get), min(counts, key=counts.get)
    return {
        "most": {"label": most, "n": counts[most]}, "least": {"label": least, "n": counts[least]},
        "rare": [label for label, n in sorted(counts.items(), key=lambda item: item[1]) if n < RARE], "rare_below": RARE,
        "per_row": card.get("labels_per_row"),
    }  # fmt: skip


def _some(labels: Sequence[str], most: int = 10) -> str:
    return ", ".join(labels[:most]) + (f" and {len(labels) - most} more" if len(labels) > most else "")


def notes(work: Workspace, found: Evidence, made: Mapping[str, Any]) -> list[str]:
    """Return what an honest colleague would point out."""
    lines, metric = _of_the_teacher(work, found, made), made["metric"]
    lines += [said(found.augmented.counts)] if found.augmented.counts else []
    for student in made["students"]:
        gain = student.get("gain_floor")
        if gain and gain["high"] < 0:
            lines.append(f"{student['name']} is worse than {way_of(work, found.data).floor_words} on the gold rows: it is not worth its teacher")
        control = student.get("control")
        if control and control["gain"]["low"] <= 0:
            verb = "is worse than" if control["gain"]["high"] < 0 else "is not shown to be better than"
            lines.append(f"{student['name']} {verb} its control, the same student without the teacher ({metric})")
        if worse := [entry["arm"].replace("_", " ") for entry in student["robustness"] if entry["stands_out"]]:
            lines.append(f"{student['name']} is more brittle than its teacher, beyond chance: {', '.join(worse)}")
    for candidate in found.candidates:
        if general := candidate.model.trained.read().get("general"):
            lines.append(
                f"{candidate.name} learnt from {general['rows']:,} plain texts first, from the teacher as it was before it was adapted; its control "
                "did not, for that is teaching too: the gain over control is that of both stages, and of their compute"
            )
    if made["data"]["test_reads"] > 1:
        lines.append(f"this is look number {made['data']['test_reads']} at these test rows: bounds are wider for it")
    return lines


def _of_the_teacher(work: Workspace, found: Evidence, made: Mapping[str, Any]) -> list[str]:
    """Return what the test showed of the teacher: saturated, below the floor, beaten by its students."""
    opened = found.opened
    told = {"metric": made["metric"], "saturated": load("potstill.evaluation.calibration:saturated")(opened.said["teacher"], found.data.head.kind)}
    drops = {s["name"]: Interval(**s["quality_drop"]) for s in made["students"] if s["quality_drop"] and s["quality_drop"]["n"]}
    tokens = written_metric(work) is None  # the floor writes no answers: beside those of a teacher it can't be told
    behind = tokens and found.data.has_gold and "floor" in opened.logprobs and against_floor(work, found).high < 0
    lines: list[str] = load("potstill.evaluation.standing:teacher_notes")(**told, drops=drops, behind_floor=behind, named=way_of(work, found.data).floor_words)
    if agreed := found.standing.read()["facts"].get("self_agreement"):
        lines.append(load("potstill.evaluation.samples:in_words")(agreed))
    return lines


def against_floor(work: Workspace, found: Evidence) -> Interval:
    """Return how much better the teacher is than the floor on the test rows: under 0 as a whole, the floor is better beyond chance."""
    opened, known = found.opened, found.opened.judged
    groups = None if opened.groups is None else opened.groups[known]
    rows = load("potstill.evaluation.rows:Rows")(opened.gold[known], opened.logprobs["teacher"][known], opened.logprobs["floor"][known], groups)
    interval: Interval = load("potstill.evaluation.rows:drop_interval")(learning_metric(work, found.data), rows.known(need_gold=True), TWO_SIDED)
    return interval


def cautions(made: Mapping[str, Any], floor: str) -> list[str]:
    """Return what to think of before shipping: a student may be as good as its teacher and still be no better than what costs less, a ``floor``."""
    name = made["verdict"]["student"]
    student = next((s for s in made["students"] if s["name"] == name), None)
    if student is None:
        return []
    control = student.get("control") or {}
    lines: list[str] = load("potstill.evaluation.reasons:cautions")(
        name, made["metric"], floor=_interval(student.get("gain_floor")), control=_interval(control.get("gain")), named=floor
    )
    return lines


def _interval(found: Mapping[str, Any] | None) -> Interval | None:
    return Interval(**found) if found else None


def _untimed(found: Evidence) -> str:
    """Return why the teacher was not timed."""
    recorded = any(kind.kind == "recorded" for _, kind in members(found.teaching.work.recipe.teacher))
    if found.teaching.ready.spec.kind == "endpoint":
        return "the teacher runs behind a server, at the speed of its machine and of who else asks it"
    return "the teacher's answers are recorded" if recorded else "each call of the teacher costs money"


def unmeasured(found: Evidence, made: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, str]:
    """Return for each key that is null why it is."""
    told = {"ceiling": "each row has one gold label: how far people agree among themselves is not known"}
    if energy := [m["energy_reason"] for m in measured["measured"].values() if m["energy_j_per_1000"] is None]:
        told["energy_j_per_1000"] = energy[0]
    if "teacher" not in measured["measured"]:
        reason = f"{_untimed(found)}: it can't be timed or weighed here"
        told |= dict.fromkeys(("teacher.latency_ms", "teacher.throughput_per_s", "teacher.peak_memory_bytes", "teacher.size_bytes", "speedup"), reason)
        told["compression"] = reason
    told |= {f"teacher.{key}": reason for key, reason in found.standing.read()["facts"].get("unknown", {}).items()}
    if not found.data.has_gold:
        told |= dict.fromkeys(("quality", "quality_drop", "retention", "control", "calibration"), "there is no gold in validation and test")
    elif not found.data.teaches_gold:
        told["control"] = "there is no gold in training: nothing could be trained without the teacher"
    if found.data.has_gold and any(s["retention"] is None for s in made["students"]):
        told["retention"] = "a ratio says something of a quality above 0 that is higher where it is better"
    if reason := found.robustness.read()["unasked"]:
        told["robustness.difference"] = reason
    return told
