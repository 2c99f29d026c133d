"""From a bundle and clean rows to its cascade's policy: which rows may fit it, what the student said of them, what comes out.

Clean are rows by which nothing was chosen. Of a run's calibration rows one half fitted the temperature; the other half waited for this.
Rows of a file are taken for clean where the bundle lies in its run and none of them stands there; a bundle that has left its run can't tell.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__, storage
from .errors import DataError, UserError
from .lookup import did_you_mean, load
from .records import Example, Head, HeadKind, group_numbers, rows_digest

SPLITS = ("train", "validation", "calibration", "test", "unlabeled")


@dataclass(frozen=True)
class Asked:
    """What the policy shall promise, and at which limits; see :class:`potstill.cascade.policy.Policy`."""

    risk: float = 0.03
    confidence: float = 0.95
    against: str = "gold"
    per_label: bool = False
    coverage: float | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Clean:
    """Rows that chose nothing, each with the answer to judge by *Shape:* (n,) or (n, labels), -1 where there is none."""

    rows: tuple[Example, ...]
    answers: np.ndarray
    source: str
    left_out: Mapping[str, int]


def fit(bundle: Path, asked: Asked, *, data: Path | None = None, columns: Mapping[str, str] | None = None, separator: str = "|") -> Any:
    """Return the policy of the bundle in ``bundle``, fitted on the rows of ``data``, else on those of the run that it lies in.

    ``columns``: role -> column of ``data`` (text, text_pair, label, group); its labels are gold, or with ``against`` "teacher" the
    teacher's answers. Raises :class:`BundleError` for a bundle that is not whole, :class:`UserError` where there are no clean rows.
    """
    from .bundle.read import digest, manifest

    problems = load("potstill.bundle.verify:verify")(bundle, load("potstill.serving.predictor:Predictor").open)
    if problems:
        raise UserError(f"the bundle is not as it was shipped: {problems[0].message}", place=problems[0].place, remedy=problems[0].remedy)
    predictor = load("potstill.serving.predictor:Predictor").open(bundle)
    head = Head(predictor.kind, predictor.labels)
    _check(asked, head)
    clean = _from_file(bundle, data, head, predictor.fields, columns or {}, separator) if data else _from_run(bundle, head, asked.against)
    known = np.asarray((clean.answers.reshape(len(clean.rows), -1) >= 0).all(axis=1))
    rows = tuple(row for row, there in zip(clean.rows, known) if there)
    if not rows:
        raise UserError("no calibration row has an answer to judge by", place=clean.source, remedy=f"give rows with one: --data FILE (against {asked.against})")
    said = predictor.predict([row.fields for row in rows])
    judged, gold = _judged(predictor, said, clean.answers[known], group_numbers(rows)), clean.answers[known]
    left = {**clean.left_out, **({"no answer to judge by": int((~known).sum())} if not known.all() else {})}
    told = {"source": clean.source, "digest": rows_digest(rows), "left_out": left, "groups": _count(judged.groups)}
    return _policy(asked, head, judged, predictor.probabilities(said), gold, told, digest(manifest(bundle)))


def _check(asked: Asked, head: Head) -> None:
    if head.kind == "labels" and (asked.per_label or asked.coverage is not None):
        what = "--per-label" if asked.per_label else "--sets"
        remedy = f"leave {what} out: the policy is about the whole set"
        raise UserError("this bundle tells any number of labels a row: an answer is a set, and has no label of its own", remedy=remedy)
    for name, value in (("risk", asked.risk), ("confidence", asked.confidence), ("sets", asked.coverage)):
        if value is not None and not 0 < value < 1:
            raise UserError(f"{value:g} is no share between 0 and 1", place=f"--{name}", remedy="0.03 is 3 %")


def _judged(predictor: Any, said: np.ndarray, answers: np.ndarray, groups: np.ndarray | None) -> Any:
    sure, told = load("potstill.cascade.policy:confidence")(predictor, said)
    wrong = answers != told if told is not None else (((said - predictor.thresholds) >= 0) != (answers > 0)).any(axis=1)
    return load("potstill.cascade.fit:Judged")(sure, np.asarray(wrong), told, groups)


def _policy(asked: Asked, head: Head, judged: Any, probabilities: np.ndarray, gold: np.ndarray, told: Mapping[str, Any], digest: str) -> Any:
    of = {"risk": asked.risk, "confidence": asked.confidence}
    if asked.per_label:
        rule, by_label = load("potstill.cascade.fit:rules")(judged, head.labels, **of)
    else:
        rule, by_label = load("potstill.cascade.fit:rule")(judged, **of), None
    sets = None if asked.coverage is None else load("potstill.cascade.fit:sets")(probabilities, gold, asked.coverage)
    record = {
        "potstill": __version__, "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "bundle": digest,
        "runtime": load("potstill.bundle.probes:runtime")(), "against": asked.against, "rows": told, "rule": rule, "by_label": by_label, "sets": sets,
        "limits": dict(asked.limits), "curve": load("potstill.cascade.fit:curve")(judged), **of,
    }  # fmt: skip
    return load("potstill.cascade.policy:Policy").model_validate(record)


def _count(groups: np.ndarray | None) -> int | None:
    return None if groups is None else len(np.unique(groups))


# ------------------------------------------------------------------------------------------------------ rows of a run
def run_of(bundle: Path) -> Path | None:
    """Return the run that a bundle lies in, None where it has left it."""
    run = bundle.resolve().parent
    return run if (run / "report.json").is_file() and _stages(run, "data") else None


def data_of(bundle: Path, run: Path) -> Path | None:
    """Return the stage whose calibration rows sealed this very bundle, None where the run's stages don't show it.

    A run folder may hold the data of several recipes. The sealed artifact's fingerprint stands on the export's and on the digest of the
    calibration rows, so that it can be made again and compared.
    """
    artifact = load("potstill.bundle.read:manifest")(bundle)["artifact"]
    sealed = [stage for stage in _stages(run, "seal.*") if storage.read_json(stage / "result.json")["sha256"] == artifact]
    known = {(m["stage"], m["fingerprint"]) for m in map(_manifest, sealed)}
    exports = [_manifest(stage)["fingerprint"] for stage in _stages(run, "export.*")]
    inputs = load("potstill.steps.judge:seal_inputs")
    for stage in _stages(run, "data"):
        rows = rows_digest(load("potstill.dataset.prepare:read_split")(stage, "calibration"))
        if any((name, storage.digest(name, 1, inputs(export, rows))) in known for name in {name for name, _ in known} for export in exports):
            return stage
    return None


def price(bundle: Path) -> float:
    """Return what 1,000 of the teacher's answers cost by the recipe of the run that a bundle lies in; 0 where that is not known."""
    run = run_of(bundle)
    if run is None or not (run / "recipe.yaml").is_file():
        return 0.0
    teacher = (load("yaml:safe_load")((run / "recipe.yaml").read_text("utf-8")) or {}).get("teacher") or {}
    return float(teacher.get("usd_per_1000") or 0.0)


