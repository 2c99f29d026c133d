"""What ``report.json`` tells of each model: the teacher, the students, the baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..lookup import load
from ..workspace import Workspace
from .evidence import Evidence
from .figures import alone, calibration, figures
from .judge import Candidate
from .said import of as way_of
from .teach import baseline_figures, learning_metric


def _speed(measured: Mapping[str, Any] | None) -> dict[str, Any]:
    if measured is None:
        return {"latency_ms": None, "throughput_per_s": None, "peak_memory_bytes": None, "energy_j_per_1000": None, "start_s": None}
    latency = {name: value["value"] if value else None for name, value in measured["latency_ms"].items()}
    kept = {name: measured[name] for name in ("throughput_per_s", "peak_memory_bytes", "energy_j_per_1000", "start_s", "batch_size")}
    return {"latency_ms": latency, "latency_intervals": measured["latency_ms"], **kept}


def name_of(spec: Any) -> str:
    """Return what a teacher is called: its file or folder, or the name that the recipe gives it."""
    return Path(getattr(spec, "model", getattr(spec, "name", "teacher"))).name


def teacher(work: Workspace, found: Evidence, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section ``teacher``."""
    facts, opened = found.standing.read()["facts"], found.opened
    said = opened.logprobs["teacher"]
    has_gold = found.data.has_gold
    adapted = found.teaching.adapted.read() if found.teaching.adapted else None
    spec = work.recipe.teacher
    return {
        "name": name_of(spec), "kind": spec.kind, "identity": found.teaching.fingerprint,
        "parameters": facts.get("parameters"), "size_bytes": facts.get("size_bytes"),
        **alone(work, found.data, opened, said, "teacher"),
        "quality_validation": baseline_figures(work, found.data, found.standing)["teacher"] if has_gold else None,
        "ceiling": None, **_speed(measured["measured"].get("teacher")),
        "cost": {"usd_per_million": 1e6 * work.price}, "license": spec.license, "output_license": spec.output_license,
        "robustness": found.brittle("teacher"),
        "unanswered": int(np.isnan(said).any(axis=1).sum()), "adapted": adapted, "precision": facts.get("precision"), "facts": facts,
        "precision_probe": found.teaching.ready.probe,
        "calibration": calibration(opened, "teacher") if has_gold and way_of(work, found.data).decides else None,
    }  # fmt: skip


def student(work: Workspace, found: Evidence, candidate: Candidate, measured: Mapping[str, Any], verdict: Any) -> dict[str, Any]:
    """Return one of the section ``students``."""
    trained, exported = candidate.model.trained.read(), candidate.model.exported.read()
    told = figures(work, found.data, candidate, found.models, found.opened)
    if told["control"] and candidate.control is not None:
        told["control"]["robustness"] = found.brittle(candidate.control.name)
    facts, artifact = found.standing.read()["facts"], candidate.artifact
    outcome = next((o for o in verdict.outcomes if o.name == candidate.name), None) if verdict else None
    ratio = measured["speedup"].get(candidate.name)
    kept = next(step for step in exported["steps"] if step["kept"])
    metric = learning_metric(work, found.data)
    return {
        "name": candidate.name, "kind": candidate.spec.kind, "parameters": trained["parameters"], "size_bytes": artifact.size_bytes,
        "artifact": {"path": f"students/{candidate.name}/artifact", "precision": artifact.precision, "sha256": artifact.sha256},
        **thresholds(found, candidate),
        "before_export": {"quality": {metric.name: _score(metric, trained["history"]["kept_score"])}, "on": "validation"},
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


def _score(metric: Any, kept: float | None) -> float | None:
    """Return a score of training, which is higher the better, as the metric has it."""
    return kept if kept is None or metric.higher_is_better else -kept


def thresholds(found: Evidence, candidate: Candidate) -> dict[str, Any]:
    """Return from which probability on each label is told, and which have too few validation rows for one of their own; nothing for classes."""
    head = found.data.head
    if head.kind != "labels":
        return {}
    said = 1 / (1 + np.exp(-candidate.thresholds.astype(np.float64)))
    counts = found.data.card["by_label"].get("validation") or dict.fromkeys(head.labels, 0)
    least = load("potstill.evaluation.thresholds:LEAST")
    return {
        "thresholds": {label: round(float(p), 6) for label, p in zip(head.labels, said)},
        "shared_threshold": [label for label in head.labels if counts[label] < least],
    }


def _round(done: Mapping[str, Any], candidate: Candidate) -> dict[str, Any]:
    """Return what a round asked and reached on validation; ``gain`` is over the round before it, ``random`` the arm beside the last."""
    quality = done["quality"] if done["quality"] is not None else candidate.model.score
    told = {"labels": done["labels"], "quality": quality, "usd": done["usage"]["usd"]}
    return told | {name: done[name] for name in ("gain", "random", "stopped") if done.get(name) is not None}


def baselines(work: Workspace, found: Evidence) -> list[dict[str, Any]]:
    """Return the section ``baselines``: the majority, and the floor where there is gold to learn from."""
    if not found.data.has_gold:
        return []
    opened = found.opened
    way = way_of(work, found.data)
    guess = way.chance(opened.said["teacher"])
    rows = [{"name": way.chance_name, **alone(work, found.data, opened, guess), "size_bytes": 0, "throughput_per_s": None}]
    if "floor" in opened.logprobs:
        told = alone(work, found.data, opened, opened.logprobs["floor"])
        size = found.standing.read()["floor"]["size_bytes"]
        rows.append({"name": way.floor_name, **told, "size_bytes": size, "throughput_per_s": None, "robustness": found.brittle("floor")})
    return rows
