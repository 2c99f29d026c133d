from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoModelForSequenceClassification

from potstill.errors import TeacherError
from potstill.records import Answered, Example, Failed, Head, Want
from potstill.teachers import build
from tests import tiny

LOGPROBS = Want("logprobs")
LABELS = ("neg", "neu", "pos")
HEAD = Head("classes", LABELS)
TEXTS = ["the movie was awful", "good", "chronic pain in the left lung, and fever", "a cat!", "the dog and the bird see the small house"]


def spec(path, **options):
    defaults = {
        "kind": "onnx", "model": str(path), "tokenizer": None, "labels": None, "output": "logits", "max_length": 16, "batch_size": 2,
        "license": "mit", "output_license": "mit", "usd_per_1000": 0.0,
    }  # fmt: skip
    return SimpleNamespace(**{**defaults, **options})


def model_spec(folder):
    told = {"max_length": 16, "batch_size": 2, "precision": "fp32", "labels": {}, "license": "", "output_license": "", "usd_per_1000": 0.0}
    return SimpleNamespace(kind="model", model=str(folder), **told)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.classifier(tmp_path_factory.mktemp("model"), LABELS)


@pytest.fixture(scope="module")
def path(folder, tmp_path_factory):
    return tiny.graph(folder, tmp_path_factory.mktemp("graph") / "teacher.onnx")


def rows(texts=TEXTS):
    return [Example.make({"text": text}) for text in texts]


def said(teacher, given=None):
    answers = dict(teacher.answer(given or rows(), [LOGPROBS]))
    return np.concatenate([answers[row.id].arrays[LOGPROBS] for row in given or rows()])


@pytest.fixture(scope="module")
def expected(folder):
    return said(build(model_spec(folder), HEAD))


def test_it_answers_as_the_model_that_it_was_made_of(path, expected):
    teacher = build(spec(path), HEAD)
    np.testing.assert_allclose(said(teacher), expected, atol=1e-5)
    assert len(set(expected.argmax(1))) > 1
    assert teacher.offers() == {"logprobs"}


def test_pairs_and_single_texts_may_be_mixed(path, folder):
    pair = Example.make({"text": "the movie was awful", "text_pair": "good cat"})
    mixed = [rows()[0], pair, rows()[1]]
    np.testing.assert_allclose(said(build(spec(path), HEAD), mixed), said(build(model_spec(folder), HEAD), mixed), atol=1e-5)


def test_the_batch_changes_no_answer(path):
    one, many = (said(build(spec(path, batch_size=size), HEAD)) for size in (1, 64))
    np.testing.assert_allclose(one, many, atol=1e-5)


def test_labels_are_aligned_by_name(path, expected):
    turned = Head("classes", ("pos", "neg", "neu"))
    np.testing.assert_allclose(said(build(spec(path), turned)), expected[:, [2, 0, 1]], atol=1e-5)
    other = Head("classes", ("bad", "fair", "good"))
    np.testing.assert_allclose(said(build(spec(path, labels=["bad", "fair", "good"]), other)), expected, atol=1e-5)
    with pytest.raises(TeacherError, match=r"the task has \['bad', 'fair', 'good'\](?s:.*)name the outputs in their order"):
        build(spec(path), other)


def test_probabilities(folder, tmp_path, expected):
    path = tiny.graph(folder, tmp_path / "teacher.onnx", probabilities=True)
    np.testing.assert_allclose(said(build(spec(path, output="probabilities"), HEAD)), expected, atol=1e-4)


def test_logits_that_are_taken_for_probabilities_fail_row_by_row(path):
    answers = dict(build(spec(path, output="probabilities"), HEAD).answer(rows(), [LOGPROBS]))
    assert {type(answer) for answer in answers.values()} == {Failed}
    assert any("below 0" in answer.reason or "sum to" in answer.reason for answer in answers.values())


def test_an_encoder_without_a_head_names_the_remedy(folder, tmp_path):
    encoder = tiny.graph(folder, tmp_path / "encoder.onnx", head=False)
    with pytest.raises(TeacherError, match=r"no classification head: it gives last_hidden_state(?s:.*)adapt: \{how: finetune\}"):
        build(spec(encoder), HEAD)


