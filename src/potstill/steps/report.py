"""Step 11: ``report.json``, whole, from the records of all steps; and the page that is drawn from it alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, storage
from ..cache import Stage
from ..lookup import load
from ..recipe import dump
from ..workspace import Workspace
from . import deliver
from .data import Data
from .decide import certify, figures
from .judge import Candidate, Opened
from .learn import Model
from .teach import Teaching, baseline_figures, main_metric, majority, quality

SCHEMA = 1


@dataclass(frozen=True)
class Evidence:
    """All that the steps found."""

    data: Data
    teaching: Teaching
    standing: Stage
    rounds: Sequence[Mapping[str, Any]]
    models: Sequence[Model]
    candidates: Sequence[Candidate]
    speed: Stage
    opened: Opened
    robustness: Stage

    def brittle(self, name: str) -> list[dict[str, Any]]:
        """Return what each change of the texts costs a model; by its name in ``opened.logprobs``."""
        found: list[dict[str, Any]] = self.robustness.read()["models"].get(name, [])
        return found


def report(work: Workspace, found: Evidence) -> dict[str, Any]:
    """Decide, write everything that the run folder must hold, and return the report. The manifest comes last."""
    verdict = certify(work, found.data, found.standing, found.candidates, found.speed, found.opened)
    path = work.folder / "report.json"
    before = storage.read_json(path) if path.is_file() else {}
    made = _compose(work, found, verdict, before)
    deliver.students(work, found.candidates)
    deliver.predictions(work, found.data, found.candidates, found.opened)
    made["bundle"] = str(deliver.pack(work, found.data, _chosen(found, verdict), made).relative_to(work.folder))
    storage.write_text(work.folder / "recipe.yaml", dump(work.recipe))
    storage.write_json(path, made, point="report")
    load("potstill.report.page:write")(path, work.folder / "report.html")
    storage.write_json(
        work.folder / storage.MANIFEST,
        {"schema": SCHEMA, "fingerprint": made["fingerprint"], "files": ["report.json", "report.html"]},
        point="run.manifest",
    )
    return made


def _chosen(found: Evidence, verdict: Any) -> Candidate:
    """Return the candidate that ships, or the one that validation likes best."""
    name = verdict.student if verdict is not None and verdict.student else max(found.candidates, key=lambda c: c.model.score).name
    return next(c for c in found.candidates if c.name == name)


def _compose(work: Workspace, found: Evidence, verdict: Any, before: Mapping[str, Any]) -> dict[str, Any]:
    recipe, opened = work.recipe, found.opened
    measured = found.speed.read()
    fingerprint = storage.digest(found.opened.stage.fingerprint, found.speed.fingerprint, _options(recipe), found.robustness.fingerprint)
    made = {
        "schema": SCHEMA, "potstill": __version__, "task": recipe.task, "name": recipe.name,
        "created": before["created"] if before.get("fingerprint") == fingerprint else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seeds": recipe.seeds, "machine": measured["machine"], "metric": main_metric(work, found.data).name,
        "data": _data(found, opened), "teacher": _teacher(work, found, measured),
        "students": [_student(work, found, c, measured, verdict) for c in found.candidates],
        "baselines": _baselines(work, found), "frontier": [], "comparisons": [], "robustness": _robustness(found),
        "requirement": recipe.requirement.model_dump(mode="json", exclude_none=True) if recipe.requirement else None,
        "registered": {"hash": opened.registration.hash, "time": opened.registration.time},
        "verdict": _verdict(verdict, opened), "cost": _cost(work, found, before), "bundle": "bundle", "fingerprint": fingerprint,
        "licenses": _licenses(work), "command": f"potstill run {work.folder / 'recipe.yaml'} --output {work.folder}",
    }  # fmt: skip
    made["limits"], made["notes"] = _limits(found, measured), _notes(found, made)
    return made


def _options(recipe: Any) -> Any:
    """Return the recipe without the paths of its rows, which are known by their content."""
    return recipe.model_dump(mode="json", by_alias=True, exclude={"data": True, "robustness": {"out_of_domain"}})


def _robustness(found: Evidence) -> dict[str, Any]:
    return {key: value for key, value in found.robustness.read().items() if key != "models"}


def _data(found: Evidence, opened: Opened) -> dict[str, Any]:
    card = found.data.card
    return {
        **card["counts"], "dropped": card["dropped"], "leaks": card["leaks"], "duplicates": card["duplicates"],
        "test_reads": opened.read.number, "alpha": opened.read.alpha, "labels": card["labels"], "by_label": card["by_label"],
        "missing_labels": card["missing_labels"], "groups": card["groups"], "straddling_groups": card["straddling_groups"],
        "length": card["length"], "license": card["license"], "sources": card["sources"],
    }  # fmt: skip


def _speed(measured: Mapping[str, Any] | None) -> dict[str, Any]:
    if measured is None:
        return {"latency_ms": None, "throughput_per_s": None, "peak_memory_bytes": None, "energy_j_per_1000": None, "start_s": None}
    latency = {name: value["value"] if value else None for name, value in measured["latency_ms"].items()}
    kept = {name: measured[name] for name in ("throughput_per_s", "peak_memory_bytes", "energy_j_per_1000", "start_s", "batch_size")}
    return {"latency_ms": latency, "latency_intervals": measured["latency_ms"], **kept}


def _teacher(work: Workspace, found: Evidence, measured: Mapping[str, Any]) -> dict[str, Any]:
    facts = found.standing.read()["facts"]
    said = found.opened.logprobs["teacher"]
    known = (found.opened.gold >= 0) & ~np.isnan(said).any(axis=1)
    has_gold = found.data.has_gold
    adapted = found.teaching.adapted.read() if found.teaching.adapted else None
    spec = work.recipe.teacher
    return {
        "name": Path(getattr(spec, "model", getattr(spec, "name", "teacher"))).name, "kind": spec.kind, "identity": found.teaching.fingerprint,
        "parameters": facts.get("parameters"), "size_bytes": facts.get("size_bytes"),
        "quality": quality(work, found.data, found.opened.gold[known], said[known]) if has_gold else None,
        "quality_validation": baseline_figures(work, found.data, found.standing)["teacher"] if has_gold else None,
        "ceiling": None, **_speed(measured["measured"].get("teacher")),
        "cost": {"usd_per_million": 1e6 * work.price}, "license": spec.license, "output_license": spec.output_license,
        "robustness": found.brittle("teacher"),
        "unanswered": int(np.isnan(said).any(axis=1).sum()), "adapted": adapted, "precision": facts.get("precision"), "facts": facts,
        "calibration": load("potstill.evaluation.calibration:as_json")(found.opened.gold[known], said[known]) if has_gold else None,
    }  # fmt: skip


def _student(work: Workspace, found: Evidence, candidate: Candidate, measured: Mapping[str, Any], verdict: Any) -> dict[str, Any]:
    trained, exported = candidate.model.trained.read(), candidate.model.exported.read()
    told = figures(work, found.data, candidate, found.models, found.opened)
    if told["control"] and candidate.control is not None:
        told["control"]["robustness"] = found.brittle(candidate.control.name)
    facts, artifact = found.standing.read()["facts"], candidate.artifact
    outcome = next((o for o in verdict.outcomes if o.name == candidate.name), None) if verdict else None
    ratio = measured["speedup"].get(candidate.name)
    kept = next(step for step in exported["steps"] if step["kept"])
    metric = main_metric(work, found.data).name
    return {
        "name": candidate.name, "kind": candidate.spec.kind, "parameters": trained["parameters"], "size_bytes": artifact.size_bytes,
        "artifact": {"path": f"students/{candidate.name}/artifact", "precision": artifact.precision, "sha256": artifact.sha256},
        "before_export": {"quality": {metric: trained["history"]["kept_score"]}, "on": "validation"},
        **told, **_speed(measured["measured"][candidate.name]), "robustness": found.brittle(candidate.model.name),
        "speedup": {"throughput": ratio["throughput"], "latency_p95": ratio["latency_p95"]} if ratio else None,
        "compression": facts["size_bytes"] / artifact.size_bytes if facts.get("size_bytes") else None,
        "rounds": [_round(r, candidate) for r in found.rounds],
        "parity": kept["parity"], "ladder": exported["steps"], "validation_score": candidate.model.score,
        "checks": [asdict(check) for check in outcome.checks] if outcome else [], "meets": outcome.meets if outcome else None,
        "tested": outcome.tested if outcome else False, "rows_needed": outcome.rows_needed if outcome else None,
        "curve": trained["history"]["evaluations"], "steps": trained["history"]["steps"], "stopped_early": trained["history"]["stopped_early"],
        "rows": trained["rows"], "left_out": trained["left_out"], "seed": candidate.model.seed, "temperature": candidate.temperature,
        "train_seconds": trained["history"]["seconds"],
    }  # fmt: skip


def _round(done: Mapping[str, Any], candidate: Candidate) -> dict[str, Any]:
    """Return what a round asked and reached on validation; ``gain`` is over the round before it, ``random`` the arm beside the last."""
    quality = done["quality"] if done["quality"] is not None else candidate.model.score
    told = {"labels": done["labels"], "quality": quality, "usd": done["usage"]["usd"]}
    return told | {name: done[name] for name in ("gain", "random", "stopped") if done.get(name) is not None}


def _baselines(work: Workspace, found: Evidence) -> list[dict[str, Any]]:
    if not found.data.has_gold:
        return []
    gold = found.opened.gold
    known = gold >= 0
    rows = [
        {
            "name": "majority",
            "quality": quality(work, found.data, gold[known], majority(work, found.data, len(gold))[known]),
            "size_bytes": 0,
            "throughput_per_s": None,
        }
    ]
    if "floor" in found.opened.logprobs:
        rows.append(
            {
                "name": "TF-IDF + linear", "quality": quality(work, found.data, gold[known], found.opened.logprobs["floor"][known]),
                "size_bytes": found.standing.read()["floor"]["size_bytes"], "throughput_per_s": None, "robustness": found.brittle("floor"),
            }
        )  # fmt: skip
    return rows


def _verdict(verdict: Any, opened: Opened) -> dict[str, Any]:
    if verdict is None:
        return {
            "decision": None,
            "student": None,
            "reasons": ["no requirement was stated, so there is nothing to decide"],
            "advice": ["state one: requirement: {quality: {max_drop: 0.02}}"],
            "rows_needed": None,
        }
    told = {name: getattr(verdict, name) for name in ("decision", "student", "reasons", "advice", "rows_needed")}
    return {**told, "alpha": opened.read.alpha, "read": opened.read.number}


def _cost(work: Workspace, found: Evidence, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the teacher was asked in all of this folder's life, and in this invocation."""
    names = ("teacher_calls", "cached_calls", "possibly_paid", "tokens_in", "tokens_out", "usd")
    now, past = asdict(work.usage), before.get("cost", {})
    seconds = {**past.get("seconds", {}), **{name: round(took, 2) for name, took in work.log.seconds.items()}}
    total = {name: past.get(name, 0) + now[name] for name in names}
    # Killed invocations wrote no report: the ledger knows their calls. It may lie elsewhere by now, and know less.
    ledger = work.spent()
    total |= {"teacher_calls": max(past.get("teacher_calls", 0), ledger["calls"]), "possibly_paid": max(past.get("possibly_paid", 0), ledger["possibly_paid"])}
    total["usd"] = total["teacher_calls"] * work.price
    return {**total, "seconds": seconds, "last": {name: now[name] for name in ("teacher_calls", "cached_calls")}}


