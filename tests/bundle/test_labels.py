"""A bundle whose student tells any number of labels: probes keep them, and a changed decision is found."""

from __future__ import annotations

import json

import numpy as np
import pytest

from potstill.bundle.read import read
from potstill.bundle.verify import replay, verify
from potstill.serving.predictor import Predictor
from tests.bundle.test_bundle import packed
from tests.serving.test_labels import many


@pytest.fixture
def bundle(tmp_path):
    return packed(tmp_path / "bundle", many(tmp_path / "source"))


def test_it_is_whole_and_its_probes_hold_lists_of_labels(bundle):
    assert verify(bundle, Predictor.open) == []
    told = {probe.name: probe.label for probe in read(bundle).probes.probes}
    assert told["empty"] == ["yes", "maybe"]
    assert all(isinstance(labels, list) for labels in told.values())


class Nudged:
    """A predictor whose every log-odds is off by so much."""

    def __init__(self, inner, by):
        self.inner, self.by, self.labels, self.thresholds = inner, by, inner.labels, inner.thresholds

    def predict(self, rows):
        return self.inner.predict(rows) + np.float32(self.by)

    def decide(self, scores):
        return self.inner.decide(scores)


def test_log_odds_that_are_off_are_found(bundle):
    found = replay(bundle, Nudged(Predictor.open(bundle), 0.5))
    assert found
    assert "is off by 0.5" in found[0].message


def test_a_decision_that_was_no_toss_up_is_found(bundle):
    path = bundle / "probes.json"
    probes = json.loads(path.read_text())
    probes["probes"][0]["label"] = ["no"]
    path.write_text(json.dumps(probes))
    (found,) = replay(bundle, Predictor.open(bundle))
    assert "answers 'yes, maybe', stored is 'no'" in found.message


def test_a_toss_up_may_fall_either_way(bundle):
    """A stored log-odds right at its threshold: whether the label is told hangs on the last digit."""
    path = bundle / "probes.json"
    probes = json.loads(path.read_text())
    first = probes["probes"][0]
    first["label"] = ["yes"]  # "maybe" has the log-odds 0 and the threshold 0
    path.write_text(json.dumps(probes))
    assert replay(bundle, Predictor.open(bundle)) == []
