from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from potstill.errors import TeacherError
from potstill.records import Answered, Example, Failed, Head, Want
from potstill.teachers import build
from tests import tiny

LOGPROBS = Want("logprobs")
TEXTS = [
    "the movie was awful",
    "good",
    "chronic pain in the left lung, and fever",
    "",
    "a cat!",
    "the dog and the bird see the small house",
]


def spec(folder, **options):
    defaults = {
        "kind": "model", "model": str(folder), "max_length": 16, "batch_size": 2, "precision": "fp32", "labels": {}, "license": "mit",
        "output_license": "mit", "usd_per_1000": 0.0,
    }  # fmt: skip
    return SimpleNamespace(**{**defaults, **options})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.classifier(tmp_path_factory.mktemp("model"), ("neg", "neu", "pos"))


HEAD = Head("classes", ("neg", "neu", "pos"))


def rows(texts=TEXTS):
    return [Example.make({"text": text}) for text in texts]


def reference(folder, *texts, **options):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(**tokenizer(*texts, return_tensors="pt", truncation=True, max_length=16), **options)


def test_logprobs_equal_the_models_own(folder):
    teacher = build(spec(folder), HEAD)
    said = dict(teacher.answer(rows(), [LOGPROBS]))
    for row in rows():
        expected = reference(folder, row.fields["text"]).logits.log_softmax(-1).numpy()
        array = said[row.id].arrays[LOGPROBS]
        assert array.shape == (1, 3)
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, expected, atol=1e-5)
    decisions = {int(said[row.id].arrays[LOGPROBS].argmax()) for row in rows()}
    assert len(decisions) > 1


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_hidden_states_are_the_real_tokens_in_order(folder, layer):
    want = Want("hidden", layer=layer)
    said = dict(build(spec(folder), HEAD).answer(rows(), [want, LOGPROBS]))
    for row in rows():
        expected = reference(folder, row.fields["text"], output_hidden_states=True).hidden_states[layer][0].numpy()
        array = said[row.id].arrays[want]
        assert array.dtype == np.float16
        assert array.shape == expected.shape
        np.testing.assert_allclose(array, expected, atol=4e-3, rtol=2e-3)


def test_vector_is_the_mean_of_the_last_layer(folder):
    want = Want("vector")
    said = dict(build(spec(folder), HEAD).answer(rows(), [want]))
    for row in rows():
        states = reference(folder, row.fields["text"], output_hidden_states=True).hidden_states[-1][0]
        np.testing.assert_allclose(said[row.id].arrays[want], states.mean(0, keepdim=True).numpy(), atol=1e-5)


def test_the_batch_size_changes_no_answer(folder):
    one, many = (dict(build(spec(folder, batch_size=size), HEAD).answer(rows(), [LOGPROBS])) for size in (1, 32))
    for row in rows():
        np.testing.assert_allclose(one[row.id].arrays[LOGPROBS], many[row.id].arrays[LOGPROBS], atol=1e-5)


def test_batches_keep_to_the_budget_of_tokens(folder, monkeypatch):
    from potstill.teachers import model

    seen = []
    real = model.ModelTeacher._forward
    monkeypatch.setattr(model.ModelTeacher, "_forward", lambda self, batch, wants: seen.append(batch) or real(self, batch, wants))
    list(build(spec(folder), HEAD).answer(rows(), [LOGPROBS]))
    assert sum(map(len, seen)) == len(TEXTS)
    assert all(max(item.length for item in batch) * len(batch) <= 2 * 16 for batch in seen)
    lengths = [item.length for batch in seen for item in batch]
    assert lengths == sorted(lengths)
    assert max(map(len, seen)) > 2  # short texts share a batch


def test_batches_on_a_processor_are_small():
    from potstill.teachers.rows import CPU_TOKENS, budget

    assert budget(32, 128) == CPU_TOKENS
    assert budget(2, 16) == 32
    assert budget(32, 2048) == 2048  # the longest row still fits
    assert budget(32, 128, "cuda") == 4096


def test_bf16_is_near_fp32_and_another_teacher(folder):
    full, half = (build(spec(folder, precision=precision), HEAD) for precision in ("fp32", "bf16"))
    assert full.identity() != half.identity()
    for row in rows():
        pair = [dict(teacher.answer([row], [LOGPROBS]))[row.id].arrays[LOGPROBS] for teacher in (full, half)]
        np.testing.assert_allclose(*np.exp(pair), atol=0.1)
        assert pair[1].dtype == np.float32
    assert build(spec(folder, precision="auto"), HEAD).precision in ("fp32", "bf16")


def test_predict_is_the_teacher_as_it_runs(folder):
    teacher = build(spec(folder), HEAD)
    out = teacher.predict([{"text": text} for text in [*TEXTS, TEXTS[0]]])
    assert out.shape == (7, 3)
    np.testing.assert_allclose(out[0], reference(folder, TEXTS[0]).logits.log_softmax(-1)[0], atol=1e-5)
    np.testing.assert_array_equal(out[0], out[-1])