def _licenses(work: Workspace) -> dict[str, str]:
    teacher = work.recipe.teacher
    return {"data": work.recipe.data.license, "teacher weights": teacher.license, "teacher outputs": teacher.output_license}


def _limits(found: Evidence, measured: Mapping[str, Any]) -> list[str]:
    lines = [f"speed and memory are of this machine ({measured['machine']['cpu']}, {measured['machine']['threads']} threads); elsewhere they differ"]
    for name, m in measured["measured"].items():
        if m["latency_ms"].get("p99") is None:
            lines.append(f"{name}: no p99, which takes 1,000 single calls")
    if any(m["energy_j_per_1000"] is None for m in measured["measured"].values()):
        lines.append(f"energy: {next(m['energy_reason'] for m in measured['measured'].values())}")
    if "teacher" not in measured["measured"]:
        lines.append("the teacher's answers are recorded: its speed, memory and size can't be measured here")
    if (told := found.robustness.read())["arms"] and told["unasked"]:
        lines.append(f"{told['unasked']}; whether a student is more brittle than its teacher can't be told")
    for split, labels in found.data.card["missing_labels"].items():
        lines.append(f"{split} has no row of: {', '.join(labels)}")
    if not found.data.has_gold:
        lines.append("there is no gold in validation and test: quality, control and retention can't be told, the verdict rests on fidelity")
    return lines


