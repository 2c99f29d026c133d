"""Traps of changed texts: another model asked than the one that ships, and no turned answer taken for certainty."""

from __future__ import annotations

import numpy as np
import pytest

from potstill import steps
from potstill.evaluation.metrics import Accuracy
from potstill.evaluation.perturbations import changed
from potstill.evaluation.robustness import Sides, excess_interval
from potstill.serving.predictor import Predictor
from tests.evaluation.draws import sure
from tests.flow.until import one_student, until_tested
from tests.small import job


def test_trap_56_what_ships_is_asked_about_changed_texts(tmp_path):
    """The sealed artifact, calibrated; its answers to the rows, changed again, are those of the step."""
    recipe = job(tmp_path / "job", train=150, pool=100, test=120, recipe=one_student("robustness: {arms: [typos]}\n"))
    with until_tested(recipe, tmp_path / "run") as at:
        stage = steps.robustness(at.work, at.data, at.teaching, at.candidates, at.opened)
    candidate = at.candidates[0]
    assert candidate.temperature != 1  # so that what was trained says something else
    again = Predictor.open(candidate.artifact.folder).predict([changed(row, "typos").fields for row in at.opened.rows])
    with np.load(stage.folder / "logprobs.npz") as kept:
        assert kept["ngram.distilled.0.typos"] == pytest.approx(again, abs=1e-5)
    told = stage.read()["models"]["ngram.distilled.0"][0]
    assert told["value"] == pytest.approx((again.argmax(axis=1) == at.opened.gold).mean())
    assert told["clean"] == pytest.approx((at.opened.logprobs["ngram.distilled.0"].argmax(axis=1) == at.opened.gold).mean())


def test_trap_55_no_turned_answer_is_no_certainty():
    gold = np.zeros(200, int)
    same = Sides(sure(gold, 2), sure(gold, 2))
    found = excess_interval(Accuracy(2), gold, same, same, None, 0.025)
    assert found.low < -0.01
    assert found.high > 0.01
