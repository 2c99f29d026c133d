"""One whole small pipeline whose teacher is a language model in a GGUF file; its student is cut from it and ships without it."""

from __future__ import annotations

import json
from importlib import resources

import jsonschema
import numpy as np
import pytest

import potstill
from potstill import storage
from potstill.runlog import RunLog
from potstill.serving.predictor import Predictor
from tests import tiny
from tests.small import job, texts

pytest.importorskip("gguf")

RECIPE = """
task: text-classification
name: decoder
data: {train: train.jsonl, unlabeled: pool.jsonl, test: test.jsonl, validation: validation.jsonl, calibration: calibration.jsonl, near_duplicates: 0}
teacher:
  kind: model
  model: packed
  adapt: {how: finetune, epochs: 3, learning_rate: 2.0e-3}
  max_length: 32
  output_license: apache-2.0
students:
  - name: half
    kind: transformer
    from: teacher
    layers: 1
    epochs: 3
    learning_rate: 2.0e-3
    objectives: [{kind: logits}, {kind: hidden}]
  - {name: static, kind: static, dimensions: 16, hidden: 8, epochs: 4, learning_rate: 2.0e-2}
requirement: {quality: {metric: accuracy, max_drop: 0.05, confidence: 0.95}}
training: {evaluations: 3}
threads: 1
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    from tests.teachers.test_gguf import write

    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        recipe = job(folder / "job", recipe=RECIPE)
        (folder / "job" / "packed").mkdir()
        write(tiny.decoder(folder / "source"), folder / "job" / "packed" / "tiny.gguf")
        said = []
        run = potstill.distill(recipe, output=folder / "run", log=RunLog(listeners=[said.append]))
        again = potstill.distill(recipe, output=folder / "run")
    return folder, run, [event["text"] for event in said if event.get("text")], again


def test_the_file_is_converted_once_and_said(finished):
    folder, _, said, again = finished
    assert sum("converting tiny.gguf" in text for text in said) == 1
    assert [place for place in (folder / "home" / "models").iterdir() if storage.read_manifest(place)]
    assert again.report["cost"]["last"]["teacher_calls"] == 0


def test_the_report_follows_its_schema_and_the_students_learnt(finished):
    _, run, _, _ = finished
    jsonschema.validate(run.report, json.loads(resources.files("potstill.report").joinpath("schema.json").read_text()))
    majority = next(baseline for baseline in run.report["baselines"] if baseline["name"] == "majority")
    for model in (run.report["teacher"], *run.report["students"]):
        assert model["quality"]["accuracy"] > majority["quality"]["accuracy"] + 0.1
    half = next(student for student in run.report["students"] if student["name"] == "half")
    assert half["control"]["quality"]["accuracy"] > 0
    assert half["parameters"] < run.report["teacher"]["parameters"]


def test_what_ships_answers_each_row_by_itself(finished):
    _, run, _, _ = finished
    predictor = Predictor.open(run.folder / "students" / "half" / "artifact", threads=1)
    rows = [{"text": text} for text in ("", "good", *(row["text"] for row in texts(20, seed=9)), "the " * 200)]
    together = predictor.predict(rows)
    np.testing.assert_allclose(together, np.concatenate([predictor.predict([row]) for row in rows]), atol=1e-4)
    assert len(set(together.argmax(1))) > 1
