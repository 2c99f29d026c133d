"""Teachers of any number of labels a row: a model with sigmoids, and recorded answers; the wrong kind is refused both ways."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from potstill.errors import TeacherError
from potstill.records import Answered, Example, Failed, Head, Want
from potstill.teachers import build
from potstill.teachers.distributions import FLOOR
from tests import tiny

LOGODDS = Want("logodds")
MANY, ONE = Head("labels", ("a", "b", "c")), Head("classes", ("a", "b", "c"))
SURE = math.log(1 - FLOOR) - math.log(FLOOR)


def model_spec(folder, **options):
    defaults = {
        "kind": "model", "model": str(folder), "max_length": 16, "batch_size": 2, "precision": "fp32", "labels": {}, "license": "mit",
        "output_license": "mit", "usd_per_1000": 0.0,
    }  # fmt: skip
    return SimpleNamespace(**{**defaults, **options})


def classifier(folder, problem, labels=("a", "b", "c")):
    tiny.classifier(folder, labels)
    config = AutoConfig.from_pretrained(folder)
    config.problem_type = problem
    config.save_pretrained(folder)
    return folder


def test_log_odds_are_the_models_logits_in_the_task_s_order(tmp_path):
    folder = classifier(tmp_path, "multi_label_classification", ("c", "a", "b"))
    teacher = build(model_spec(folder), MANY)
    assert teacher.offers() == {"logodds", "hidden", "vector", "qkv"}
    rows = [Example.make({"text": text}) for text in ("the movie was awful", "good", "")]
    said = dict(teacher.answer(rows, [LOGODDS, Want("hidden", layer=1)]))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    for row in rows:
        with torch.no_grad():
            expected = model(**tokenizer(row.fields["text"], return_tensors="pt")).logits[:, [1, 2, 0]].numpy()
        array = said[row.id].arrays[LOGODDS]
        assert (array.shape, array.dtype) == ((1, 3), np.float32)
        np.testing.assert_allclose(array, expected, atol=1e-5)
        np.testing.assert_allclose(teacher.predict([row.fields]), expected, atol=1e-5)


@pytest.mark.parametrize(("problem", "head", "words"), [
    ("multi_label_classification", ONE, "multi-label-classification, and one label applies"),
    ("regression", ONE, "regression, and one label applies"),
    ("single_label_classification", MANY, "single-label-classification, and any number"),
    ("regression", MANY, "regression, and any number"),
    (None, MANY, "no stated kind of classification, and any number"),  # what its scores were made for shows nowhere else
])  # fmt: skip
def test_a_model_of_the_other_kind_is_refused_both_ways(tmp_path, problem, head, words):
    with pytest.raises(TeacherError, match=words) as error:
        build(model_spec(classifier(tmp_path, problem)), head)
    assert "adapt: {how: finetune}" in error.value.remedy


@pytest.mark.parametrize("problem", ["single_label_classification", None])
def test_a_model_of_one_label_a_row_is_taken_as_before(tmp_path, problem):
    assert build(model_spec(classifier(tmp_path, problem)), ONE).offers() == {"logprobs", "hidden", "vector", "qkv"}


# ------------------------------------------------------------------------------------------------------------- recorded
def recorded(folder, rows, head=MANY, **options):
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    defaults = {
        "kind": "recorded", "path": str(path), "columns": {}, "labels": {}, "name": "gpt", "license": "unknown", "output_license": "mit",
        "label_separator": "|",
    }  # fmt: skip
    return build(SimpleNamespace(**{**defaults, **options}), head)


def said(teacher, *texts):
    rows = [Example.make({"text": text}) for text in texts]
    answers = dict(teacher.answer(rows, [LOGODDS]))
    return [answers[row.id].arrays[LOGODDS][0] if isinstance(answers[row.id], Answered) else answers[row.id] for row in rows]


@pytest.mark.parametrize("column", ["labels", "label"])
@pytest.mark.parametrize("value", [["a", "c"], "a|c", '["a", "c"]'])
def test_recorded_labels_are_all_but_certain(tmp_path, column, value):
    teacher = recorded(tmp_path, [{"text": "x", column: value}])
    np.testing.assert_allclose(said(teacher, "x")[0], [SURE, -SURE, SURE], rtol=1e-5)
    assert teacher.facts()["one_hot"] is True
    assert teacher.offers() == {"logodds"}


def test_an_empty_list_is_an_answer_and_nothing_is_none(tmp_path):
    teacher = recorded(tmp_path, [{"text": "x", "labels": []}, {"text": "y", "labels": None}])
    none, missing = said(teacher, "x", "y")
    np.testing.assert_allclose(none, [-SURE] * 3, rtol=1e-5)
    assert isinstance(missing, Failed)


@pytest.mark.parametrize("row", [
    {"probabilities": {"a": 0.9, "c": 0.5}}, {"probabilities": [0.5, 0.9, 0.0], "labels": ["c", "a", "b"]},
    {"logprobs": {"a": math.log(0.9), "c": math.log(0.5)}},
    {"logodds": {"a": math.log(9), "b": -SURE, "c": 0.0}},
])  # fmt: skip
def test_each_label_has_a_probability_of_its_own(tmp_path, row):
    teacher = recorded(tmp_path, [{"text": "x", **row}])
    np.testing.assert_allclose(said(teacher, "x")[0], [math.log(9), -SURE, 0], atol=1e-4)
    assert teacher.facts()["one_hot"] is False


def test_a_log_probability_near_0_keeps_its_digits(tmp_path):
    teacher = recorded(tmp_path, [{"text": "x", "logprobs": {"a": math.log1p(-1e-5)}}])
    assert said(teacher, "x")[0][0] == pytest.approx(math.log((1 - 1e-5) / 1e-5), rel=1e-6)


@pytest.mark.parametrize(("row", "words"), [
    ({"probabilities": {"a": 1.2}}, "not between 0 and 1"), ({"logprobs": {"a": 0.1}}, "above 0"), ({"labels": ["d"]}, "'d' is none of the task's"),
    ({"labels": 3}, "neither a list nor a text"), ({"logodds": {"a": float("nan")}}, "NaN"),
])  # fmt: skip
def test_what_is_no_answer_is_named(tmp_path, row, words):
    with pytest.raises(TeacherError) as error:
        recorded(tmp_path, [{"text": "x", **row}])
    assert words in str(error.value.remedy)


def test_the_same_recording_is_another_teacher_for_one_label_a_row(tmp_path):
    rows = [{"text": "x", "label": "a"}]
    assert recorded(tmp_path, rows).identity() != recorded(tmp_path, rows, ONE).identity()
    assert recorded(tmp_path, rows).identity() != recorded(tmp_path, rows, label_separator=",").identity()