def _stages(run: Path, name: str) -> list[Path]:
    """Return the finished stages of a name, the newest first."""
    found = [path for path in (run / "stages").glob(f"{name}-*") if storage.read_manifest(path) is not None]
    return sorted(found, key=lambda path: (path / storage.MANIFEST).stat().st_mtime_ns, reverse=True)


def _manifest(stage: Path) -> dict[str, Any]:
    return storage.read_manifest(stage) or {}


def _from_run(bundle: Path, head: Head, against: str) -> Clean:
    """Return the half of the run's calibration rows that fitted no temperature, with gold or with what the teacher said of them."""
    run = run_of(bundle)
    if run is None:
        remedy = "give labelled rows that it never saw: --data FILE"
        raise UserError("this bundle lies in no run, so its calibration rows are not at hand", place=str(bundle), remedy=remedy)
    data = data_of(bundle, run)
    if data is None:
        told = "the run's stages do not show which calibration rows this bundle was sealed with"
        raise UserError(told, place=str(run), remedy="run it again, or give labelled rows that it never saw: --data FILE")
    rows = load("potstill.dataset.prepare:read_split")(data, "calibration")
    clean = {row.id for row in load("potstill.steps.data:halves")(rows)[1]}
    use = np.array([row.id in clean for row in rows], bool)
    answers = _encode(rows, head) if against == "gold" else _teachers(run, rows, head)
    kept = tuple(row for row, there in zip(rows, use) if there)
    return Clean(kept, answers[use], "the half of the run's calibration rows that fitted no temperature", {})


