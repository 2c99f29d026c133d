"""Trap 54: no control, or one that was not given the same chance."""

from __future__ import annotations

import json

import pytest

import potstill
from potstill import storage
from tests.small import job


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("control")


@pytest.fixture(scope="module")
def trained(folder):
    """What each arm's training was, by student and arm."""
    recipe = job(folder / "job", train=250, pool=50)
    students = "students=[{name: half, kind: transformer, from: teacher, layers: 1, epochs: 2}, {name: ngram, kind: ngram, buckets: 256, epochs: 2}]"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        run = potstill.distill(recipe, output=folder / "run", overrides=[students], until="train")
    results = (run.folder / "stages").glob("train.*/result.json")
    return {tuple(path.parent.name.split(".")[1:3]): json.loads(path.read_text()) for path in results}


def test_trap_54_the_control_has_the_same_compute(trained):
    for student in ("half", "ngram"):
        distilled, control = trained[student, "distilled"], trained[student, "control"]
        assert control["plan"] == distilled["plan"]
        assert control["history"]["steps"] == distilled["history"]["steps"] == distilled["plan"]["steps"]
        assert control["parameters"] == distilled["parameters"]


def test_trap_54_the_control_learns_from_gold_labels_alone(trained):
    for student in ("half", "ngram"):
        assert (trained[student, "distilled"]["rows"], trained[student, "control"]["rows"]) == (300, 250)
        assert set(trained[student, "control"]["history"]["terms"]) == {"hard"}


def test_trap_54_the_control_does_not_start_from_the_teacher(trained, folder):
    (adapted,) = (folder / "home" / "stages").glob("adapt-*/model")
    assert trained["half", "distilled"]["source"] == storage.sha256_folder(adapted)
    assert trained["half", "control"]["source"] == storage.sha256_folder(folder / "job" / "encoder")