def test_text_that_is_no_unicode_fails_alone(folder):
    good, bad = Example.make({"text": "good"}), Example("x", {"text": "half \ud83d of a pair"})
    said = dict(build(spec(folder), HEAD).answer([bad, good], [LOGPROBS]))
    assert isinstance(said["x"], Failed)
    assert isinstance(said[good.id], Answered)


def test_facts(folder):
    facts = build(spec(folder), HEAD).facts()
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())
    assert (facts["layers"], facts["width"], facts["license"], facts["one_hot"]) == (3, 32, "mit", False)
    assert facts["size_bytes"] >= (folder / "model.safetensors").stat().st_size
    assert facts["architecture"] == "BertForSequenceClassification"
    json.dumps(facts)


def test_it_is_silent(folder, capfd, caplog):
    build(spec(folder), HEAD).predict([{"text": "good"}, {"text": "a long " * 40}])
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_labels_are_renamed_by_name(folder):
    names = {"neg": "bad", "pos": "good"}
    teacher = build(spec(folder, labels=names), Head("classes", ("good", "bad", "neu")))
    assert teacher.labels == ("good", "bad", "neu")
    plain = build(spec(folder), HEAD).predict([{"text": "good"}])
    np.testing.assert_array_equal(teacher.predict([{"text": "good"}]), plain[:, [2, 0, 1]])


@pytest.mark.parametrize(
    ("labels", "head", "message"),
    [
        ({}, ("x", "y", "z"), r"the teacher has \['neg', 'neu', 'pos'\]; the task has \['x', 'y', 'z'\]"),
        ({}, ("neg", "pos"), r"the task lacks \['neu'\]"),
        ({}, ("neg", "neu", "pos", "mixed"), r"the teacher lacks \['mixed'\]"),
        ({"nga": "neg"}, ("neg", "neu", "pos"), "no label 'nga'"),
        ({"neu": "pos"}, ("neg", "pos"), "two of the teacher's labels are called 'pos'"),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_both_lists(folder, labels, head, message):
    with pytest.raises(TeacherError, match=message):
        build(spec(folder, labels=labels), Head("classes", head))


def test_an_encoder_without_a_head_names_the_remedy(tmp_path):
    with pytest.raises(TeacherError, match="how: finetune"):
        build(spec(tiny.encoder(tmp_path / "e")), HEAD)


@pytest.mark.parametrize("name", ["org/model-on-a-hub", "/nowhere/at/all"])
def test_only_folders_on_this_machine(name):
    with pytest.raises(TeacherError, match="only folders on this machine"):
        build(spec(name), HEAD)


def test_folders_that_hold_no_usable_model(folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    with pytest.raises(TeacherError, match="holds no config"):
        build(spec(copy), HEAD)
    shutil.copy(folder / "config.json", copy)
    (copy / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(TeacherError, match="safetensors"):
        build(spec(copy), HEAD)
    (copy / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(TeacherError, match="can't be loaded"):
        build(spec(copy), HEAD)


def test_code_in_the_folder_is_not_run(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "odd", "auto_map": {"AutoConfig": "code.Odd", "AutoModelForSequenceClassification": "code.Odd"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "code.py").write_text("raise SystemExit('run')")
    with pytest.raises(TeacherError, match="can't be loaded"):
        build(spec(copy), HEAD)


def test_a_length_beyond_the_model_is_refused(folder):
    with pytest.raises(TeacherError, match="takes 128 tokens"):
        build(spec(folder, max_length=129), HEAD)


def test_wants_that_it_cant_give(folder):
    teacher = build(spec(folder), HEAD)
    for want in (Want("hidden", layer=4), Want("hidden"), Want("logprobs", top_k=2), Want("logprobs", sample=1)):
        with pytest.raises(TeacherError):
            list(teacher.answer(rows(), [want]))
    with pytest.raises(TeacherError, match="image"):
        list(teacher.answer([Example.make({"image": "x"})], [LOGPROBS]))


def test_an_adapted_folder_goes_before_the_model(folder, tmp_path):
    adapted = tiny.classifier(tmp_path / "adapted", ("x", "y"))
    teacher = build(spec(folder), Head("classes", ("y", "x")), folder=adapted)
    assert teacher.facts()["path"] == str(adapted)


def test_an_unknown_kind_of_teacher(folder):
    with pytest.raises(TeacherError, match="did you mean 'model'"):
        build(spec(folder, kind="modle"), HEAD)


def test_the_encoder_is_one_that_transformers_loads(tmp_path):
    assert AutoModel.from_pretrained(tiny.encoder(tmp_path / "e")).config.hidden_size == 32
