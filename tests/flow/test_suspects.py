"""A pipeline whose gold labels are partly turned: they are found, named and, where the recipe says so, left out; the page says what that was worth."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest

import potstill
from potstill.cli.tables import life
from potstill.explain import why
from potstill.report import schema
from tests.small import CUES, jsonl, texts

RECIPE = """
task: text-classification
name: turned
data: {train: train.jsonl, unlabeled: pool.jsonl, validation: validation.jsonl, calibration: calibration.jsonl, test: test.jsonl}
teacher: {kind: recorded, path: answers.jsonl, license: mit, output_license: mit}
students: [{name: ngram, kind: ngram, buckets: 1024, epochs: 3}]
training: {evaluations: 2}
robustness: {arms: []}
threads: 1
"""
TURNED, WRONG = range(0, 200, 10), range(5, 100, 10)  # of the gold labels of train, and of the teacher's answers on the pool
NAMES = sorted(CUES)


def other(label):
    return NAMES[(NAMES.index(label) + 1) % 3]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("turned")
    rows = [{"text": row["text"], "label": row["label"]} for row in texts(1000, seed=0, noise=0)]
    parts = {"train": rows[:200], "pool": rows[200:400], "validation": rows[400:600], "calibration": rows[600:700], "test": rows[700:]}
    wrong = {parts["pool"][i]["text"] for i in WRONG}
    answers = []
    for row in rows:
        said = other(row["label"]) if row["text"] in wrong else row["label"]
        answers.append({"text": row["text"], "probabilities": {name: 0.9 if name == said else 0.05 for name in NAMES}})
    parts["train"] = [row | {"label": other(row["label"]) if i in TURNED else row["label"]} for i, row in enumerate(parts["train"])]
    parts["pool"] = [{"text": row["text"]} for row in parts["pool"]]
    for name, part in (parts | {"answers": answers}).items():
        jsonl(folder / f"{name}.jsonl", part)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(autouse=True)
def home(place, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(place / "home"))


def lines(run):
    return [json.loads(line) for line in (run.folder / "suspects.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def dropped(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(place / "home"))
        return potstill.distill(place / "recipe.yaml", output=place / "dropped", overrides=["suspects=drop"])


def test_turned_labels_are_named_with_their_judge(dropped):
    found = dropped.report["data"]["suspects"]
    gold = [line for line in lines(dropped) if line["whose"] == "gold"]
    assert {line["place"] for line in gold} == {f"train.jsonl:{i + 1}" for i in TURNED}
    assert all(line["likelier"] != line["label"] for line in gold)
    assert (found["gold"]["rows"], found["gold"]["suspects"]) == (200, len(TURNED))
    assert "teacher" in found["gold"]["judge"]
    answers = [line["place"] for line in lines(dropped) if line["whose"] == "teacher"]
    assert found["teacher"]["rows"] == 400
    assert found["teacher"]["suspects"] == len(answers)
    right = {f"pool.jsonl:{i + 1}" for i in WRONG} & set(answers)  # judged by a floor of 400 rows: not all are seen, nor only they
    assert len(right) >= len(WRONG) / 2
    assert len(right) >= len(answers) / 3


def test_what_is_dropped_is_not_learnt_and_its_worth_is_told(dropped):
    found = dropped.report["data"]["suspects"]
    assert found["mode"] == "drop"
    assert found["worth"]["low"] <= found["worth"]["value"] <= found["worth"]["high"]
    assert np.isfinite(found["worth"]["value"])
    jsonschema.validate(dropped.report, schema())
    text = (dropped.folder / "report.html").read_text("utf-8")
    assert "labels worth a second look" in text
    assert "on validation for the first student" in text
    # the control, that has gold labels alone, has the turned ones no more
    trained = json.loads(next((dropped.folder / "stages").glob("train.ngram.control.0-*/result.json")).read_text())
    assert trained["rows"] == 200 - len(TURNED)


def test_why_tells_it_of_a_row(dropped):
    found = why(dropped.folder, "train.jsonl:1")
    assert [line["whose"] for line in found["suspects"]] == ["gold"]
    assert "suspect: its gold label is" in life(found)
    assert why(dropped.folder, "train.jsonl:2")["suspects"] == []


@pytest.mark.parametrize(("mode", "kept"), [("report", True), ("ignore", False)])
def test_reported_they_are_learnt_from_and_ignored_nobody_looks(place, mode, kept):
    run = potstill.distill(place / "recipe.yaml", output=place / mode, overrides=[f"suspects={mode}"])
    found = run.report["data"]["suspects"]
    assert (found is not None) == kept == (run.folder / "suspects.jsonl").is_file()
    trained = json.loads(next((run.folder / "stages").glob("train.ngram.control.0-*/result.json")).read_text())
    assert trained["rows"] == 200
    assert not kept or found["worth"] is None