def _notes(found: Evidence, made: Mapping[str, Any]) -> list[str]:
    """Return what an honest colleague would point out."""
    notes = []
    metric = made["metric"]
    for student in made["students"]:
        gain = student.get("gain_floor")
        if gain and gain["high"] < 0:
            notes.append(f"{student['name']} is worse than TF-IDF with a linear model on the gold rows: it is not worth its teacher")
        control = student.get("control")
        if control and control["gain"]["low"] <= 0:
            verb = "is worse than" if control["gain"]["high"] < 0 else "is not shown to be better than"
            notes.append(f"{student['name']} {verb} its control, the same student without the teacher ({metric})")
    teacher = made["teacher"]["quality"]
    better = [s["name"] for s in made["students"] if teacher and s["quality"] and s["quality"][metric] > teacher[metric]]
    if better:
        notes.append(f"on these test rows {', '.join(better)} did better than the teacher")
    for student in made["students"]:
        if worse := [entry["arm"].replace("_", " ") for entry in student["robustness"] if entry["stands_out"]]:
            notes.append(f"{student['name']} is more brittle than its teacher, beyond chance: {', '.join(worse)}")
    if made["data"]["test_reads"] > 1:
        notes.append(f"this is look number {made['data']['test_reads']} at these test rows: bounds are wider for it")
    return notes


def baseline(work: Workspace, data: Data, teaching: Teaching, standing: Stage) -> dict[str, Any]:
    """Return what ``potstill measure`` shows: the teacher on validation, the floor, and how many test rows a verdict would take."""
    required = work.recipe.requirement
    part = required.quality if required is not None else None
    needed = None
    if part is not None and part.max_drop is not None:
        needed = load("potstill.evaluation.statistics:rows_needed_assumed")(part.max_drop, 0.8 * (1 - part.confidence))
    return {
        "teacher": {"name": Path(getattr(work.recipe.teacher, "model", "recorded")).name, **standing.read()["facts"]},
        "validation": baseline_figures(work, data, standing) if data.has_gold else None,
        "data": data.card["counts"], "rows_needed_assumed": needed, "usage": asdict(work.usage),
    }  # fmt: skip
