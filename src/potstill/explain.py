"""One row's whole life, and the paired difference of two runs: read from their folders; only counts and intervals are computed."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from . import lookup, storage
from .errors import TeacherError, UserError

SPLITS = ("test", "train", "validation", "calibration", "unlabeled")
SHORTEST = 4  # characters of an id that may stand for the whole
READ = ("id", "gold", "label", "score", "nats", "tokens", "answer", "exact_match", "choice")  # of a table of predictions, those that are there
GRADED = ("exact_match", "choice")  # grades that make an answer right or wrong, the first that there is
ALPHA = 0.025  # each bound's, so that intervals are two-sided 95 %


# ------------------------------------------------------------------------------------------------------------- a row
def why(run: Path, row_id: str) -> dict[str, Any]:
    """Return a row's life in ``run``: the row, its duplicates, what everyone said of it, the key of the teacher's answer, its side.

    ``row_id`` is its id, the beginning of one, or its place (``test.jsonl:17``). Raises :class:`UserError` where no row, or
    more than one, is meant.
    """
    report = storage.read_json(run / "report.json")
    data = _data_folder(run)
    row = _row(data, row_id, run)
    if row is None:
        return _dropped(data, row_id, run)
    said = [_said(name, table, row["id"]) for name, table in _predictions(run).items()] if row["split"] == "test" else []
    answers = [answer for answer in said if answer is not None]
    sides = _sides(answers, report)
    keys = _keys(run, row)
    notes = [] if answers else [f"a row of {row['split']}: predictions are kept for test rows"]
    notes += [] if keys else ["the label store of this machine holds no answer to it"]
    return {
        "row": row, "duplicates": _duplicates(data, row), "suspects": _suspects(run, row), "instructions": _instructions(run, row), "dropped": None,
        "answers": answers, "keys": keys,
        "sides": sides, "notes": [*notes, *sides.values()],
    }  # fmt: skip


def _data_folder(run: Path) -> Path:
    folders = [p for p in (run / "stages").glob("data-*") if storage.read_manifest(p) is not None]
    if not folders:
        raise UserError("this run has no data stage", place=str(run), remedy="run it again: it goes on where it stopped")
    return max(folders, key=lambda p: (p / storage.MANIFEST).stat().st_mtime_ns)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            yield from (json.loads(line) for line in file)


def _row(data: Path, wanted: str, run: Path) -> dict[str, Any] | None:
    found = [row for row in _rows(data, run) if row["place"] == wanted or (len(wanted) >= SHORTEST and row["id"].startswith(wanted))]
    if len({row["id"] for row in found}) > 1:
        listed = ", ".join(f"{row['id'][:12]} ({row['place']})" for row in found[:6])
        raise UserError(f"'{wanted}' means {len(found)} rows: {listed}", remedy="give more of the id")
    return found[0] if found else None


def _rows(data: Path, run: Path) -> Iterator[dict[str, Any]]:
    for split in SPLITS:
        yield from ({**row, "split": split} for row in _lines(data / f"{split}.jsonl"))
    for row in _lines(run / "augmented.jsonl"):
        yield {**row, "split": f"augmented, from {row['source']['place']}: {row['fate']}"}


def _dropped(data: Path, wanted: str, run: Path) -> dict[str, Any]:
    """Return the life of a row that did not come far. Raises UserError where there was none at all."""
    base: dict[str, Any] = {"duplicates": [], "suspects": [], "instructions": [], "dropped": None, "answers": [], "keys": [], "sides": {}, "notes": []}
    for row in _lines(data / "dropped.jsonl"):
        if row["place"] == wanted:
            return {
                **base,
                "row": {"id": "-", "place": wanted, "split": "dropped", "gold": None, "fields": {"row": str(row["row"])}},
                "dropped": row,
            }
    for copy in _lines(data / "duplicates.jsonl"):
        if copy["removed"] == wanted:
            row = {"id": "-", "place": wanted, "split": f"removed from {copy['removed_from']}", "gold": None, "fields": {}}
            return {**base, "row": row, "duplicates": [copy]}
    remedy = "ids stand in predictions/, places look like test.jsonl:17; rows beyond data.limit are not kept"
    raise UserError(f"no row has the id or the place '{wanted}'", place=str(run), remedy=remedy)


def _duplicates(data: Path, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [copy for copy in _lines(data / "duplicates.jsonl") if row["place"] in (copy["kept"], copy["removed"])]


def _suspects(run: Path, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return why a row's labels deserve a second look, if they do; of two near rows with different labels, both."""
    return [line for line in _lines(run / "suspects.jsonl") if row["id"] in (line["id"], line.get("twin"))]


