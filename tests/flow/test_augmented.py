"""A whole small pipeline with augmentation: made rows are labeled and learnt from, and the control, which has no use for them, gets its steps."""

from __future__ import annotations

import json

import jsonschema
import pytest

import potstill
from potstill.explain import why
from potstill.runlog import RunLog
from tests.small import RECIPE, job

ROUNDS = ["rounds.count=2", "rounds.first=20", "rounds.each=15"]
AUGMENT = "augment: [{kind: neighbours, copies: 2, top_k: 5}, {kind: deletion, share: 0.3}]\n"
STUDENT = "  - {name: ngram, kind: ngram, buckets: 1024, dimensions: 16, epochs: 2, learning_rate: 3.0e-2}\n"
SMALL = RECIPE.split("students:")[0].replace("epochs: 3", "epochs: 8") + "students:\n" + STUDENT + "training: {evaluations: 2}\nthreads: 1\n" + AUGMENT
TRAIN, POOL, TEST = 300, 60, 120


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        recipe = job(folder / "job", train=TRAIN, pool=POOL, test=TEST, recipe=SMALL)
        heard: list[dict] = []
        run = potstill.distill(recipe, output=folder / "run", log=RunLog(listeners=[heard.append]))
    return recipe, run, heard


@pytest.fixture
def home(finished, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(finished[0].parents[1] / "home"))


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_counts_add_up_wherever_they_are_told(finished):
    _, run, heard = finished
    counts = run.report["data"]["augmented"]
    assert counts["total"]["asked"] == (TRAIN + POOL) * 3
    told = lines(run.folder / "augmented.jsonl")
    assert len(told) == counts["total"]["made"]
    for fate in ("kept", "duplicate", "leaked"):
        assert sum(line["fate"] == fate for line in told) == counts["total"][fate] == sum(kind[fate] for kind in counts["kinds"].values())
    assert counts["total"]["kept"] > 700
    assert next(event for event in heard if event["event"] == "augmented")["total"] == counts["total"]
    assert any(event["event"] == "progress" and event["stage"] == "augment" and event["done"] == event["total"] == 2 * (TRAIN + POOL) for event in heard)
    assert any(f"kept {counts['total']['kept']:,}" in note for note in run.report["notes"])
    assert "made by augmentation" in (run.folder / "report.html").read_text("utf-8")


def test_the_teacher_is_asked_about_each_kept_row_once(finished):
    _, run, _ = finished
    kept = run.report["data"]["augmented"]["total"]["kept"]
    (labeled,) = (run.folder / "stages").glob("label-*/result.json")
    found = json.loads(labeled.read_text())
    assert found["counts"] == {"answered": TRAIN + POOL + kept, "refused": 0, "failed": 0}
    assert found["usage"]["teacher_calls"] == TRAIN + POOL + kept


def test_the_student_learns_from_them_without_gold_and_the_control_has_its_steps(finished):
    _, run, _ = finished
    student = run.report["students"][0]
    kept = run.report["data"]["augmented"]["total"]["kept"]
    assert student["rows"] == TRAIN + POOL + kept
    assert student["control"]["steps"] == student["steps"]
    (control,) = (run.folder / "stages").glob("train.ngram.control.0-*/result.json")
    assert json.loads(control.read_text())["rows"] == TRAIN
    assert all(line["gold"] is None for line in lines(run.folder / "augmented.jsonl"))


def test_no_made_row_stands_among_those_that_judge(finished):
    _, run, _ = finished
    (data,) = (run.folder / "stages").glob("data-*")
    held = {" ".join(row["fields"]["text"].lower().split()) for name in ("test", "validation", "calibration") for row in lines(data / f"{name}.jsonl")}
    assert not {" ".join(line["fields"]["text"].lower().split()) for line in lines(run.folder / "augmented.jsonl") if line["fate"] == "kept"} & held


def test_the_report_still_follows_its_schema(finished):
    from importlib import resources

    schema = json.loads(resources.files("potstill.report").joinpath("schema.json").read_text())
    jsonschema.validate(json.loads((finished[1].folder / "report.json").read_text()), schema)


def test_a_made_rows_life_is_told(finished, home):
    _, run, _ = finished
    line = next(line for line in lines(run.folder / "augmented.jsonl") if line["fate"] == "kept")
    found = why(run.folder, line["place"])
    assert found["row"]["split"] == f"augmented, from {line['source']['place']}: kept"
    assert found["keys"]  # the store holds the teacher's answer to it


def test_run_again_nothing_is_made_or_asked(finished, home):
    recipe, run, _ = finished
    heard: list[dict] = []
    again = potstill.distill(recipe, output=run.folder, log=RunLog(listeners=[heard.append]))
    assert again.report["cost"]["last"]["teacher_calls"] == 0
    assert not [event for event in heard if event["event"] == "stage.start"]
    assert again.report["data"]["augmented"] == run.report["data"]["augmented"]


def test_made_rows_come_with_the_first_round_and_the_pool_is_dealt_out_as_before(finished, home, tmp_path):
    recipe, _, _ = finished
    run = potstill.distill(recipe, output=tmp_path / "run", until="label", overrides=[*ROUNDS, "rounds.random_arm=false", "rounds.stop=false"])
    asked = [json.loads(path.read_text())["counts"]["answered"] for path in (run.folder / "stages").glob("label-*/result.json")]
    kept = sum(line["fate"] == "kept" for line in lines(run.folder / "augmented.jsonl"))
    assert sorted(asked) == [TRAIN + 20 + kept, TRAIN + 35 + kept]
    sources = {line["source"]["place"] for line in lines(run.folder / "augmented.jsonl")}
    assert 0 < sum(place.startswith("pool.jsonl") for place in sources) <= 20


def test_a_recipe_without_it_leaves_none_of_it(finished, home):
    recipe, run, _ = finished
    before = (run.folder / "augmented.jsonl").read_bytes()
    potstill.distill(recipe, output=run.folder, until="label", overrides=["augment=[]"])
    assert not (run.folder / "augmented.jsonl").exists()
    potstill.distill(recipe, output=run.folder, until="label")
    assert (run.folder / "augmented.jsonl").read_bytes() == before
