"""The whole pipeline where any number of labels apply to a row: from a recipe to a bundle that prints them; and weighed classes."""

from __future__ import annotations

import json
from importlib import resources

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import f1_score

import potstill
from potstill import steps, storage
from potstill.bundle.verify import verify
from potstill.errors import TeacherError
from potstill.explain import diff, why
from potstill.recipe import load
from potstill.runlog import RunLog
from potstill.serving.predictor import Predictor
from potstill.serving.stream import predict_lines
from potstill.workspace import open_workspace
from tests.flow.many import LABELS, MANY, job
from tests.tiny import classifier


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        return folder, potstill.distill(job(folder / "job"), output=folder / "run", log=RunLog())


@pytest.fixture
def home(finished, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(finished[0] / "home"))


def test_the_report_follows_its_schema_and_judges_by_micro_f1(finished):
    _, run = finished
    schema = json.loads(resources.files("potstill.report").joinpath("schema.json").read_text())
    jsonschema.validate(json.loads((run.folder / "report.json").read_text()), schema)
    assert run.report["metric"] == "micro_f1"
    assert list(run.report["teacher"]["quality"]) == ["micro_f1", "macro_f1", "subset_accuracy", "hamming_loss"]
    assert run.report["data"]["labels"] == sorted(LABELS)
    assert run.report["verdict"]["decision"] in ("ship", "do-not-ship", "inconclusive")
    (quality,) = [check for check in run.report["students"][0]["checks"] if check["name"] == "quality"]
    assert quality["unit"] == "drop in micro_f1"


def test_everyone_has_thresholds_control_and_intervals(finished):
    _, run = finished
    for student in run.report["students"]:
        assert set(student["thresholds"]) == set(LABELS)
        assert all(0 < p < 1 for p in student["thresholds"].values())
        assert 0 <= student["fidelity"]["agreement"] <= student["fidelity"]["label_agreement"] <= 1
        assert student["control"]["gain"]["low"] <= student["control"]["gain"]["value"] <= student["control"]["gain"]["high"]
        assert student["quality"]["micro_f1"] > run.report["baselines"][0]["quality"]["micro_f1"]
        assert {row["value"] for row in student["slices"] if row["column"] == "label"} >= {"praise", "(no label)"}
    standing = json.loads(next((run.folder / "stages").glob("standing-*/result.json")).read_text())
    assert {name: len(values) for name, values in standing["thresholds"].items()} == {"teacher": 4, "floor": 4}


def test_figures_are_those_of_scikit_learn_on_what_the_bundle_answers(finished):
    """From the test file and the shipped artifact alone."""
    folder, run = finished
    shipped = run.report["verdict"]["student"] or "ngram"
    predictor = Predictor.open(run.folder / "students" / shipped / "artifact")
    rows = [json.loads(line) for line in (folder / "job" / "test.jsonl").read_text().splitlines()]
    told = predictor.decide(predictor.predict([{"text": row["text"]} for row in rows]))
    matrix = lambda sets: np.array([[label in labels for label in LABELS] for labels in sets])  # noqa: E731
    own = next(s for s in run.report["students"] if s["name"] == shipped)
    for average in ("micro", "macro"):
        expected = f1_score(matrix(row["tags"] for row in rows), matrix(told), average=average, zero_division=0)
        assert own["quality"][f"{average}_f1"] == pytest.approx(expected)
    kept = pq.read_table(run.folder / "predictions" / f"{shipped}.parquet").to_pylist()
    assert [row["labels"] for row in kept] == told
    assert [row["gold_labels"] for row in kept] == [sorted(row["tags"]) for row in rows]
    assert all(0 < row["score"] <= 1 for row in kept)


def test_the_bundle_answers_with_lists_and_is_whole(finished):
    _, run = finished
    bundle = run.folder / "bundle"
    assert verify(bundle, Predictor.open) == []
    answers = list(predict_lines(Predictor.open(bundle), ["good great movie pain fever", "the car"]))
    assert all(set(answer) == {"labels", "scores"} and set(answer["scores"]) == set(LABELS) for answer in answers)
    head = json.loads((bundle / "artifact.json").read_text())["head"]
    assert head["kind"] == "labels"
    assert len(head["thresholds"]) == 4
    thresholds = json.loads((bundle / "calibration.json").read_text())["thresholds"]
    assert list(thresholds.values()) == pytest.approx((1 / (1 + np.exp(-np.array(head["thresholds"])))).tolist(), abs=1e-5)


def test_the_data_card_names_what_is_rare(finished):
    _, run = finished
    imbalance = run.report["data"]["imbalance"]
    assert imbalance["least"]["label"] == "rare"
    assert imbalance["least"]["n"] == run.report["data"]["by_label"]["train"]["rare"]
    assert 0 < imbalance["per_row"]["none"] < 1 < imbalance["per_row"]["most"]
    page = (run.folder / "report.html").read_text()
    assert "rarest rare" in page
    assert "From which probability on a label is told" in page
    assert "micro-F1" in page


def test_a_row_s_life_and_two_runs_can_be_told(finished, home):
    _, run = finished
    found = why(run.folder, "test.jsonl:1")
    assert found["keys"]
    assert {answer["who"] for answer in found["answers"]} >= {"teacher", "floor", "ngram"}
    assert {pair["difference"] for pair in diff(run.folder, run.folder)["pairs"]} == {0.0}