def _instructions(run: Path, row: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return why a row seems to talk to a language model: each rule that found something, and where."""
    return [sign for line in _lines(run / "instructions.jsonl") if line["id"] == row["id"] for sign in line["signs"]]


def _requests(run: Path, row: Mapping[str, Any]) -> list[bytes]:
    """Return how the teachers are asked about a row: a model is asked the fields, a recording the id, an endpoint what may be sent of the fields. A
    language model that is asked about a text's tokens is asked their ids, which are not told here."""
    found = [storage.canonical(row["fields"]), str(row["id"]).encode()]
    recipe = yaml.safe_load((run / "recipe.yaml").read_text("utf-8")) if (run / "recipe.yaml").is_file() else {}
    section = recipe.get("teacher", {})
    if section.get("kind") == "endpoint" and recipe.get("task") != "text-generation":
        teacher, labels = lookup.load("potstill.teachers.build:read")(section), storage.read_json(run / "report.json")["data"]["labels"]
        with contextlib.suppress(TeacherError):  # the key of replacements is not here: rows in which nothing is replaced are found all the same
            found.append(lookup.load("potstill.teachers.endpoint.teacher:request_of")(teacher, labels, row["fields"]))
    return list(dict.fromkeys(found))


def _keys(run: Path, row: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the keys under which the label store holds answers to a row, one a teacher that was ever asked about it."""
    root = storage.home() / "labels"
    if not root.is_dir():
        return []
    key_of = lookup.load("potstill.labels.store:key_of")
    teachers = {line["identity"]: line["teacher"] for line in lookup.load("potstill.labels.admin:ls")(root)}
    requests = _requests(run, row)
    keys = {key_of(identity, request): (identity, name) for identity, name in teachers.items() for request in requests}
    with lookup.load("potstill.labels.store:LabelStore")(root) as store:
        held = {key: found for want in ("logprobs", "logodds") for key, found in store.index.locate(list(keys), want).items()}
    return [{"teacher": name, "identity": identity, "key": key.hex(), "shard": held[key][0]} for key, (identity, name) in keys.items() if key in held]


# ------------------------------------------------------------------------------------------------------- predictions
@dataclass(frozen=True)
class Table:
    """One subject's predictions on the test rows. ``right``: as ``metric`` counts it, None where that can't be told."""

    ids: list[str]
    label: list[Any]
    score: list[Any]
    right: list[bool | None]
    metric: str = "accuracy"

    def at(self, id: str) -> int | None:
        return self.ids.index(id) if id in self.ids else None


def _predictions(run: Path) -> dict[str, Table]:
    """Return the test predictions of a run by subject, the teacher first."""
    lookup.require("pyarrow")
    read = lookup.load("pyarrow.parquet:read_table")
    paths = sorted((run / "predictions").glob("*.parquet"), key=lambda p: (p.stem != "teacher", p.stem))
    if not paths:
        raise UserError("this run has no predictions", place=str(run), remedy="run it again: it goes on where it stopped")
    tables = {}
    for path in paths:
        there = set(lookup.load("pyarrow.parquet:read_schema")(path).names)
        columns = read(path, columns=[name for name in READ if name in there]).to_pydict()
        tables[path.stem] = _labels(columns) if "label" in there else _measures(columns)
    return tables


def _labels(columns: Mapping[str, list[Any]]) -> Table:
    right = [None if gold is None or label is None else label == gold for gold, label in zip(columns["gold"], columns["label"])]
    return Table(columns["id"], columns["label"], columns["score"], right)


def _measures(columns: Mapping[str, list[Any]]) -> Table:
    """Return what was measured of texts in the place of labels: nats a token, and the probability of a token that this is. Where an answer was written it
    stands before them; it is right or wrong where it was graded so, and else no row is."""
    means = [nats / tokens if tokens else math.nan for nats, tokens in zip(columns["nats"], columns["tokens"])]
    said = [None if math.isnan(mean) else f"{mean:.3f} nats a token" for mean in means]
    wrote = columns.get("answer") or [None] * len(said)
    told = [mean if answer is None else f"{json.dumps(answer, ensure_ascii=False)}, {mean or 'nothing measured'}" for answer, mean in zip(wrote, said)]
    metric = next((kind for kind in GRADED if kind in columns), None)
    grades: list[float | None] = columns[metric] if metric else [None] * len(said)
    right = [None if grade is None else grade > 0 for grade in grades]
    return Table(columns["id"], told, [math.exp(-mean) for mean in means], right, metric or "accuracy")


def _said(name: str, table: Table, id: str) -> dict[str, Any] | None:
    at = table.at(id)
    if at is None:
        return None
    label = table.label[at]
    return {"who": name, "label": label, "score": None if label is None else table.score[at], "right": table.right[at]}


def _sides(answers: list[dict[str, Any]], report: Mapping[str, Any]) -> dict[str, str]:
    """Return by student which side of the paired comparison with the teacher the row is on."""
    right = {answer["who"]: answer["right"] for answer in answers}
    sides = {}
    for student in report.get("students") or ():
        pair = (right.get("teacher"), right.get(student["name"]))
        if None not in pair:
            sides[student["name"]] = {
                (True, True): f"{student['name']}: both are right, so it counts for neither",
                (False, False): f"{student['name']}: both are wrong, so it counts for neither",
                (True, False): f"{student['name']}: a harmful flip, it counts against the student",
                (False, True): f"{student['name']}: a beneficial flip, it counts for the student",
            }[pair]  # type: ignore[index]
    return sides


# ---------------------------------------------------------------------------------------------------------- two runs
def diff(run_a: Path, run_b: Path) -> dict[str, Any]:
    """Return the paired difference in accuracy, second minus first, with its 95 % interval, of what both runs have.

    Subjects of the same name are paired (teacher, students, controls); and, under ``best``, what each run's verdict names.
    Only test rows that stand in both are compared. Raises :class:`UserError` where there are none with gold labels.
    """
    tables = [_predictions(run) for run in (run_a, run_b)]
    reports = [storage.read_json(run / "report.json") for run in (run_a, run_b)]
    pairs = [(name, name, name) for name in tables[0] if name in tables[1]]
    best = [_best(report) for report in reports]
    if all(best) and best[0] != best[1]:
        pairs.append((f"{best[0]} -> {best[1]}", str(best[0]), str(best[1])))
    groups = {row["id"]: row["group"] for row in _lines(_data_folder(run_a) / "test.jsonl")}
    sides = [(title, tables[0][a], tables[1][b]) for title, a, b in pairs if a in tables[0] and b in tables[1]]
    rows = [_pair(title, first, second, groups) for title, first, second in sides if first.metric == second.metric]
    found = [row for row in rows if row is not None]
    if not found:
        raise UserError("the runs share no test rows with gold labels", place=f"{run_a} and {run_b}", remedy="compare runs over the same data.test")
    sizes = {len(table.ids) for subjects in tables for table in subjects.values()}
    n = max(row["n"] for row in found)
    notes = [] if sizes == {n} else [f"not all test rows are in both, with gold labels and answers: {n:,} of {max(sizes):,} are compared"]
    return {"runs": [str(run_a), str(run_b)], "metric": sides[0][1].metric, "n": n, "pairs": found, "notes": notes}


def _best(report: Mapping[str, Any]) -> str | None:
    named = (report.get("verdict") or {}).get("student")
    students = [student["name"] for student in report.get("students") or ()]
    return named or (students[0] if len(students) == 1 else None)


def _pair(title: str, first: Table, second: Table, groups: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return one line of the comparison: discordant rows, the difference and its interval; None without common gold.

    The interval is Tango's score interval; where rows have groups, the cluster-robust t interval.
    """
    at = {id: i for i, id in enumerate(second.ids)}
    both = [(i, at[id]) for i, id in enumerate(first.ids) if id in at]
    both = [(i, j) for i, j in both if first.right[i] is not None and second.right[j] is not None]
    if not both:
        return None
    a, b = np.array([first.right[i] for i, _ in both]), np.array([second.right[j] for _, j in both])
    gained, lost, n = int((b & ~a).sum()), int((a & ~b).sum()), len(both)
    of = [groups.get(first.ids[i]) for i, _ in both]
    if any(group is not None for group in of) and len(set(of)) < len(of):  # where no two share one, rows are what is independent
        codes = np.unique([str(group) for group in of], return_inverse=True)[1]
        low, high = lookup.load("potstill.evaluation.statistics:cluster_t")(b.astype(float) - a, codes, ALPHA)
    else:
        worst, best = lookup.load("potstill.evaluation.statistics:tango")(lost, gained, n, ALPHA)
        low, high = -best, -worst
    return {
        "subject": title, "n": n, "first": float(a.mean()), "second": float(b.mean()), "difference": (gained - lost) / n,
        "low": _finite(low), "high": _finite(high), "gained": gained, "lost": lost, "p": _mcnemar(gained, lost),
    }  # fmt: skip


def _finite(value: float) -> float | None:
    """JSON has no infinity: a bound that is none is null."""
    return float(value) if math.isfinite(value) else None


def _mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of McNemar's test: are gains and losses equally likely? (McNemar 1947)"""
    n, k = gained + lost, min(gained, lost)
    return min(1.0, float(Fraction(2 * sum(math.comb(n, i) for i in range(k + 1)), 2**n)))
