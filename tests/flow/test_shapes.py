"""A student of another shape through the whole pipeline: a vocabulary of the rows, narrower, taught by hidden states, in int8; and from scratch."""

from __future__ import annotations

import json

import pytest
from transformers import BertModel

import potstill
from potstill.errors import RecipeError
from potstill.recipe import load
from potstill.runlog import RunLog
from tests.small import RECIPE, job
from tests.tiny import VOCABULARY, encoder

ONE = RECIPE[: RECIPE.index("  - {name: static")] + RECIPE[RECIPE.index("requirement:") :]
SLIM = ("students.half.vocabulary=used", "students.half.heads=3", "students.half.intermediate=192", "objectives=[{kind: logits}, {kind: hidden}]",
        "export={max_quality_loss: 0.5, min_agreement: 0}", "teacher.adapt={how: finetune, epochs: 4, learning_rate: 1.0e-3}")  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    recipe = job(folder / "job", pool=60, test=220, recipe=ONE)
    model = BertModel.from_pretrained(encoder(folder / "job" / "encoder", hidden=128, heads=4))  # int8 leaves what is small as it is
    for value in model.parameters():
        value.data *= 0.25 if value.dim() > 1 else 1  # the tiny model's spread is for its width; this one would not learn
    model.save_pretrained(folder / "job" / "encoder")
    return recipe, folder


def go(place, name, *overrides, until=None):
    recipe, folder = place
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        return potstill.distill(recipe, output=folder / name, overrides=list(overrides), until=until, log=RunLog())


def result(run, stage):
    return json.loads(next((run.folder / "stages").glob(f"{stage}-*/result.json")).read_text())


def test_a_slim_student_goes_the_whole_way(place):
    run = go(place, "slim", *SLIM)
    student = run.report["students"][0]
    assert student["artifact"]["precision"] == "int8"
    trained = {arm: result(run, f"train.half.{arm}.0") for arm in ("distilled", "control")}
    assert trained["distilled"]["left_out"] == []
    assert trained["distilled"]["parameters"] == trained["control"]["parameters"] == student["parameters"]
    assert trained["distilled"]["history"]["terms"]["hidden"][-1] < trained["distilled"]["history"]["terms"]["hidden"][0]
    folders = [next((run.folder / "stages").glob(f"train.half.{arm}.0-*/model")) for arm in trained]
    configs = [json.loads((folder / "config.json").read_text()) for folder in folders]
    assert {(c["hidden_size"], c["num_attention_heads"], c["intermediate_size"]) for c in configs} == {(96, 3, 192)}
    assert configs[0]["vocab_size"] == configs[1]["vocab_size"] <= len(VOCABULARY)  # the texts use all words
    # The control learns from fewer rows, and has the words of all.
    assert len({(folder / "tokenizer.json").read_text() for folder in folders}) == 1


def test_from_scratch_with_the_words_that_are_used(place):
    run = go(
        place,
        "scratch",
        "students.half.from=scratch",
        "students.half.layers=4",
        "students.half.hidden=12",
        "students.half.vocabulary=used",
        "students.half.heads=3",
        "teacher.adapt={how: finetune, epochs: 4, learning_rate: 1.0e-3}",
        until="train",
    )
    folders = [next((run.folder / "stages").glob(f"train.half.{arm}.0-*/model")) for arm in ("distilled", "control")]
    config, control = (json.loads((folder / "config.json").read_text()) for folder in folders)
    assert config["vocab_size"] == control["vocab_size"] <= len(VOCABULARY)
    assert (config["num_hidden_layers"], config["hidden_size"], config["num_attention_heads"], config["intermediate_size"]) == (4, 12, 3, 256)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("students.half.vocabulary=some", "vocabulary"),
        ("students.half.hidden=0", "at least 1"),
        ("students.half={name: half, kind: transformer, from: scratch, layers: [0, 1]}", "it has none to choose from"),
    ],
)
def test_nonsense_is_refused_at_the_door(place, override, said):
    with pytest.raises(RecipeError, match=said):
        load(place[0], [override] if not override.startswith("students.half=") else ["students=[" + override.split("=", 1)[1] + "]"])