def test_what_is_missing_or_does_not_fit_is_named(path, tmp_path):
    with pytest.raises(TeacherError, match="no such file"):
        build(spec(tmp_path / "gone.onnx", tokenizer=str(path.with_name("tokenizer.json")), labels=list(LABELS)), HEAD)
    alone = shutil.copy(path, tmp_path / "alone.onnx")
    with pytest.raises(TeacherError, match=r"no tokenizer(?s:.*)tokenizer\.json beside"):
        build(spec(alone), HEAD)
    with pytest.raises(TeacherError, match="which class each output stands for"):
        build(spec(alone, tokenizer=str(path.with_name("tokenizer.json"))), HEAD)
    with pytest.raises(TeacherError, match="3 scores for 2 labels"):
        build(spec(path, labels=["neg", "pos"]), Head("classes", ("neg", "pos")))
    (tmp_path / "broken.onnx").write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(TeacherError, match=r"no ONNX file|can't be opened"):
        build(spec(tmp_path / "broken.onnx", tokenizer=str(path.with_name("tokenizer.json")), labels=list(LABELS)), HEAD)


def test_texts_longer_than_the_graph_takes_are_found_at_once(path):
    with pytest.raises(TeacherError, match=r"text of 129 tokens(?s:.*)max_length"):
        build(spec(path, max_length=129), HEAD)


def test_an_input_that_text_does_not_give(tmp_path, path):
    node = helper.make_node("Identity", ["pixels"], ["logits"])
    told = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 3]) for name in ("pixels", "logits")]
    onnx.save(
        helper.make_model(helper.make_graph([node], "g", told[:1], told[1:]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "p.onnx"
    )
    with pytest.raises(TeacherError, match="wants 'pixels'"):
        build(spec(tmp_path / "p.onnx", tokenizer=str(path.with_name("tokenizer.json")), labels=list(LABELS)), HEAD)


def test_identity_is_model_tokenizer_length_and_names(path, tmp_path):
    base = build(spec(path), HEAD).identity()
    moved = tmp_path / "moved"
    shutil.copytree(path.parent, moved)
    same = [build(spec(moved / path.name, batch_size=9, license="x"), HEAD), build(spec(path), Head("classes", LABELS[::-1]))]
    assert {teacher.identity() for teacher in same} == {base}
    tokens = json.loads((moved / "tokenizer.json").read_text())
    tokens["normalizer"]["lowercase"] = False
    (moved / "tokenizer.json").write_text(json.dumps(tokens))
    others = [build(spec(moved / path.name), HEAD), build(spec(path, max_length=15), HEAD), build(spec(path, labels=["pos", "neu", "neg"]), HEAD)]
    assert len({base, *(teacher.identity() for teacher in others)}) == 4


def test_a_model_that_keeps_its_weights_outside(path, tmp_path, expected):
    for file in ("tokenizer.json", "config.json"):
        shutil.copy(path.with_name(file), tmp_path)
    big = tmp_path / "big.onnx"
    onnx.save_model(onnx.load(path), big, save_as_external_data=True, location="big.data", size_threshold=0)
    teacher = build(spec(big), HEAD)
    np.testing.assert_allclose(said(teacher), expected, atol=1e-5)
    before = teacher.identity()
    assert teacher.facts()["size_bytes"] > (tmp_path / "big.data").stat().st_size
    data = bytearray((tmp_path / "big.data").read_bytes())
    data[100] ^= 1
    (tmp_path / "big.data").write_bytes(bytes(data))
    assert build(spec(big), HEAD).identity() != before
    (tmp_path / "big.data").unlink()
    with pytest.raises(TeacherError, match=r"a part of the model is missing"):
        build(spec(big), HEAD)


def test_a_graph_whose_batch_shares_a_scale_is_asked_row_by_row(path, tmp_path):
    for file in ("tokenizer.json", "config.json"):
        shutil.copy(path.with_name(file), tmp_path)
    quantize_dynamic(str(path), str(tmp_path / "int8.onnx"), weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
    teacher = build(spec(tmp_path / "int8.onnx", batch_size=64), HEAD)
    alone = np.concatenate([said(teacher, [row]) for row in rows()])
    np.testing.assert_array_equal(said(teacher), alone)


def test_facts(path, folder):
    facts = build(spec(path), HEAD).facts()
    json.dumps(facts)
    assert facts["size_bytes"] >= path.stat().st_size
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    count = sum(p.numel() for p in model.parameters())
    assert 0.95 * count < facts["parameters"] <= count  # the exporter keeps one of several equal biases of an untrained model


def test_text_that_is_no_unicode_fails_alone(path):
    bad = Example("x", {"text": "half \ud83d of a pair"})
    answers = dict(build(spec(path), HEAD).answer([bad, rows()[0]], [LOGPROBS]))
    assert isinstance(answers["x"], Failed)
    assert isinstance(answers[rows()[0].id], Answered)


def test_it_gives_log_probabilities_alone(path):
    with pytest.raises(TeacherError, match="hidden"):
        list(build(spec(path), HEAD).answer(rows(), [Want("hidden", layer=1)]))
