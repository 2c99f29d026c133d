"""A decoder with a classification head as teacher: its answers are those that transformers gives to each text alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from potstill.errors import TeacherError
from potstill.records import Head, Want
from potstill.students.transformer import cut
from potstill.teachers import build
from tests import tiny
from tests.teachers.test_model import HEAD, TEXTS, rows, spec

LOGPROBS, VECTOR = Want("logprobs"), Want("vector")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("decoder")
    cut(tiny.decoder(place / "given"), HEAD, layers=None, fields=("text",), seed=0, max_length=16).save_model(place / "model")
    return place / "model"


def alone(folder, text):
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=16), output_hidden_states=True)


def test_its_answers_are_each_text_s_own(folder):
    hidden = [Want("hidden", layer=layer) for layer in range(4)]
    said = dict(build(spec(folder, batch_size=32), HEAD).answer(rows(), [LOGPROBS, VECTOR, *hidden]))
    for row in rows():
        expected, arrays = alone(folder, row.fields["text"]), said[row.id].arrays
        np.testing.assert_allclose(arrays[LOGPROBS], expected.logits.log_softmax(-1).numpy(), atol=1e-5)
        np.testing.assert_allclose(arrays[VECTOR], expected.hidden_states[-1].mean(1).numpy(), atol=1e-5)
        for want in hidden:
            np.testing.assert_allclose(arrays[want], expected.hidden_states[want.layer][0].numpy(), atol=4e-3, rtol=2e-3)
    assert len({int(said[row.id].arrays[LOGPROBS].argmax()) for row in rows()}) > 1


def test_teacher_and_student_read_the_same_tokens(folder):
    layer = Want("hidden", layer=0)
    said = dict(build(spec(folder), HEAD).answer(rows(), [layer]))
    student = cut(folder, HEAD, layers=[0], fields=("text",), seed=0, max_length=16)
    items = student.preprocess.encode([row.fields for row in rows()])
    batch = {name: torch.from_numpy(array) for name, array in student.preprocess.collate(items).items()}
    with torch.inference_mode():
        own = student.forward(batch, hidden=True).hidden[0].numpy()
    np.testing.assert_allclose(own, np.concatenate([said[row.id].arrays[layer] for row in rows()]), atol=4e-3)


def test_facts(folder):
    facts = build(spec(folder), HEAD).facts()
    assert (facts["layers"], facts["width"], facts["architecture"]) == (3, 32, "LlamaForSequenceClassification")
    assert json.dumps(facts)


def test_a_language_model_alone_names_the_remedy(tmp_path):
    with pytest.raises(TeacherError, match="how: finetune"):
        build(spec(tiny.decoder(tmp_path / "d")), HEAD)


@pytest.mark.parametrize("token", [None, 5])
def test_model_and_tokenizer_must_pad_with_the_same_token(folder, tmp_path, token):
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    model.config.pad_token_id = token
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "m")
    if token is None:  # said by one of them alone: so it is that one
        answers = build(spec(tmp_path / "m"), HEAD).predict([{"text": text} for text in TEXTS])
        np.testing.assert_allclose(answers, build(spec(folder), HEAD).predict([{"text": text} for text in TEXTS]), atol=1e-5)
    else:
        with pytest.raises(TeacherError, match="takes token 5 for padding"):
            build(spec(tmp_path / "m"), Head("classes", HEAD.labels))


def test_padding_on_the_left_changes_no_answer(folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    AutoModelForSequenceClassification.from_pretrained(folder).save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    answers = build(spec(tmp_path / "m", batch_size=32), HEAD).predict([{"text": text} for text in TEXTS])
    np.testing.assert_allclose(answers, build(spec(folder), HEAD).predict([{"text": text} for text in TEXTS]), atol=1e-5)
