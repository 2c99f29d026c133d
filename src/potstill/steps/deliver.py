"""Steps 10 and 11: the run folder is filled with what the contract names, the bundle is packed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import storage
from ..lookup import load
from ..workspace import Workspace
from . import answers
from .data import Data
from .decide import decisions, in_words
from .judge import Candidate, Opened
from .said import of as way_of
from .screen import hiding

PROBE_ROWS = 20


def students(work: Workspace, found: Sequence[Candidate]) -> None:
    """Put each student's trained model, and its artifact, into ``students/NAME``; what is there and the same is left alone."""
    for candidate in found:
        manifest = {"trained": candidate.model.trained.fingerprint, "artifact": candidate.artifact.sha256}
        folder = work.folder / "students" / candidate.name
        if _is(folder, manifest):
            continue
        with storage.new_folder(folder, manifest, point="students") as partial:
            shutil.copytree(candidate.model.trained.folder / "model", partial, dirs_exist_ok=True, copy_function=_linked)
            shutil.copytree(candidate.artifact.folder, partial / "artifact", copy_function=_linked)


def _is(folder: Path, manifest: Mapping[str, Any]) -> bool:
    there = storage.read_manifest(folder)
    return there is not None and all(there.get(key) == value for key, value in manifest.items())


def _linked(source: str, target: str) -> str:
    """Share the bytes with the stage's folder where the disk can; copy where it can't."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def predictions(work: Workspace, data: Data, found: Sequence[Candidate], opened: Opened) -> None:
    """Write ``predictions/NAME.parquet``: each test row with what the teacher, the floor, each student and its control said."""
    sides = {"teacher": "teacher", "floor": "floor"} | {c.name: c.model.name for c in found}
    sides |= {f"{c.name}.control": c.control.name for c in found if c.control is not None}
    names = {name: key for name, key in sides.items() if key in opened.logprobs}
    manifest = {"test": opened.stage.fingerprint, "sides": names} | ({"answers": opened.written.fingerprint} if opened.written else {})
    folder = work.folder / "predictions"
    if _is(folder, manifest):
        return
    with storage.new_folder(folder, manifest, point="predictions") as partial:
        for name, key in names.items():
            _table(partial / f"{name}.parquet", work, data, opened, key)


def _table(path: Path, work: Workspace, data: Data, opened: Opened, key: str) -> None:
    named: dict[str, Any] = {
        "row": list(range(len(opened.rows))),
        "id": [row.id for row in opened.rows],
        "place": [row.place for row in opened.rows],
    }
    said: dict[str, Any]
    if data.head.kind == "tokens":
        columns = dict(zip(load("potstill.evaluation.generation:MEASURES"), opened.said[key].T))
        load("pyarrow.parquet:write_table")(load("pyarrow:table")(named | columns | _wrote(work, opened, key)), str(path))
        return
    named |= {"gold": [row.told for row in opened.rows], "label": in_words(work, data, opened.logprobs[key])}
    if data.head.kind == "classes":
        said = {"score": np.exp(opened.said[key].max(axis=1)).astype(np.float64), "logprobs": opened.said[key].astype(np.float32).tolist()}
    else:  # ``gold`` and ``label`` are the words of a set; ``score`` is the set's probability, its labels taken for independent
        told = decisions(work, data, opened.logprobs[key])
        chance = np.where(opened.logprobs[key] >= 0, opened.said[key], -opened.said[key]).astype(np.float64)
        said = {
            "gold_labels": [None if row.gold is None else list(row.labels) for row in opened.rows],
            "labels": [None if labels is None else list(labels) for labels in told],
            "score": np.exp(-np.logaddexp(0, -chance).sum(axis=1)), "logodds": opened.said[key].astype(np.float32).tolist(),
        }  # fmt: skip
    table = load("pyarrow:table")(named | said)
    load("pyarrow.parquet:write_table")(table, str(path))


def _wrote(work: Workspace, opened: Opened, key: str) -> dict[str, list[Any]]:
    """Return what a side wrote to each test row, and its grades; null where it was not asked. Nothing where the recipe asks for no answers."""
    if opened.written is None:
        return {}
    at, names = {row.id: place for place, row in enumerate(opened.written.rows)}, load("potstill.evaluation.answers:COLUMNS")
    asked = key in opened.written.said
    places = [at.get(row.id) if asked else None for row in opened.rows]
    said = [None if place is None else opened.written.said[key][place] for place in places]
    told: dict[str, list[Any]] = {
        "reference": [None if row.gold is None else answers.reference(row) for row in opened.rows],
        "answer": [None if one is None else one["text"] for one in said], "stopped": [None if one is None else one["stopped"] for one in said],
        "answer_tokens": _grades(opened, key, places, said, names.index("tokens")),
    }  # fmt: skip
    return told | {kind: _grades(opened, key, places, said, names.index(kind)) for kind in work.recipe.generation.names}


def _grades(opened: Opened, key: str, places: Sequence[int | None], said: Sequence[Any], column: int) -> list[float | None]:
    written: Any = opened.written
    return [None if one is None else float(written.grades[key][place, column]) for place, one in zip(places, said)]


def pack(work: Workspace, data: Data, chosen: Candidate, report: Mapping[str, Any]) -> Path:
    """Pack the bundle of the student that ships, or of the best one where none does; left alone where it is the same."""
    folder = work.folder / "bundle"
    told = {"version": 3, "student": chosen.name} | {part: report[part] for part in ("verdict", "registered", "licenses", "limits")}
    manifest = {"artifact": chosen.artifact.sha256, "facts": storage.digest(told)}
    if _is(folder, {"artifact": manifest["artifact"], "made_from": manifest["facts"]}):
        return folder
    way_of(work, data).pack(
        folder, chosen.artifact, _probes(work, data), lambda fields: _facts(work, chosen, report, fields), calibration=_calibration(chosen, report),
        made_from=manifest["facts"],
    )  # fmt: skip
    return folder


def _probes(work: Workspace, data: Data) -> list[Mapping[str, Any]]:
    """Return rows of validation for a bundle's probes. Where the recipe replaces what may name a person, they travel without it."""
    rows, hidden = [row.fields for row in data.validation.examples[:PROBE_ROWS]], hiding(work)
    return list(rows) if hidden is None else [hidden.fields(row) for row in rows]


