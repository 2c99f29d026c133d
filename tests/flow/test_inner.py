"""Objectives that look inside the teacher, and two stages, from a recipe to a trained student; the whole way for both together."""

from __future__ import annotations

import json

import pytest

import potstill
from potstill.errors import RecipeError
from potstill.runlog import RunLog
from tests.small import RECIPE, job, texts

ONE = RECIPE[: RECIPE.index("  - {name: static")] + RECIPE[RECIPE.index("requirement:") :]
INNER = ["hidden", "embedding", "attention", "relations"]
GENERAL = "students.0.general={data: plain.txt, max_rows: 120, batch_size: 16, objectives: [{kind: relations}, {kind: embedding}]}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inner")
    recipe = job(folder / "job", pool=60, test=220, recipe=ONE)
    rows = [row["text"] for row in texts(150, seed=9)]
    test = [json.loads(line)["text"] for line in (folder / "job" / "test.jsonl").read_text().splitlines()]
    (folder / "job" / "plain.txt").write_text("\n".join([*rows, "", test[0].upper(), *test[1:4], rows[0]]) + "\n")
    return recipe, folder


def go(place, name, *overrides, until="train"):
    recipe, folder = place
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        run = potstill.distill(recipe, output=folder / name, overrides=list(overrides), until=until, log=RunLog(listeners=[said.append]))
    return run, [event for event in said if event["event"] in ("stage.start", "say", "warning", "labels")]


def result(run, stage):
    return json.loads(next((run.folder / "stages").glob(f"{stage}-*/result.json")).read_text())


@pytest.mark.parametrize("kind", INNER)
def test_each_objective_is_asked_for_and_learnt(place, kind):
    run, said = go(place, kind, f"objectives=[{{kind: logits}}, {{kind: {kind}, weight: 0.5}}]")
    found = result(run, "train.half.distilled.0")
    assert found["left_out"] == []
    losses = found["history"]["terms"][kind]
    assert losses[-1] < losses[0]
    wanted = {want for event in said if event["event"] == "labels" for want in event["wants"]}
    assert wanted >= {"hidden": {"hidden:layer=0", "hidden:layer=3"}, "embedding": {"hidden:layer=0"}}.get(kind, {"qkv:layer=3"})
    names = {path.name for path in next((run.folder / "stages").glob("train.half.distilled.0-*/model")).parent.rglob("*.safetensors")}
    assert names == {"model.safetensors"}


@pytest.fixture(scope="module")
def both(place):
    return go(place, "both", "objectives=[{kind: logits}, {kind: relations, heads: 4}]", GENERAL, until=None)


def test_the_whole_way_in_two_stages(both):
    run, said = both
    assert [event["stage"] for event in said if event["event"] == "stage.start" and "general" in event["stage"]] == ["general.text", "general.half"]
    student = run.report["students"][0]
    assert student["control"]["gain"]["n"] > 0
    assert any("plain texts first" in note and "its control did not" in note for note in run.report["notes"])
    assert result(run, "train.half.distilled.0")["general"] == {"rows": 114, "held": 6}
    assert result(run, "train.half.control.0")["general"] is None


def test_text_of_the_test_rows_is_taken_out(both):
    run, _ = both
    found = result(run, "general.text")
    assert (found["read"], found["leaks"], found["repeated"], found["rows"]) == (155, 4, 1, 120)


def test_the_control_starts_without_the_general_stage(both, place):
    """From the same layers of the model as it was given; the student from what the general stage made of them."""
    run, _ = both
    sources = {arm: result(run, f"train.half.{arm}.0")["source"] for arm in ("distilled", "control")}
    from potstill import storage

    assert sources["control"] == storage.sha256_folder(place[0].parent / "encoder")
    general = next((place[1] / "home" / "stages").glob("general-*/model"))
    assert sources["distilled"] == storage.sha256_folder(general)


def test_another_recipe_finds_the_general_student(both, place):
    run, said = go(place, "again", "students.0.epochs=1", "students.0.learning_rate=0.001", GENERAL)
    assert not [event for event in said if event["event"] == "stage.start" and event["stage"] == "general.half"]
    assert len(list((place[1] / "home" / "stages").glob("general-*"))) == 1
    assert result(run, "train.half.distilled.0")["general"]["rows"] == 114


def test_other_text_or_options_make_another_general_student(both, place):
    go(place, "other", GENERAL.replace("120", "60"))
    assert len(list((place[1] / "home" / "stages").glob("general-*"))) == 2


def test_what_can_not_work_is_said_by_the_recipe(place):
    recipe, _ = place
    for override, words in (
        ("students.0.general={data: nowhere.txt}", "nowhere.txt"),
        ("students.0.general={data: plain.txt, objectives: [{kind: logits}]}", "logits"),
        ("students.0.general={data: plain.txt, objectives: [{kind: hidden}, {kind: hidden}]}", "two objectives of kind 'hidden'"),
        ("objectives=[{kind: attention, layers: [[0, 1]]}]", "attend to nothing"),
    ):
        with pytest.raises(RecipeError, match=words):
            potstill.recipe.load(recipe, [override])