def _teachers(run: Path, rows: Sequence[Example], head: Head) -> np.ndarray:
    """Return the teacher's decisions on a run's calibration rows, -1 where it gave none: kept by the stage that measured it."""
    found = []
    for stage in _stages(run, "standing"):
        with np.load(stage / "validation.npz") as held:
            found += [(stage, held["calibration"])] if len(held["calibration"]) == len(rows) else []
    if len(found) != 1:
        told = "the run has no stage in which a teacher was asked about these rows" if not found else "the run asked several teachers about these rows"
        raise UserError(told, place=str(run), remedy="give the teacher's answers as labels: --data FILE --against teacher")
    stage, said = found[0]
    unknown = np.isnan(said).any(axis=1)
    if head.kind == "classes":
        return np.where(unknown, -1, np.nan_to_num(said).argmax(axis=1))
    off = storage.read_json(stage / "result.json").get("thresholds", {}).get("teacher", [0.0])
    decided = (np.nan_to_num(said) - np.array(off, np.float32) >= 0).astype(np.int64)
    decided[unknown] = -1
    return decided


# ------------------------------------------------------------------------------------------------------ rows of a file
def _from_file(bundle: Path, path: Path, head: Head, fields: Sequence[str], columns: Mapping[str, str], separator: str) -> Clean:
    """Return a file's rows, without repetitions and without those that stand among the run's own rows."""
    task = load("potstill.tasks:task")("text-classification", separator=separator if head.kind == "labels" else None)
    named = task.columns({**{name: name for name in fields}, **columns})
    source = load("potstill.dataset.read:sources")({"calibration": str(path)})[0]
    left: Counter[str] = Counter()
    rows: dict[str, Example] = {}
    seen = _seen(bundle)
    for example in _examples(load("potstill.dataset.read:read")(source).rows, task, named, source.name, left):
        if example.id in seen:
            left["stands among the rows of the run"] += 1
        elif example.id in rows:
            left["repeated"] += 1
        else:
            rows[example.id] = example
    if not rows:
        why = "; ".join(f"{count:,} {reason}" for reason, count in left.items()) or "the file holds none"
        raise DataError(f"no row is left: {why}", place=str(path), remedy="name the columns: --columns text=COLUMN,label=COLUMN")
    kept = tuple(rows.values())
    return Clean(kept, _encode(kept, head), str(path.name), dict(left))


def _examples(rows: Iterable[Any], task: Any, columns: Mapping[str, str], name: str, left: Counter[str]) -> Iterable[Example]:
    bad = load("potstill.contracts:BadRow")
    for row in rows:
        if row.values is None:
            left[row.reason] += 1
            continue
        try:
            yield task.read(row.values, columns, f"{name}:{row.line}")
        except bad as reason:
            left[str(reason)] += 1


def _seen(bundle: Path) -> set[str]:
    """Return the ids of the run's rows by which something was learnt or chosen: all but the clean half of calibration."""
    run = run_of(bundle)
    if run is None:
        return set()
    data = data_of(bundle, run)
    read = load("potstill.dataset.prepare:read_split")
    found = [read(stage, name) for stage in ([data] if data else _stages(run, "data")) for name in SPLITS if not (data and name == "calibration")]
    if data:
        found.append(load("potstill.steps.data:halves")(read(data, "calibration"))[0])
    return {row.id for rows in found for row in rows}


def _encode(rows: Sequence[Example], head: Head) -> np.ndarray:
    """Return gold by the places of the head's labels. Raises :class:`DataError` for a label that the bundle lacks."""
    for row in rows:
        for label in row.labels:
            if label not in head.labels:
                remedy = f"{did_you_mean(label, head.labels)}; mend it, or leave the row out"
                raise DataError(f"the bundle has no label '{label}'", place=row.place, remedy=remedy)
    kind: HeadKind = head.kind
    task = load("potstill.tasks:task")("text-classification", separator="|" if kind == "labels" else None)
    encoded: np.ndarray = task.encode(rows, head)
    return encoded
