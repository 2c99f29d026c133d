"""An encoder becomes a plain sequence classifier that knows the task; a killed adapting goes on where it was."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from potstill import storage
from potstill.errors import DataError
from potstill.records import Example, Head, Split
from potstill.students.architectures import ARCHITECTURES
from potstill.students.transformer import Top
from potstill.tasks import task as task_named
from potstill.training import adapt as module
from tests import tiny
from tests.students.test_architectures import SMALL

TASK = task_named("text-classification")
HEAD = Head("classes", ("animal", "body", "colour"))
WORDS = {"animal": "cat dog bird fish tree".split(), "body": "heart lung blood bone skin".split(), "colour": "red green blue black white".split()}


def rows(count, seed=0):
    random = np.random.default_rng(seed)
    made = []
    for i in range(count):
        label = HEAD.labels[i % 3]
        words = [*random.choice(WORDS[label], 2), *random.choice(["the", "a", "very", "old", "new"], 3)]
        random.shuffle(words)
        made.append(Example.make({"text": " ".join(words)}, gold=label))
    return tuple(made)


TRAIN, VALIDATION = Split("train", rows(240)), Split("validation", rows(60, seed=1))


def spec(how="finetune", **more):
    options = SimpleNamespace(**{"how": how, "epochs": 6, "learning_rate": 3e-3, "batch_size": 16, **more})
    return SimpleNamespace(adapt=options, max_length=32, precision="fp32")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny.encoder(tmp_path_factory.mktemp("encoder") / "model", hidden=32, layers=2)


def run(encoder, place, how="finetune", train=TRAIN, validation=VALIDATION, head=HEAD, scratch=None, **more):
    return module.adapt(
        spec(how, **more), train, validation, head, task=TASK, source=encoder, fields=("text",), folder=place / "model",
        scratch=scratch or place / "scratch", seed=0, threads=1,
    )  # fmt: skip


def accuracy(folder):
    """Judge the saved folder as anyone would, by the names of its labels."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        said = model(**tokenizer([e.fields["text"] for e in VALIDATION], padding=True, return_tensors="pt")).logits.argmax(-1)
    return np.mean([model.config.id2label[int(i)] == e.gold for i, e in zip(said, VALIDATION)])


@pytest.mark.parametrize(
    ("kind", "how", "epochs", "rate", "at_least"),
    [
        (tiny.encoder, "finetune", 6, 3e-3, 0.7), (tiny.encoder, "head", 2, 3e-3, 0.6), (tiny.decoder, "finetune", 6, 3e-3, 0.7),
        (tiny.decoder, "head", 8, 3e-2, 0.6),  # no pooler: a linear map, which needs larger steps
    ],
)  # fmt: skip
def test_the_saved_folder_is_a_plain_classifier_that_learnt_the_task(tmp_path, kind, how, epochs, rate, at_least):
    result = run(kind(tmp_path / "given", layers=2), tmp_path, how, epochs=epochs, learning_rate=rate)
    assert accuracy(tmp_path / "model") >= at_least
    assert not (tmp_path / "model" / "student.json").exists()
    assert result["history"]["kept_score"] == pytest.approx(accuracy(tmp_path / "model"), abs=1e-4)
    assert len(result["history"]["evaluations"]) == epochs
    storage.write_json(tmp_path / "result.json", result)
    assert result["rows"] == 240


def test_head_leaves_the_body_as_it_was(encoder, tmp_path):
    result = run(encoder, tmp_path, "head", epochs=1)
    before, after = load_file(encoder / "model.safetensors"), load_file(tmp_path / "model" / "model.safetensors")
    body = {name: value for name, value in before.items() if not name.startswith("pooler")}
    assert all(torch.equal(value, after[f"bert.{name}"]) for name, value in body.items())
    assert not torch.equal(before["pooler.dense.weight"], after["bert.pooler.dense.weight"])
    assert result["trained_parameters"] < result["parameters"]


def test_a_decoder_s_head_learns_from_the_state_that_it_reads(tmp_path):
    source = tiny.decoder(tmp_path / "given", layers=2)
    whole = module.cut(source, HEAD, layers=None, fields=("text",), seed=0, max_length=32)
    features = module.Features(whole)
    texts = [{"text": text} for text in ("", "red", "the old dog and the new cat")]
    states = torch.from_numpy(features.collate(features.encode(texts))["features"])
    batch = {name: torch.from_numpy(array) for name, array in whole.preprocess.collate(whole.preprocess.encode(texts)).items()}
    with torch.inference_mode():
        torch.testing.assert_close(Top(whole.module)(states), whole.forward(batch).logits)


@pytest.mark.parametrize(
    ("kind", "how", "rate"),
    [(tiny.encoder, "finetune", 2e-4), (tiny.decoder, "finetune", 2e-4 / 3), (tiny.encoder, "head", 5e-4), (tiny.decoder, "head", 5e-3)],
)
def test_a_decoder_has_rates_of_its_own(tmp_path, kind, how, rate):
    result = run(kind(tmp_path / "given", layers=1), tmp_path, how, epochs=1, learning_rate=None)
    assert result["learning_rate"] == pytest.approx(rate)


def test_killed_between_epochs_it_ends_with_the_same_weights(encoder, tmp_path):
    run(encoder, tmp_path / "whole")

    def stop(done, total, detail):
        if done == 40:
            raise KeyboardInterrupt

    scratch = tmp_path / "scratch"
    with pytest.raises(KeyboardInterrupt):
        module.adapt(
            spec(), TRAIN, VALIDATION, HEAD, task=TASK, source=encoder, fields=("text",), folder=tmp_path / "cut" / "model",
            scratch=scratch, seed=0, threads=1, progress=stop,
        )  # fmt: skip
    run(encoder, tmp_path / "cut", scratch=scratch)
    whole, cut = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.parametrize("name", ["train", "validation"])
def test_rows_without_gold_are_refused(encoder, tmp_path, name):
    bare = Split(name, (Example.make({"text": "a"}),))
    with pytest.raises(DataError, match=f"no {name} row has a gold label"):
        run(encoder, tmp_path, **{name: bare})


def test_torch_is_left_as_it_was(encoder, tmp_path):
    torch.manual_seed(1)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    run(encoder, tmp_path, epochs=1)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_what_stands_above_the_layers_gives_the_model_s_own_logits(model_type):
    config = AutoConfig.for_model(model_type)
    for name, value in {**SMALL, ARCHITECTURES[model_type].count: 1, "num_labels": 3}.items():
        if name in config.to_dict() or name in config.attribute_map or name == "num_labels":
            setattr(config, name, value)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    ids = torch.tensor([[3, 4, 5, 6], [7, 8, 9, 10]])
    with torch.inference_mode():
        state = model.base_model(input_ids=ids).last_hidden_state[:, -1 if ARCHITECTURES[model_type].decoder else 0]
        torch.testing.assert_close(Top(model).eval()(state), model(input_ids=ids).logits)
