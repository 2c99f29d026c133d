"""A predictor of any number of labels: log-odds at its temperature, each label told from its threshold on; and the lines it prints."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit

from potstill import storage
from potstill.errors import BundleError
from potstill.serving.predictor import REPLACED, SCHEMA, SCHEMAS, Predictor
from potstill.serving.stream import predict_lines
from tests.serving.graphs import LABELS, artifact, logits

TEXTS = ["one two three four", "", "five", "seven eight"]
ROWS = [{"text": text} for text in TEXTS]
CUTS = [0.5, -0.25, 0.0]


def many(folder, *, thresholds=CUTS, temperature=2.0, **more):
    head = {"kind": "labels", "labels": list(LABELS)} | ({} if thresholds is None else {"thresholds": thresholds})
    return artifact(folder, temperature=temperature, **{"schema": 2, "head": head, **more})


def test_scores_are_tempered_log_odds_and_thresholds_decide(tmp_path):
    predictor = Predictor.open(many(tmp_path))
    said = predictor.predict(ROWS)
    assert said.dtype == np.float32
    np.testing.assert_allclose(said, logits(TEXTS) / 2, atol=1e-5)
    expected = [[LABELS[i] for i in range(3) if row[i] >= CUTS[i]] for row in logits(TEXTS) / 2]
    assert predictor.decide(said) == expected
    assert len({tuple(row) for row in expected}) > 1
    np.testing.assert_allclose(predictor.probabilities(said), expit(logits(TEXTS) / 2), atol=1e-6)


def test_without_thresholds_one_half_decides(tmp_path):
    predictor = Predictor.open(many(tmp_path, thresholds=None))
    assert predictor.thresholds.tolist() == [0, 0, 0]
    assert predictor.decide(np.array([[0.1, -0.1, 0.0]], np.float32)) == [["no", "maybe"]]
    assert predictor.decide(np.full((1, 3), -1.0, np.float32)) == [[]]


def test_classes_have_no_thresholds(tmp_path):
    predictor = Predictor.open(artifact(tmp_path))
    assert predictor.thresholds.tolist() == [0, 0, 0]
    np.testing.assert_allclose(predictor.probabilities(predictor.predict(ROWS)).sum(axis=1), 1, atol=1e-6)


def test_lines_tell_labels_and_their_probabilities(tmp_path):
    answers = list(predict_lines(Predictor.open(many(tmp_path)), ["one two three four\n", '{"text": ""}', "no object"]))
    json.dumps(answers, allow_nan=False)
    assert set(answers[0]) == {"labels", "scores"}
    assert isinstance(answers[0]["labels"], list)
    assert answers[1] == {"labels": ["yes", "maybe"], "scores": {"no": 0.5, "yes": 0.5, "maybe": 0.5}}  # log-odds 0: over -0.25 and 0, under 0.5
    assert answers[2]["line"] == 3


@pytest.mark.parametrize(("head", "words"), [
    ({"thresholds": [0.0, 1.0]}, "2 thresholds for 3 labels"), ({"thresholds": [0.0, 1.0, float("inf")]}, "no number"), ({"kind": "pixels"}, "unknown kind"),
    ({"kind": "tokens"}, "language model"),
])  # fmt: skip
def test_a_spoilt_head_is_refused(tmp_path, head, words):
    folder = many(tmp_path)
    described = storage.read_json(folder / "artifact.json")
    described["head"] |= head
    (folder / "artifact.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match=words):
        Predictor.open(folder)


def test_an_older_potstill_refuses_what_it_would_misread():
    """Its schema was 1: an artifact of labels says 2, and one that reads replaced texts 3."""
    assert (SCHEMA, REPLACED, SCHEMAS["labels"], SCHEMAS["tokens"]) == (4, 3, 2, 4)
