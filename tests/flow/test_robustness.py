"""The step ``robustness`` on a small pipeline: who is asked what, what a paid or a recorded teacher does, rows of another kind, none at all."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from potstill import steps
from potstill.errors import DataError, RecipeError
from potstill.serving.predictor import Predictor
from tests.flow.until import one_student, until_tested
from tests.small import job, jsonl, texts

ARMS = ["typos", "upper_case", "lower_case", "whitespace", "truncation"]
OTHERS = texts(900, seed=77, noise=0.3)[:80]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    job(folder, train=150, pool=100, test=120, recipe=one_student())
    jsonl(folder / "others.jsonl", OTHERS)
    jsonl(folder / "bare.jsonl", [{"text": row["text"]} for row in OTHERS])
    return folder


@pytest.fixture(scope="module")
def before(place, tmp_path_factory):
    """A run folder and a home in which all steps before this one are done."""
    folder = tmp_path_factory.mktemp("before")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        with until_tested(place / "recipe.yaml", folder / "run") as at:
            assert at.work.usage.teacher_calls == 150 + 100 + 250 + 250 + 120
    return folder


@pytest.fixture
def run(before, tmp_path):
    shutil.copytree(before, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


def found(place, folder, *overrides):
    with until_tested(place / "recipe.yaml", folder, *overrides) as at:
        stage = steps.robustness(at.work, at.data, at.teaching, at.candidates, at.opened)
        return at, stage, stage.read()


def test_everyone_is_asked_about_every_change_and_the_teacher_once(place, run):
    at, stage, told = found(place, run)
    assert [arm["arm"] for arm in told["arms"]] == ARMS
    assert [(arm["n"], arm["unchanged"]) for arm in told["arms"]] == [(120, 0), (120, 0), (0, 120), (120, 0), (120, 0)]
    assert (told["reference"], told["metric"], told["unasked"], told["rows"]) == ("gold", "accuracy", "", 120)
    assert set(told["models"]) == {"teacher", "floor", "ngram.distilled.0", "ngram.control.0"}
    for name, entries in told["models"].items():
        assert [entry["arm"] for entry in entries] == [arm for arm in ARMS if arm != "lower_case"]
        for entry in entries:
            assert entry["loss"]["value"] == pytest.approx(entry["clean"] - entry["value"])
            assert (entry["difference"] is None) == (name == "teacher")
    assert at.work.usage.teacher_calls == 4 * 120
    before = at.work.spent().calls
    again, other, _ = found(place, run)
    assert (other.fingerprint, again.work.usage.teacher_calls, again.work.spent().calls) == (stage.fingerprint, 0, before)


def test_a_sample_bounds_the_cost(place, run):
    at, _, told = found(place, run, "robustness.rows=30", "robustness.arms=[typos]")
    assert [(arm["arm"], arm["n"]) for arm in told["arms"]] == [("typos", 30)]
    assert at.work.usage.teacher_calls == 30


def test_a_paid_teacher_is_asked_only_where_the_recipe_says_so(place, run):
    at, _, told = found(place, run, "teacher.usd_per_1000=1.5")
    assert at.work.usage.teacher_calls == 0
    assert "cost money" in told["unasked"]
    assert "teacher" not in told["models"]
    for entry in told["models"]["ngram.distilled.0"]:
        assert entry["loss"] is not None
        assert (entry["teacher_loss"], entry["difference"], entry["stands_out"]) == (None, None, None)
    at, _, told = found(place, run, "teacher.usd_per_1000=1.5", "robustness.ask_teacher=true")
    assert at.work.usage.teacher_calls == 4 * 120
    assert told["models"]["ngram.distilled.0"][0]["difference"] is not None


def test_it_can_be_said_not_to_ask_and_not_to_look_at_all(place, run):
    _, _, told = found(place, run, "robustness.ask_teacher=false")
    assert "the recipe says not to" in told["unasked"]
    _, _, told = found(place, run, "robustness.arms=[]")
    assert told["arms"] == []
    assert not any(told["models"].values())


@pytest.mark.parametrize("gold", [True, False], ids=["gold", "bare"])
def test_rows_of_another_kind(place, run, gold):
    file = place / ("others.jsonl" if gold else "bare.jsonl")
    at, _, told = found(place, run, f"robustness.out_of_domain={file}", "robustness.arms=[typos]")
    entry = told["models"]["ngram.distilled.0"][-1]
    assert (entry["arm"], entry["n"], entry["agreement"]["n"]) == ("out_of_domain", 80, 80)
    answers = Predictor.open(at.candidates[0].artifact.folder).predict([{"text": row["text"]} for row in OTHERS])
    assert entry["confidence"] == pytest.approx(np.exp(answers.max(axis=1)).mean(), rel=1e-4)
    if gold:
        labels = [at.data.head.labels[i] for i in answers.argmax(axis=1)]
        assert entry["value"] == pytest.approx(np.mean([label == row["label"] for label, row in zip(labels, OTHERS)]))
        assert entry["difference"]["low"] <= entry["difference"]["value"] <= entry["difference"]["high"]
    else:
        assert (entry["value"], entry["loss"], entry["difference"]) == (None, None, None)


def test_a_bad_file_of_another_kind_stops_the_run_before_it_begins(place, tmp_path):
    jsonl(place / "wrong.jsonl", [{"text": "a new text", "label": "prais"}, {"text": "another new text", "label": "blame"}])
    with pytest.raises(DataError, match=r"(?s)robustness\.out_of_domain.*'prais'.*praise"):
        found(place, tmp_path / "run", f"robustness.out_of_domain={place / 'wrong.jsonl'}")
    learnt = [json.loads(line) for line in (place / "train.jsonl").read_text().splitlines()]
    jsonl(place / "learnt.jsonl", learnt)
    with pytest.raises(DataError, match="no row is left"):
        found(place, tmp_path / "run", f"robustness.out_of_domain={place / 'learnt.jsonl'}")
    assert not list((tmp_path / "run" / "stages").glob("adapt*"))
    with pytest.raises(RecipeError, match="there is no file"):
        found(place, tmp_path / "run", "robustness.out_of_domain=nowhere.jsonl")


def test_a_recorded_teacher_without_gold_is_held_to_its_answers_on_the_rows_as_they_are(place, tmp_path):
    names = ("train", "pool", "validation", "calibration", "test")
    rows = {row["text"]: row for name in names for row in map(json.loads, (place / f"{name}.jsonl").read_text().splitlines())}
    labels = {text: row.get("label", "blame") for text, row in rows.items()} | {row["text"]: row["label"] for row in OTHERS[:50]}
    jsonl(place / "answers.jsonl", [{"text": text, "label": label} for text, label in labels.items()])
    recipe = (place / "recipe.yaml").read_text()
    start = recipe.index("teacher:")
    recipe = recipe[:start] + "teacher: {kind: recorded, path: answers.jsonl, output_license: mit}\n" + recipe[recipe.index("students:") :]
    for name in ("validation", "calibration", "test"):
        jsonl(place / f"{name}-bare.jsonl", [{"text": json.loads(line)["text"]} for line in (place / f"{name}.jsonl").read_text().splitlines()])
        recipe = recipe.replace(f"{name}.jsonl", f"{name}-bare.jsonl")
    recipe = recipe.replace("  slices: [site]\n", "").replace(
        "quality: {metric: accuracy, max_drop: 0.05, confidence: 0.95}", "fidelity: {max_disagreement: 0.2}"
    )
    (place / "recorded.yaml").write_text(recipe)
    with until_tested(place / "recorded.yaml", tmp_path / "run", f"robustness.out_of_domain={place / 'others.jsonl'}") as at:
        told = steps.robustness(at.work, at.data, at.teaching, at.candidates, at.opened).read()
    assert (told["reference"], "recorded" in told["unasked"], set(told["models"])) == (
        "teacher",
        True,
        {"teacher", "floor", "ngram.distilled.0", "ngram.control.0"},
    )
    own = told["models"]["ngram.distilled.0"]
    answers, teacher = at.opened.logprobs["ngram.distilled.0"], at.opened.logprobs["teacher"]
    assert own[0]["clean"] == pytest.approx((answers.argmax(axis=1) == teacher.argmax(axis=1)).mean())
    assert (own[0]["teacher_loss"], own[0]["difference"], own[0]["agreement"]) == (None, None, None)
    assert (own[-1]["arm"], own[-1]["agreement"]["n"]) == ("out_of_domain", 50)  # which the recording holds
    assert [entry["arm"] for entry in told["models"]["teacher"]] == ["out_of_domain"]