def _calibration(chosen: Candidate, report: Mapping[str, Any]) -> dict[str, Any]:
    own = next(s for s in report["students"] if s["name"] == chosen.name)
    told = {"temperature": chosen.temperature, "ece": (own["calibration"] or {}).get("ece")}
    return told | ({"thresholds": own["thresholds"]} if own.get("thresholds") else {})


def _facts(work: Workspace, chosen: Candidate, report: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    own = next(s for s in report["students"] if s["name"] == chosen.name)
    readme = chosen.model.trained.folder / "model" / "README.md"
    augmented = report["data"].get("augmented")
    decision = report["verdict"]["decision"] if report["verdict"] else None
    says = {
        "ship": "It is shown to meet its requirement.",
        "do-not-ship": "It does NOT meet its requirement.",
        "inconclusive": "It is NOT shown to meet its requirement.",
    }
    loader = (
        readme.read_text("utf-8")
        if readme.is_file()
        else "`transformers`: `AutoModelForSequenceClassification.from_pretrained(...)` on the trained model, in the run's students/ folder."
    )
    return {
        "name": f"{work.recipe.name}: {chosen.name}", "task": work.recipe.task, "fields": list(fields),
        "summary": says.get(decision or "", "No requirement was stated."), "loader": loader,
        "figures": _figures(own), "licenses": report["licenses"], "limits": report["limits"],
        "command": "potstill run recipe.yaml",  # no folder of this machine: a bundle travels
        "checks": [_line(check) for check in own["checks"]],
        "provenance": [
            f"teacher: {report['teacher']['name']} ({report['teacher']['identity'][:12]})",
            f"student: {own['kind']}, {own['parameters']:,} parameters, {own['artifact']['precision']}",
            f"data: {report['data']['train']:,} gold rows, {report['data']['unlabeled']:,} in the pool, {report['data']['test']:,} test rows"
            + (f", {augmented['total']['kept']:,} rows made by augmentation" if augmented else ""),
        ],
    }  # fmt: skip


def _line(c: Mapping[str, Any]) -> list[str]:
    return [c["name"], f"{c['required']:.4g}", _short(c["value"]), f"{_short(c['low'])} to {_short(c['high'])}", str(c["n"]), c["status"]]


def _figures(own: Mapping[str, Any]) -> list[list[str]]:
    rows = [[name, f"{value:.4f}", "", ""] for name, value in (own["quality"] or {}).items()]
    for title, found in (
        ("drop against the teacher", own["quality_drop"]),
        ("retention", own["retention"]),
        ("agreement with the teacher", own["fidelity"]),
    ):
        if found:
            value = found.get("value", found.get("agreement"))
            rows.append([title, f"{value:.4f}", f"{found['low']:.4f} to {found['high']:.4f}", str(found["n"])])
    return rows


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
