"""A run's bundle gets its policy from the run's own clean rows, and is served with the run's own, adapted teacher behind it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from potstill import distill
from potstill.bundle.read import digest, manifest
from potstill.cascade.policy import read
from potstill.dataset.prepare import read_split
from potstill.standby import Asked as Standby
from potstill.steps.data import halves
from tests.cli.conftest import potstill
from tests.serving.live import serving
from tests.small import RECIPE, job

__all__ = ["potstill"]
ONE = RECIPE[: RECIPE.index("students:")] + "students: [{name: ngram, kind: ngram, buckets: 1024, dimensions: 16, epochs: 4, learning_rate: 3.0e-2}]\n"
ONE += "requirement: {quality: {metric: accuracy, max_drop: 0.1, confidence: 0.95}}\ntraining: {evaluations: 2}\nthreads: 1\n"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cascade")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder / "home"))
        distill(job(folder / "job", recipe=ONE), output=folder / "run")
        yield folder / "run"


@pytest.fixture
def home(run, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(run.parent / "home"))


def test_the_policy_is_of_the_bundle_and_the_clean_half(run, potstill):
    done = potstill("cascade", "fit", run, "--risk", "0.25", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    (data,) = (run / "stages").glob("data-*")
    clean = halves(read_split(data, "calibration"))[1]
    assert told["rule"]["n"] == len(clean)
    assert read(run / "bundle.policy.json", bundle=digest(manifest(run / "bundle"))).certifies
    against = json.loads(potstill("cascade", "fit", run, "--risk", "0.25", "--against", "teacher", "--json", "--output", run / "fidelity.json").out)
    assert against["against"] == "teacher"
    assert against["rule"]["n"] == len(clean)


def test_it_is_served_with_the_runs_teacher_behind_it(run, potstill, home):
    assert potstill("cascade", "fit", run, "--risk", "0.25").code == 0
    policy = read(run / "bundle.policy.json")
    (data,) = (run / "stages").glob("data-*")
    rows = [dict(row.fields) for row in read_split(data, "test")[:60]]
    with serving(run, "--policy", run / "bundle.policy.json", "--teacher", run, folder=run) as running, running.client() as client:
        found = client.post("/v1/predict", json={"inputs": rows}).json()["predictions"]
        running.stop()
        assert json.loads(running.told.read_text()) == []
    by = [one["served_by"] for one in found]
    assert "student" in by
    assert [one["confidence"] > policy.rule.threshold for one in found] == [who == "student" for who in by]
    from potstill.records import Head
    from potstill.serving.predictor import Predictor

    predictor = Predictor.open(run / "bundle")
    expected = Standby(run, Head("classes", predictor.labels), 1).scores(rows)
    for one, scores, who in zip(found, expected, by):
        if who == "teacher":
            assert one["label"] == predictor.labels[int(np.argmax(scores))]


def test_a_teacher_that_is_not_at_hand_is_not_made_anew(run):
    from potstill.errors import UserError
    from potstill.standby import told

    with pytest.raises(UserError, match="not on this machine"):
        told(run)  # another home: the adapted teacher is not there
