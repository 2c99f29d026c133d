"""Lines in, as many answers out, each beside its line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from potstill.serving.predictor import Predictor
from potstill.serving.stream import predict_lines
from tests.serving.graphs import LABELS, artifact, expected


@pytest.fixture
def predictor(tmp_path):
    return Predictor.open(artifact(tmp_path))


def ask(predictor, *lines, batch=64):
    answers = list(predict_lines(predictor, lines, batch=batch))
    json.dumps(answers, allow_nan=False)
    return answers


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_texts(predictor, batch):
    texts = ["one two", "", "three", "{not json", "[1]", "3", '"quoted"']
    answers = ask(predictor, *(f"{text}\n" for text in texts), batch=batch)
    wanted = np.exp(expected(texts))
    for answer, probabilities in zip(answers, wanted, strict=True):
        assert answer["label"] == LABELS[probabilities.argmax()]
        assert answer["score"] == max(answer["scores"].values()) == pytest.approx(probabilities.max(), abs=1e-5)
        assert list(answer["scores"]) == list(LABELS)


def test_objects(predictor):
    plain, object_, more = ask(predictor, "one two", '{"text": "one two"}', ' {"id": 3, "text": "one two"}\r\n')
    assert plain == object_ == more


def test_what_can_t_be_read_is_said_beside_its_line(predictor):
    lines = ['{"text": "one"}', '{"txt": "one"}', '{"text": 3}', "one", "{broken", '{"text": "two"}']
    answers = ask(predictor, *lines, batch=2)
    assert [answer.get("line") for answer in answers] == [None, 2, 3, 4, 5, None]
    assert "did you mean 'txt'?" in answers[1]["error"]
    assert all("a JSON object with text is wanted" in answer["error"] for answer in answers[1:5])
    assert ask(predictor, '{"text": "two"}')[0] == answers[-1]


def test_pairs_need_objects(tmp_path):
    predictor = Predictor.open(artifact(tmp_path, fields=("text", "text_pair")))
    first, second, third = ask(predictor, '{"text": "a", "text_pair": "b"}', '{"text": "a"}', "a b")
    assert first["label"] in LABELS
    assert "no text in text_pair" in second["error"]
    assert third["line"] == 3


def test_a_deep_object_and_half_characters_are_lines_like_others(predictor):
    answers = ask(predictor, "{" * 100_000, '{"text": "\\ud83d half"}')
    assert [("label" in answer) for answer in answers] == [True, True]


def test_answers_come_before_all_lines_were_read(predictor):
    def lines():
        yield from ["one", "two"]
        raise AssertionError("asked for more than a batch")

    assert next(predict_lines(predictor, lines(), batch=2))["label"] in LABELS
