"""Text pairs through the whole pipeline, for every kind of student: both texts are read, none is dropped, anywhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import potstill
from potstill.bundle.verify import verify
from potstill.runlog import RunLog
from potstill.serving.predictor import Predictor
from potstill.serving.stream import predict_lines
from tests.small import CUES, PLAIN, jsonl
from tests.tiny import encoder

RECIPE = """
task: text-classification
name: pairs
data:
  train: train.jsonl
  unlabeled: pool.jsonl
  validation: validation.jsonl
  calibration: calibration.jsonl
  test: test.jsonl
  columns: {text: question, text_pair: answer, label: fits}
  near_duplicates: 0
teacher: {kind: model, model: encoder, adapt: {how: finetune, epochs: 24, learning_rate: 3.0e-3}, max_length: 32}
students:
  - {name: half, kind: transformer, from: teacher, layers: 1, epochs: 8, learning_rate: 2.0e-3}
  - {name: static, kind: static, dimensions: 16, epochs: 8, learning_rate: 2.0e-2}
  - {name: ngram, kind: ngram, buckets: 1024, dimensions: 16, epochs: 8, learning_rate: 3.0e-2}
requirement: {quality: {max_drop: 0.1}}
threads: 1
"""


def texts(count: int, seed: int) -> list[dict[str, str]]:
    """Return {question, answer, fits}: an answer fits where it has a cue of praise, whatever the question."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        fits = "yes" if rng.random() < 0.5 else "no"
        question, answer = (" ".join(rng.choice(PLAIN, 4)) for _ in range(2))
        cues = [str(word) for word in rng.choice(CUES["praise" if fits == "yes" else "illness"], 2)]
        rows.append({"question": f"{question} {i}", "answer": " ".join([answer, *cues]), "fits": fits})
    return rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    rows = texts(1300, 0)
    cuts = {"train": (0, 400), "validation": (400, 600), "calibration": (600, 800), "test": (800, 1100)}
    for name, (start, end) in cuts.items():
        jsonl(folder / f"{name}.jsonl", rows[start:end])
    jsonl(folder / "pool.jsonl", [{"question": row["question"], "answer": row["answer"]} for row in rows[1100:]])
    encoder(folder / "encoder")
    (folder / "recipe.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        return folder, potstill.distill(folder / "recipe.yaml", output=folder / "run", log=RunLog())


def test_every_kind_of_student_learns_from_the_second_text(finished):
    """The label stands in it alone: whoever dropped it would be at chance."""
    _, run = finished
    assert run.report["teacher"]["quality"]["accuracy"] > 0.75
    for student in run.report["students"]:
        assert student["quality"]["accuracy"] > 0.75, student["name"]
        assert student["parity"]["max_abs_diff"] < 1e-3 or student["artifact"]["precision"] == "int8"
        assert student["control"]["quality"]["accuracy"] > 0.6
    assert run.report["baselines"][1]["quality"]["accuracy"] > 0.9  # TF-IDF reads both


def test_the_bundle_reads_both_texts_and_says_when_one_is_missing(finished):
    _, run = finished
    predictor = Predictor.open(run.folder / "bundle")
    assert predictor.fields == ("text", "text_pair")
    assert verify(run.folder / "bundle", Predictor.open) == []
    lines = ['{"text": "the car", "text_pair": "good great"}', '{"text": "the car", "text_pair": "pain fever"}', '{"text": "the car"}', "the car"]
    first, second, missing, bare = predict_lines(predictor, lines)
    assert [first["label"], second["label"]] == ["yes", "no"]
    assert "no text in text_pair" in missing["error"]
    assert "a JSON object with text, text_pair is wanted" in bare["error"]


@pytest.mark.parametrize("student", ["half", "static", "ngram"])
def test_the_texts_are_not_interchangeable_for_nothing(finished, student):
    """Each text has a say in the exported answer."""
    _, run = finished
    predictor = Predictor.open(run.folder / "students" / student / "artifact")
    asked = [{"text": a, "text_pair": b} for a, b in (("the cat", "good great"), ("the cat", "pain fever"), ("a bird", "good great"))]
    said = predictor.predict(asked)
    assert not np.allclose(said[0], said[1], atol=1e-3)
    assert not np.allclose(said[0], said[2], atol=1e-6)


def test_trap_40_token_type_ids_reach_teacher_and_student(finished):
    """The stored answers, and the exported student's, are those of transformers' own pair encoding, token types and all."""
    folder, run = finished
    described = json.loads((run.folder / "students" / "half" / "artifact" / "artifact.json").read_text())
    assert described["preprocess"]["inputs"] == ["input_ids", "attention_mask", "token_type_ids"]
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()][:20]
    adapted = next((folder / "home" / "stages").glob("adapt-*")) / "model"
    said = {"teacher": _said(run, "teacher")[:20], "half": Predictor.open(run.folder / "students" / "half" / "artifact").logits(_asked(rows))}
    for name, place in (("teacher", adapted), ("half", run.folder / "students" / "half")):
        with_types, without = (_own(place, rows, types=types) for types in (True, False))
        own = with_types.log_softmax(-1).numpy() if name == "teacher" else with_types.numpy()
        np.testing.assert_allclose(said[name], own, atol=2e-3 if name == "half" else 1e-4)
        assert not np.allclose(with_types, without, atol=1e-2)  # what a dropped input would give


def _asked(rows):
    return [{"text": row["question"], "text_pair": row["answer"]} for row in rows]


def _said(run, name):
    import pyarrow.parquet as pq

    return np.array(pq.read_table(run.folder / "predictions" / f"{name}.parquet").column("logprobs").to_pylist())


def _own(folder, rows, *, types):
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    found = []
    for row in rows:
        inputs = dict(tokenizer(row["question"], row["answer"], return_tensors="pt", truncation=True, max_length=32))
        if not types:
            inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
        with torch.no_grad():
            found.append(model(**inputs).logits[0])
    return torch.stack(found)
