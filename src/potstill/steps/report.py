"""Step 11: ``report.json``, whole, from the records of all steps; and the page that is drawn from it alone."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .. import __version__, rng, storage
from ..cache import Stage
from ..lookup import load
from ..recipe import dump
from ..workspace import Workspace
from . import answers, deliver, models, notes
from .data import Data
from .decide import certify
from .evidence import Evidence
from .judge import Candidate, Opened
from .said import of as way_of
from .screen import instructions, replaced
from .teach import Teaching, baseline_figures, learning_metric, main_metric

SCHEMA = 1
ASSUMED = "10%"  # of rows on which student and teacher differ in being right: what the middle of three assumptions says
TO_LABEL = "to_label.jsonl"


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
    written = [opened.written.fingerprint] if opened.written else []
    fingerprint = storage.digest(found.opened.stage.fingerprint, found.speed.fingerprint, _options(recipe), found.robustness.fingerprint, *written)
    made = {
        "schema": SCHEMA, "potstill": __version__, "task": recipe.task, "name": recipe.name,
        "created": before["created"] if before.get("fingerprint") == fingerprint else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seeds": recipe.seeds, "machine": measured["machine"], "metric": main_metric(work, found.data).name,
        "learning_metric": learning_metric(work, found.data).name,
        "data": _data(work, found, opened), "teacher": models.teacher(work, found, measured),
        "students": [models.student(work, found, c, measured, verdict) for c in found.candidates],
        "baselines": models.baselines(work, found), "frontier": [], "comparisons": [], "robustness": _robustness(found),
        "generation": answers.asked(work, opened.written) if opened.written else None,
        "requirement": recipe.requirement.model_dump(mode="json", exclude_none=True) if recipe.requirement else None,
        "registered": {"hash": opened.registration.hash, "time": opened.registration.time},
        "verdict": _verdict(verdict, opened), "cost": _cost(work, found, before), "bundle": "bundle", "fingerprint": fingerprint,
        "licenses": _licenses(work), "command": f"potstill run {work.folder / 'recipe.yaml'} --output {work.folder}",
    }  # fmt: skip
    made["verdict"]["advice"] = notes.cautions(made, way_of(work, found.data).floor_words) + made["verdict"]["advice"]
    made["limits"], made["notes"], made["unmeasured"] = notes.limits(found, measured), notes.notes(work, found, made), notes.unmeasured(found, made, measured)
    return made


def _options(recipe: Any) -> Any:
    """Return the recipe without the paths of its rows, which are known by their content."""
    told = recipe.model_dump(mode="json", by_alias=True, exclude={"data": True, "robustness": {"out_of_domain"}})
    for part, option in ((told, "instructions"), (told["teacher"], "privacy")):  # a recipe that does not use them has the fingerprint that it had
        if part.get(option, "") is None:
            del part[option]
    return told


def _robustness(found: Evidence) -> dict[str, Any]:
    return {key: value for key, value in found.robustness.read().items() if key != "models"}


def _data(work: Workspace, found: Evidence, opened: Opened) -> dict[str, Any]:
    card = found.data.card
    return {
        **card["counts"], "dropped": card["dropped"], "leaks": card["leaks"], "duplicates": card["duplicates"],
        "test_reads": opened.read.number, "alpha": opened.read.alpha, "labels": card["labels"], "by_label": card["by_label"],
        "missing_labels": card["missing_labels"], "imbalance": notes.imbalance(card), "groups": card["groups"], "straddling_groups": card["straddling_groups"],
        "length": card["length"], "license": card["license"], "sources": card["sources"],
        "augmented": found.augmented.counts, "suspects": found.suspects or None,
        "instructions": instructions(work, found.data, opened.rows), "privacy": replaced(work, found.data, opened.rows),
    }  # fmt: skip


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
    booked = {"teacher_calls": ledger.calls, "possibly_paid": ledger.possibly_paid, "tokens_in": ledger.tokens_in, "tokens_out": ledger.tokens_out}
    total |= {name: max(past.get(name, 0), count) for name, count in booked.items()}
    total["usd"] = max(past.get("usd", 0.0), work.bill()[0])
    estimate = work.estimate or past.get("estimate")
    return {
        **total,
        **({"estimate": estimate} if estimate else {}),
        "seconds": seconds,
        "last": {name: now[name] for name in ("teacher_calls", "cached_calls")},
    }


def _licenses(work: Workspace) -> dict[str, str]:
    teacher = work.recipe.teacher
    return {"data": work.recipe.data.license, "teacher weights": teacher.license, "teacher outputs": teacher.output_license}


def baseline(work: Workspace, data: Data, teaching: Teaching, standing: Stage) -> dict[str, Any]:
    """Return what ``potstill measure`` shows: the teacher on validation, the floor, and how many test rows a verdict would take."""
    required = work.recipe.requirement
    part = required.quality if required is not None else None
    needed = None
    if part is not None and part.max_drop is not None:
        needed = load("potstill.evaluation.statistics:rows_needed_assumed")(part.max_drop, 0.8 * (1 - part.confidence))
    return {
        "teacher": {"name": models.name_of(work.recipe.teacher), **standing.read()["facts"], "precision_probe": teaching.ready.probe},
        "validation": baseline_figures(work, data, standing) if data.has_gold else None,
        "data": data.card["counts"], "rows_needed_assumed": needed, "to_label": _to_label(work, data, (needed or {}).get(ASSUMED)),
        "instructions": instructions(work, data), "privacy": replaced(work, data), "usage": asdict(work.usage),
        "answers": answers.measured(work, data, teaching),
    }  # fmt: skip


def _to_label(work: Workspace, data: Data, needed: int | None) -> dict[str, Any] | None:
    """Write rows of the pool down that a person should label so that a verdict has its test rows; None where there are enough, or no pool.

    They are drawn at random, for the verdict is about inputs as they come: rows chosen because a model errs on them would tell of others. The
    teacher's answers are not shown, for whoever reads them tends to agree.
    """
    missing = (needed or 0) - len(data.test)
    if missing <= 0 or not len(data.unlabeled):
        return None
    columns = work.recipe.data.columns
    order = rng.stream(work.recipe.seeds[0], "to label").permutation(len(data.unlabeled))[:missing]
    rows = [data.unlabeled.examples[i] for i in sorted(order.tolist())]
    label = "labels" if work.recipe.many else "label"
    lines = [{**{columns.get(name, name): value for name, value in row.fields.items()}, columns.get(label, label): None} for row in rows]
    storage.write_text(work.folder / TO_LABEL, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return {"missing": missing, "rows": len(rows), "file": str(work.folder / TO_LABEL)}
