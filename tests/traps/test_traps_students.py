"""Traps of students and of adapting: what is saved, whose label is whose, which inputs a pair has."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from potstill.objectives.hidden import Projection
from potstill.records import Example, Head, Split
from potstill.students import build
from potstill.tasks import task as task_named
from potstill.training import adapt as module
from tests import tiny

LABELS = ("cat", "dog", "emu")
PAIR = [{"text": "good film", "text_pair": "the worst service, never again"}, {"text": "a very long night", "text_pair": ""}]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.classifier(tmp_path_factory.mktemp("source") / "model", LABELS)


def made(kind, source, labels=LABELS, fields=("text",), layers=3):
    spec = {
        "transformer": SimpleNamespace(kind="transformer", layers=layers, max_length=None),
        "static": SimpleNamespace(kind="static", dimensions=8, hidden=4, max_length=None),
        "ngram": SimpleNamespace(kind="ngram", buckets=64, dimensions=8, word_ngrams=[1, 2], char_ngrams=None, hidden=0),
    }[kind]
    return build.build(spec, Head("classes", labels), source=source, fields=fields, seed=0, max_length=32)


def said(student, rows):
    """Return the student's logits by the names of its labels."""
    student.module.eval()
    arrays = student.preprocess.collate(student.preprocess.encode(rows))
    with torch.inference_mode():
        logits = student.forward({name: torch.from_numpy(array) for name, array in arrays.items()}).logits
    return dict(zip(student.head.labels, logits.T))


def keys(path):
    with safe_open(path, "pt") as file:
        return set(file.keys())


def test_trap_34_nothing_of_the_teacher_or_the_projections_is_saved(source, tmp_path):
    student = made("transformer", source, layers=2)
    Projection([(1, 1)], student.width, 48, 0)  # it learns beside the student, never inside it
    student.save(tmp_path / "transformer")
    plain = AutoModelForSequenceClassification.from_config(student.module.config)
    assert keys(tmp_path / "transformer" / "model.safetensors") == set(plain.state_dict())
    _, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "transformer", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))

    made("static", source).save(tmp_path / "static")
    head = {"norm.weight", "norm.bias", "out.weight", "out.bias"}
    assert keys(tmp_path / "static" / "model.safetensors") == {"embeddings"}
    assert keys(tmp_path / "static" / "head.safetensors") == head | {"hidden.weight", "hidden.bias"}

    made("ngram", source).save(tmp_path / "ngram")
    assert keys(tmp_path / "ngram" / "model.safetensors") == {"embeddings", *(f"head.{name}" for name in head)}


def test_trap_35_a_student_s_labels_are_its_source_s_by_name(source, tmp_path):
    """Permuted labels: each name keeps the score that the source gave it, in memory, saved and loaded."""
    as_is, permuted = made("transformer", source), made("transformer", source, ("emu", "cat", "dog"))
    expected = said(as_is, PAIR)
    for label, scores in said(permuted, PAIR).items():
        torch.testing.assert_close(scores, expected[label])
    permuted.save(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.config.id2label == {0: "emu", 1: "cat", 2: "dog"}
    assert loaded.config.label2id == {"emu": 0, "cat": 1, "dog": 2}
    for label, scores in said(build.load(tmp_path), PAIR).items():
        torch.testing.assert_close(scores, expected[label])


def test_trap_35_an_adapted_teacher_s_labels_are_those_of_the_task_by_name(source, tmp_path):
    """Its source has the same labels in another order; a rate of almost nothing shows what it began with."""
    head = Head("classes", ("emu", "cat", "dog"))
    rows = tuple(Example.make({"text": f"{label} {i}"}, gold=label) for i in range(4) for label in LABELS)
    spec = SimpleNamespace(adapt=SimpleNamespace(how="finetune", epochs=1, learning_rate=1e-12, batch_size=4), max_length=32, precision="fp32")
    module.adapt(
        spec, Split("train", rows), Split("validation", rows), head, task=task_named("text-classification"), source=source,
        fields=("text",), folder=tmp_path / "model", scratch=tmp_path / "scratch", seed=0, threads=1,
    )  # fmt: skip
    before, after = (AutoModelForSequenceClassification.from_pretrained(folder).eval() for folder in (source, tmp_path / "model"))
    tokens = AutoTokenizer.from_pretrained(source)(["good film", "bad dog"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        ours, theirs = after(**tokens).logits, before(**tokens).logits
    assert after.config.id2label == dict(enumerate(head.labels))
    for i, label in after.config.id2label.items():
        torch.testing.assert_close(ours[:, i], theirs[:, before.config.label2id[label]])


def test_trap_40_a_pair_s_inputs_are_the_model_s_own(source):
    """Every input that the tokenizer makes for the source reaches the student, token types of the second text among them."""
    student = made("transformer", source, fields=("text", "text_pair"))
    alone = AutoTokenizer.from_pretrained(source)([row["text"] for row in PAIR], [row["text_pair"] for row in PAIR], padding=True, return_tensors="np")
    arrays = student.preprocess.collate(student.preprocess.encode(PAIR))
    assert set(arrays) == set(alone)
    for name, array in arrays.items():
        assert np.array_equal(array, alone[name]), name
    assert arrays["token_type_ids"].any()
    with torch.inference_mode():
        expected = AutoModelForSequenceClassification.from_pretrained(source).eval()(**{n: torch.from_numpy(a) for n, a in alone.items()}).logits
    torch.testing.assert_close(torch.stack(list(said(student, PAIR).values()), 1), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("text", ["good film", "", f"good {tiny.UNKNOWN}", f"good {tiny.END}", "good " * 60])
def test_trap_20_the_end_of_a_text_is_never_taken_for_padding(text, tmp_path):
    student = made("transformer", tiny.decoder(tmp_path / "decoder"))  # whose padding token is its end
    (item,) = student.preprocess.encode([{"text": text}])
    assert item["input_ids"][-1] == 2
    batch = {name: torch.from_numpy(array)[:1] for name, array in student.preprocess.collate([item, {name: np.ones(40, np.int64) for name in item}]).items()}
    student.module.eval()
    with torch.inference_mode():
        end = student.module.base_model(input_ids=torch.from_numpy(item["input_ids"])[None]).last_hidden_state[0, -1]
        torch.testing.assert_close(student.forward(batch).logits[0], student.module.score(end), atol=1e-5, rtol=1e-4)