def test_run_again_it_asks_nothing(finished, home):
    folder, run = finished
    again = potstill.distill(folder / "job" / "recipe.yaml", output=run.folder)
    assert again.report["cost"]["last"]["teacher_calls"] == 0
    assert again.report["fingerprint"] == run.report["fingerprint"]


@pytest.mark.parametrize("choose", ["uncertain", "near_disagreements"])
def test_rounds_choose_and_say_what_they_gained(finished, home, tmp_path, choose):
    folder, _ = finished
    overrides = ["rounds.count=2", "rounds.first=100", "rounds.each=50", "rounds.stop=false", f"rounds.choose={choose}"]
    run = potstill.distill(folder / "job" / "recipe.yaml", output=tmp_path / "run", overrides=overrides, until="label")
    chosen = json.loads(next((run.folder / "stages").glob("choose-*/result.json")).read_text())
    assert len(chosen) == 50


def test_a_teacher_that_has_the_labels_already_is_taken_as_it_is(finished, home, tmp_path):
    from transformers import AutoConfig

    folder, _ = finished
    model = classifier(folder / "job" / "classifier", sorted(LABELS))
    config = AutoConfig.from_pretrained(model)
    config.problem_type = "multi_label_classification"
    config.save_pretrained(model)
    recipe = folder / "job" / "ready.yaml"
    recipe.write_text(MANY.replace("model: encoder, adapt: {how: finetune, epochs: 24, learning_rate: 3.0e-3}", "model: classifier"))
    with open_workspace(load(recipe), tmp_path / "run", RunLog(), offline=False, fresh=False) as work:
        data = steps.prepare(work)
        teaching = steps.adapt(work, data)
        assert teaching.logprobs(data.validation.examples[:5]).shape == (5, 4)
    config.problem_type = "single_label_classification"
    config.save_pretrained(model)
    with open_workspace(load(recipe), tmp_path / "run", RunLog(), offline=False, fresh=False) as work, pytest.raises(TeacherError, match="single-label"):
        steps.adapt(work, steps.prepare(work)).logprobs(data.validation.examples[:5])


@pytest.mark.parametrize("weights", ["balanced", {"rare": 10.0}])
def test_a_rare_label_that_weighs_more_is_told_more_surely_where_it_applies(finished, home, tmp_path, weights):
    """On the ngram student, whose objective is the gold alone; its control is weighed as it is."""
    folder, run = finished
    recipe = folder / "job" / "weighed.yaml"
    recipe.write_text(MANY + f"objectives: [{{kind: hard, class_weights: {json.dumps(weights)}}}]\n")
    with open_workspace(load(recipe), tmp_path / "run", RunLog(), offline=False, fresh=False) as work:
        data = steps.prepare(work)
        teaching = steps.adapt(work, data)
        lesson, _ = steps.label_in_rounds(work, data, teaching, steps.standing(work, data, teaching))
        spec = work.recipe.students[2]
        from potstill.steps.learn import learn

        models = [learn(work, data, teaching, spec, lesson, arm, 0) for arm in ("distilled", "control")]
    plain = next((run.folder / "stages").glob("export.ngram.control.0-*"))
    place = data.head.labels.index("rare")
    has = work.task.encode(data.validation.examples, data.head)[:, place] == 1
    with np.load(plain / "logprobs.npz") as before:
        for model in models:
            assert model.logprobs("validation")[has, place].mean() > before["validation"][has, place].mean()


def test_no_gold_is_no_quality_and_one_half_decides(finished, home, tmp_path):
    """Answers that someone already has, a test set without gold: fidelity alone, all thresholds at 1/2."""
    folder, _ = finished
    rows = [json.loads(line) for name in ("train", "validation", "calibration", "test") for line in (folder / "job" / f"{name}.jsonl").read_text().splitlines()]
    for name in ("train", "validation", "calibration", "test"):
        lines = [json.loads(line) for line in (folder / "job" / f"{name}.jsonl").read_text().splitlines()]
        storage.write_text(
            tmp_path / f"{name}.jsonl", "".join(json.dumps(row if name == "train" else {"text": row["text"], "tags": row["tags"]}) + "\n" for row in lines)
        )
    storage.write_text(tmp_path / "answers.jsonl", "".join(json.dumps({"text": row["text"], "labels": row["tags"]}) + "\n" for row in rows))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("""
task: text-classification
name: recorded
data: {train: train.jsonl, validation: validation.jsonl, calibration: calibration.jsonl, test: test.jsonl, columns: {labels: tags}, near_duplicates: 0}
teacher: {kind: recorded, path: answers.jsonl}
students: [{name: ngram, kind: ngram, buckets: 1024, dimensions: 16, epochs: 4, learning_rate: 3.0e-2}]
requirement: {fidelity: {max_disagreement: 0.5}}
threads: 1
""")
    report = potstill.distill(recipe, output=tmp_path / "run", log=RunLog()).report
    assert report["teacher"]["quality"]["micro_f1"] == 1.0
    assert report["students"][0]["fidelity"]["agreement"] > 0.5
    assert report["students"][0]["checks"][0]["name"] == "fidelity"
