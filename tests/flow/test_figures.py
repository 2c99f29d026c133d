"""What the report tells of each model on the test rows: the same rows for all, groups respected, seeds together, reasons for nulls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from potstill import steps
from potstill.evaluation.rows import quality_interval, seeds_interval
from potstill.evaluation.slices import slices
from potstill.steps import models, notes
from potstill.steps.figures import alone, figures
from potstill.steps.teach import main_metric
from tests.flow.until import one_student, until_tested
from tests.small import job


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    recipe = job(folder / "job", train=150, pool=100, test=120, recipe=one_student("seeds: [0, 1]\n"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        with until_tested(recipe, folder / "run") as found:
            yield found


def told(at, opened):
    return figures(at.work, at.data, at.candidates[0], at.models, opened)


def controls_of(at):
    return [m for m in at.models if m.arm == "control"]


def told_alone(at, model):
    return alone(at.work, at.data, at.opened, at.opened.logprobs[model.name])


def test_seeds_are_told_one_by_one_and_together(at):
    found = told(at, at.opened)
    ours = [m.name for m in at.models if m.arm == "distilled"]
    assert [one["seed"] for one in found["by_seed"]] == [0, 1]
    expected = seeds_interval(
        main_metric(at.work, at.data), gold=at.opened.gold, against=[at.opened.logprobs["teacher"]],
        students=[at.opened.logprobs[name] for name in ours], groups=None, alpha=0.025,
    )  # fmt: skip
    assert found["over_seeds"]["quality_drop"] == pytest.approx(expected.__dict__)
    gains = [one["quality"]["accuracy"] - told_alone(at, m)["quality"]["accuracy"] for one, m in zip(found["by_seed"], controls_of(at))]
    assert found["over_seeds"]["gain"]["value"] == pytest.approx(np.mean(gains))
    drop = found["over_seeds"]["quality_drop"]["value"]
    assert found["over_seeds"]["control_drop"]["value"] == pytest.approx(drop + np.mean(gains))
    assert found["over_seeds"]["quality"]["value"] == pytest.approx(np.mean([one["quality"]["accuracy"] for one in found["by_seed"]]))
    assert figures(at.work, at.data, at.candidates[0], at.models[:1], at.opened)["over_seeds"] is None


def test_everyone_is_judged_on_the_same_rows_where_the_teacher_left_some_out(at):
    """A control that is right on the rows that the teacher refused must not look better beside its student for it."""
    logprobs = {name: array.copy() for name, array in at.opened.said.items()}
    refused = np.arange(40)
    logprobs["teacher"][refused] = np.nan
    control = at.candidates[0].control.name
    logprobs[control][refused] = np.log(np.eye(3)[at.opened.gold[refused]] * 0.9 + 0.1 / 3)
    opened = replace(at.opened, said=logprobs)
    found, rest = told(at, opened), slice(40, None)
    right = (logprobs[control][rest].argmax(axis=1) == opened.gold[rest]).mean()
    assert found["control"]["quality"]["accuracy"] == pytest.approx(right)
    assert found["control"]["gain"]["value"] == pytest.approx(found["quality"]["accuracy"] - right)
    assert found["control"]["gain"]["n"] == found["quality_drop"]["n"] == found["quality_intervals"]["accuracy"]["n"] == 80
    floor = alone(at.work, at.data, opened, logprobs["floor"])
    assert found["gain_floor"]["value"] == pytest.approx(found["quality"]["accuracy"] - floor["quality"]["accuracy"])


def test_groups_widen_slices_and_qualities(at):
    opened = replace(at.opened, rows=tuple(replace(row, group=str(i // 4)) for i, row in enumerate(at.opened.rows)))
    found = told(at, opened)
    student, metric = opened.logprobs[at.candidates[0].model.name], main_metric(at.work, at.data)
    expected = quality_interval(metric, opened.gold, student, opened.groups, 0.025)
    assert found["quality_intervals"]["accuracy"] == pytest.approx(expected.__dict__)
    labels = {"label": [str(row.gold) for row in opened.rows]}
    by_label = slices(labels, opened.gold, opened.logprobs["teacher"], student, groups=opened.groups)
    apart = slices(labels, opened.gold, opened.logprobs["teacher"], student)
    own = {row["value"]: row["drop"] for row in found["slices"] if row["column"] == "label"}
    assert own == {row["value"]: pytest.approx(row["drop"]) for row in by_label}
    assert own != {row["value"]: row["drop"] for row in apart}


def test_the_notes_tell_of_a_teacher_that_the_floor_beats(at):
    evidence = evidence_of(at)
    made = {"metric": "accuracy", "students": [], "data": {"test_reads": 1}}
    assert notes.against_floor(at.work, evidence).high < 0  # the small job's words are TF-IDF's own
    assert any("the teacher is below TF-IDF with a linear model" in line for line in notes.notes(at.work, evidence, made))
    baselines = models.baselines(at.work, evidence)
    assert [base["name"] for base in baselines] == ["majority", "TF-IDF + linear"]
    for base in baselines:
        found = base["quality_intervals"]["accuracy"]
        assert found["low"] <= base["quality"]["accuracy"] <= found["high"]


def evidence_of(at):
    stage = steps.robustness(at.work, at.data, at.teaching, at.candidates, at.opened)
    standing = steps.standing(at.work, at.data, at.teaching)
    return steps.Evidence(at.data, at.teaching, standing, steps.Augmented(), [], {}, at.models, at.candidates, stage, at.opened, stage)


def test_what_is_null_has_its_reason(at):
    made = {"students": [{"retention": None}]}
    measured = {"measured": {"ngram": {"energy_j_per_1000": None, "energy_reason": "no meter"}}}
    found = notes.unmeasured(evidence_of(at), made, measured)
    assert found["energy_j_per_1000"] == "no meter"
    assert "can't be timed" in found["teacher.latency_ms"]
    assert {"ceiling", "retention", "speedup"} <= set(found)
    assert "control" not in found
    bare = replace(evidence_of(at), data=replace(at.data, validation=replace(at.data.validation, examples=(replace(at.opened.rows[0], gold=None),))))
    assert "no gold" in notes.unmeasured(bare, made, measured)["control"]
