"""Rounds: each asks about more of the pool, says what it gained, and stops where more would bring nothing."""

from __future__ import annotations

import itertools
import json
from importlib import resources

import jsonschema
import pytest

import potstill
from potstill.errors import RecipeError
from potstill.runlog import RunLog
from tests.small import RECIPE, job

ONE = RECIPE.replace("  - {name: half, kind: transformer, from: teacher, layers: 1, epochs: 3, learning_rate: 2.0e-3}\n", "").replace(
    "  - {name: static, kind: static, dimensions: 16, hidden: 8, epochs: 4, learning_rate: 2.0e-2}\n", ""
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A home that holds the adapted teacher, for the tests that count no calls."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def run(tmp_path, shared, monkeypatch):
    recipe = job(tmp_path / "job", recipe=ONE)

    def go(name="run", home=shared, **rounds):
        monkeypatch.setenv("POTSTILL_HOME", str(home))
        said = []
        made = potstill.distill(
            recipe, output=tmp_path / name, overrides=[f"rounds={json.dumps(rounds)}", "robustness.arms=[]"], log=RunLog(listeners=[said.append])
        )
        return made.report, [event["text"] for event in said if event.get("text")]

    return go


def rounds_of(report):
    return report["students"][0]["rounds"]


@pytest.mark.parametrize("choose", ["uncertain", pytest.param("near_disagreements", marks=pytest.mark.slow)])
def test_each_round_asks_about_more_rows_and_says_what_they_brought(run, choose):
    report, _ = run(count=3, first=40, each=50, choose=choose, stop=False)
    done = rounds_of(report)
    assert [one["labels"] for one in done] == [40, 90, 140]
    assert "gain" not in done[0]
    for before, after in itertools.pairwise(done):
        gain = after["gain"]
        assert gain["value"] == pytest.approx(after["quality"] - before["quality"])
        assert gain["low"] <= gain["value"] <= gain["high"]
        assert gain["n"] == 250
    arm = done[-1]["random"]
    assert arm["labels"] == 140
    assert arm["gain"]["value"] == pytest.approx(done[-1]["quality"] - arm["quality"])
    jsonschema.validate(report, json.loads(resources.files("potstill.report").joinpath("schema.json").read_text()))


@pytest.mark.slow
def test_no_row_is_asked_twice_and_the_random_arm_s_calls_are_counted(run, tmp_path):
    report, _ = run(home=tmp_path / "home", count=2, first=40, each=50, stop=False, random_arm=False)
    held = sum(report["data"][name] for name in ("train", "validation", "calibration", "test"))
    assert report["cost"]["teacher_calls"] == held + 90
    assert "random" not in rounds_of(report)[-1]
    assert report["students"][0]["rows"] == report["data"]["train"] + 90  # the students learn from the rows of the last round
    beside, _ = run(home=tmp_path / "home", count=2, first=40, each=50, stop=False)
    assert 0 <= beside["cost"]["last"]["teacher_calls"] <= 50
    again, _ = run(home=tmp_path / "home", count=2, first=40, each=50, stop=False)
    assert again["cost"]["last"]["teacher_calls"] == 0
    assert rounds_of(again) == rounds_of(beside)


@pytest.mark.slow
def test_rounds_end_where_the_pool_does(run):
    report, said = run(count=9, first=100, each=150, stop=False, random_arm=False)
    done = rounds_of(report)
    assert [one["labels"] for one in done] == [100, 250, 300]
    assert done[-1]["stopped"] == "the pool is spent"
    assert "round 3 is the last: the pool is spent" in said


@pytest.mark.slow
def test_rounds_end_where_the_requirement_is_met_on_validation(tmp_path, run):
    path = tmp_path / "job" / "recipe.yaml"
    path.write_text(path.read_text().replace("max_drop: 0.05", "max_drop: 0.9"))
    report, _ = run(count=3, first=100, each=50)
    done = rounds_of(report)
    assert len(done) == 1
    assert done[0]["stopped"] == "the requirement is met on validation"


@pytest.mark.slow
def test_rounds_end_where_two_of_them_bring_nothing(tmp_path, run):
    path = tmp_path / "job" / "recipe.yaml"
    path.write_text(path.read_text().replace("max_drop: 0.05", "max_drop: 0.0").replace("learning_rate: 3.0e-2}", "learning_rate: 1.0e-12}"))
    report, _ = run(count=5, first=20, each=20, random_arm=False)
    done = rounds_of(report)
    assert len(done) == 3  # a student that doesn't learn gains nothing in the second nor in the third
    assert done[-1]["stopped"] == "the last 2 rounds brought nothing on validation"


def test_a_random_arm_beside_random_rows_is_refused(run):
    with pytest.raises(RecipeError, match="shows nothing"):
        run(count=2, choose="random", random_arm=True)


@pytest.mark.slow
def test_rounds_never_read_the_test_rows(run, tmp_path):
    run(count=3, first=40, each=50, stop=False)
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    read = [i for i, event in enumerate(events) if event.get("event") == "test.read" or event.get("name") == "test.read"]
    chosen = [i for i, event in enumerate(events) if "choose" in json.dumps(event)]
    assert len(read) == 1
    assert max(chosen) < read[0]
