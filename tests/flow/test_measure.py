"""`potstill measure`: too few test rows for a verdict, and the rows of the pool that a person should label, drawn blindly."""

from __future__ import annotations

import json

import pytest

import potstill
from potstill.cli.tables import baseline
from tests.small import CUES, jsonl, texts

RECIPE = """
task: text-classification
name: few
data: {train: train.jsonl, unlabeled: pool.jsonl, validation: validation.jsonl, calibration: calibration.jsonl, test: test.jsonl, near_duplicates: 0,
       columns: {text: question, label: topic}}
teacher: {kind: recorded, path: answers.jsonl, license: mit, output_license: mit}
students: [{name: ngram, kind: ngram}]
requirement: {quality: {metric: accuracy, max_drop: 0.05}}
threads: 1
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "home"))
    rows = texts(900, seed=3)
    answers = [{"text": row["text"], "probabilities": {name: 0.9 if name == row["label"] else 0.05 for name in CUES}} for row in rows]
    named = [{"question": row["text"], "topic": row["label"]} for row in rows]
    parts = {"train": named[:200], "validation": named[200:400], "calibration": named[400:450], "test": named[450:500]}
    parts["pool"] = [{"question": row["question"]} for row in named[500:]]
    for name, part in (parts | {"answers": answers}).items():
        jsonl(tmp_path / f"{name}.jsonl", part)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_rows_to_label_are_drawn_from_the_pool_without_answers_and_become_test_rows(place):
    run = potstill.distill(place / "recipe.yaml", output=place / "run", until="measure")
    told = run.report["to_label"]
    needed = run.report["rows_needed_assumed"]["10%"]
    assert told["missing"] == needed - 50 > 0
    drawn = lines(place / "run" / "to_label.jsonl")
    pool = [row["question"] for row in lines(place / "pool.jsonl")]
    assert told["rows"] == len(drawn) == min(told["missing"], len(pool))
    assert {row["question"] for row in drawn} <= set(pool)
    assert all(set(row) == {"question", "topic"} and row["topic"] is None for row in drawn)
    assert str(place / "run" / "to_label.jsonl") in baseline(run.report)

    again = potstill.distill(place / "recipe.yaml", output=place / "run", until="measure").report["to_label"]
    assert again == told
    assert lines(place / "run" / "to_label.jsonl") == drawn

    labeled = [row | {"topic": "praise"} for row in drawn]
    jsonl(place / "more.jsonl", labeled)
    files = f"data.test=[{place / 'test.jsonl'}, {place / 'more.jsonl'}]"
    found = potstill.distill(place / "recipe.yaml", output=place / "run", overrides=[files], until="measure").report
    assert found["data"]["test"] == 50 + len(drawn)
    assert found["data"]["unlabeled"] == len(pool) - len(drawn)  # what judges has left the pool


def test_enough_rows_or_no_pool_name_nothing(place):
    wide = potstill.distill(place / "recipe.yaml", output=place / "wide", overrides=["requirement.quality.max_drop=0.4"], until="measure")
    assert wide.report["to_label"] is None
    bare = potstill.distill(place / "recipe.yaml", output=place / "bare", overrides=["data.unlabeled=null"], until="measure")
    assert bare.report["to_label"] is None
    assert not (place / "bare" / "to_label.jsonl").exists()
