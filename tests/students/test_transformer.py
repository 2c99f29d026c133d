"""The student cut from a transformer is a plain transformers model, whatever it came from."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from potstill import storage
from potstill.errors import BundleError, UserError
from potstill.records import Head
from potstill.serving import preprocess
from potstill.students import build
from tests import tiny

HEAD = Head("classes", ("a", "b", "c"))
TEXTS = ["good film", "the worst service, never again!", "a", "", "chronic pain in the left eye 12"]
ROWS = [{"text": text} for text in TEXTS]


def spec(layers=2, **more):
    return SimpleNamespace(**{"kind": "transformer", "layers": layers, "max_length": None, **more})


def made(source, layers=2, head=HEAD, fields=("text",), seed=0, max_length=32):
    return build.build(spec(layers), head, source=source, fields=fields, seed=seed, max_length=max_length)


def tensors(student, rows=ROWS):
    return {name: torch.from_numpy(array) for name, array in student.preprocess.collate(student.preprocess.encode(rows)).items()}


def logits(student, rows=ROWS):
    student.module.eval()
    with torch.inference_mode():
        return student.forward(tensors(student, rows)).logits.numpy()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny.encoder(tmp_path_factory.mktemp("encoder") / "model")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return tiny.classifier(tmp_path_factory.mktemp("classifier") / "model", HEAD.labels)


def test_kept_layers_are_the_source_s_bit_for_bit(encoder):
    student = made(encoder, [0, 2])
    source = AutoModelForSequenceClassification.from_pretrained(encoder).state_dict()
    own = student.module.state_dict()
    for name, value in own.items():
        if not name.startswith("classifier"):
            assert torch.equal(value, source[name.replace("layer.1.", "layer.2.")]), name
    assert student.module.config.num_hidden_layers == 2 == student.hidden_layers
    assert student.layers == (0, 2)
    assert student.parameters == sum(value.numel() for value in own.values())


def test_all_layers_of_a_classifier_answer_as_it_does(classifier):
    source = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    with torch.inference_mode():
        expected = source(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(logits(made(classifier, 3)), expected, atol=1e-5)


def test_other_labels_get_a_fresh_head_by_seed(classifier):
    head = Head("classes", ("x", "y"))
    first, again, other = (made(classifier, head=head, seed=seed).module.classifier.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape[0] == 2


def test_building_leaves_torch_s_generator_alone(encoder):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    made(encoder)
    assert torch.equal(before, torch.get_rng_state())


def test_saved_it_loads_in_transformers_with_its_labels_and_here(encoder, tmp_path):
    student = made(encoder)
    student.save(tmp_path / "s")
    loaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "s", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert loaded.config.id2label == {0: "a", 1: "b", 2: "c"}
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "s")
    with torch.inference_mode():
        theirs = loaded.eval()(**tokenizer(TEXTS, padding=True, truncation=True, max_length=32, return_tensors="pt")).logits.numpy()
    expected = logits(student)
    np.testing.assert_allclose(theirs, expected, atol=1e-5)
    again = build.load(tmp_path / "s")
    np.testing.assert_allclose(logits(again), expected, atol=1e-6)
    assert (again.head, again.layers, again.preprocess_spec()) == (student.head, student.layers, student.preprocess_spec())
    again.save(tmp_path / "again")
    assert {p.name: p.read_bytes() for p in (tmp_path / "s").iterdir()} == {p.name: p.read_bytes() for p in (tmp_path / "again").iterdir()}


def test_hidden_states_are_those_of_real_tokens_in_row_order(encoder):
    student = made(encoder)
    student.module.eval()
    with torch.inference_mode():
        out = student.forward(tensors(student), hidden=True)
        assert student.forward(tensors(student)).hidden is None
        alone = [student.forward(tensors(student, [row]), hidden=True).hidden for row in ROWS]
    assert len(out.hidden) == student.hidden_layers + 1
    for layer, state in enumerate(out.hidden):
        assert state.shape == (sum(student.preprocess.length(item) for item in student.preprocess.encode(ROWS)), student.width)
        np.testing.assert_allclose(state, torch.cat([one[layer] for one in alone]), atol=2e-5)


def test_the_export_module_is_eager_and_agrees(encoder):
    student = made(encoder)
    batch = tensors(student)
    module = student.export_module()
    with torch.inference_mode():
        exported = module(*(batch[name] for name in student.preprocess.inputs)).numpy()
    np.testing.assert_allclose(exported, logits(student), atol=1e-5)
    assert module.model.config._attn_implementation == "eager"
    assert student.module.config._attn_implementation == "sdpa"
    assert not module.training


def test_its_preprocessing_alone_makes_the_same_arrays(encoder, tmp_path):
    student = made(encoder)
    student.save_preprocess(tmp_path)
    alone = preprocess.build(student.preprocess_spec(), tmp_path)
    for name, array in alone.collate(alone.encode(ROWS)).items():
        assert np.array_equal(array, student.preprocess.collate(student.preprocess.encode(ROWS))[name])


def test_max_length_yields_to_what_the_model_can_read(encoder):
    assert made(encoder, max_length=4096).preprocess_spec()["max_length"] == 128
    long = logits(made(encoder, max_length=4096), [{"text": "good " * 500}])
    assert np.isfinite(long).all()


def test_a_folder_that_holds_no_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="no folder of a transformers model"):
        made(tmp_path)
    with pytest.raises(BundleError, match="no student"):
        build.load(tmp_path)


def test_an_unknown_kind_names_the_known():
    with pytest.raises(UserError, match="did you mean 'transformer'"):
        build.options(SimpleNamespace(kind="transfomer"))


def test_the_rate_falls_with_the_width_of_the_source(encoder, tmp_path):
    assert build.options(spec()).learning_rate == 2e-4
    assert build.options(spec(), encoder).learning_rate == 2e-4
    for config, rate in [({"hidden_size": 768}, 5e-5), ({"dim": 768}, 5e-5), ({"hidden_size": 8192}, 1e-5), ({}, 2e-4)]:
        storage.write_json(tmp_path / "config.json", config)
        assert build.options(spec(), tmp_path).learning_rate == pytest.approx(rate)


def test_a_student_that_needs_a_model_says_so():
    with pytest.raises(UserError, match="there is no model"):
        build.build(spec(), HEAD, source=None, fields=("text",), seed=0, max_length=8)


def test_the_rate_follows_the_width_that_the_student_will_have(tmp_path):
    """A narrower student and its control train at one rate, whatever each of them is cut from."""
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": 768, "num_attention_heads": 12}', "utf-8")
    rate = lambda **chosen: build.options(SimpleNamespace(kind="transformer", source="teacher", **chosen), tmp_path).learning_rate  # noqa: E731
    assert rate() == pytest.approx(5e-5)
    assert rate(heads=6) == rate(hidden=384) == 2e-4
    assert rate(heads=9) == pytest.approx(2e-4 * (384 / 576) ** 2)
