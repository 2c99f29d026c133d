"""A student cut from a decoder: what it reads, which state its head reads, and that what ships answers as it does."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from potstill.errors import UserError
from potstill.export.int8 import to_int8, watch
from potstill.export.to_onnx import to_onnx
from potstill.records import Example, Head
from potstill.students import build
from potstill.students.architectures import ARCHITECTURES
from potstill.students.decoder import rendered
from potstill.students.transformer import Positional, cut, eager
from potstill.students.vocabulary import trim
from tests import tiny
from tests.students.test_architectures import SMALL
from tests.students.test_transformer import HEAD, ROWS, TEXTS, logits, made, spec, tensors


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return tiny.decoder(tmp_path_factory.mktemp("decoder") / "model")


@pytest.fixture
def copy(decoder, tmp_path):
    return shutil.copytree(decoder, tmp_path / "copy")


def edit(folder, file, **changes):
    values = json.loads((folder / file).read_text()) | changes
    (folder / file).write_text(json.dumps({name: value for name, value in values.items() if value is not None}))


def ids(student, *texts):
    return [item["input_ids"].tolist() for item in student.preprocess.encode([dict(zip(("text", "text_pair"), text)) for text in texts])]


def test_a_text_is_read_with_an_end_that_is_no_padding(decoder):
    student = made(decoder, max_length=8)
    for (text,), read in zip([(text,) for text in TEXTS], ids(student, *((text,) for text in TEXTS))):
        assert read[-1] == 2, text  # the empty text is its end alone; a text that is cut keeps it
        assert len(read) <= 8
    assert student.preprocess_spec()["pad"]["input_ids"] == student.module.config.pad_token_id == 0
    assert student.tokenizer.padding_side == "right"


def test_a_pair_has_an_end_each(decoder):
    student = made(decoder, fields=("text", "text_pair"))
    (first,), (second,), (both,) = (ids(made(decoder), ("good",)), ids(made(decoder), ("bad film",)), ids(student, ("good", "bad film")))
    assert both == first + second


def test_a_start_that_the_tokenizer_has_is_kept(copy):
    tokenizer = AutoTokenizer.from_pretrained(copy)
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=[tiny.START, "$A"], pair=[tiny.START, "$A", "$B"], special_tokens=[(tiny.START, 1)])
    tokenizer.save_pretrained(copy)
    assert ids(made(copy), ("",)) == [[1, 2]]


def test_kept_layers_are_the_source_s_bit_for_bit(decoder):
    student = made(decoder, [0, 2])
    source, own = AutoModelForCausalLM.from_pretrained(decoder).state_dict(), student.module.state_dict()
    for name, value in own.items():
        if not name.startswith("score"):
            assert torch.equal(value, source[name.replace("layers.1.", "layers.2.")]), name
    assert (student.hidden_layers, student.width) == (2, 32)


def test_answers_depend_on_no_padding_nor_on_its_token_in_a_text(decoder):
    rows = [*ROWS, {"text": f"good {tiny.UNKNOWN}"}, {"text": f"good {tiny.END}"}]
    student = made(decoder)
    together = logits(student, rows)
    np.testing.assert_allclose(together, np.concatenate([logits(student, [row]) for row in rows]), atol=1e-5)
    states = [student.module.base_model(**tensors(student, [row])).last_hidden_state[0, -1] for row in rows]
    with torch.inference_mode():
        np.testing.assert_allclose(together, student.module.score(torch.stack(states)), atol=1e-5)  # the end's state is what is read


def test_hidden_states_are_those_of_real_tokens_in_row_order(decoder):
    student = made(decoder)
    student.module.eval()
    with torch.inference_mode():
        out = student.forward(tensors(student), hidden=True)
        alone = [student.forward(tensors(student, [row]), hidden=True).hidden for row in ROWS]
    assert len(out.hidden) == student.hidden_layers + 1
    for layer, state in enumerate(out.hidden):
        np.testing.assert_allclose(state, torch.cat([one[layer] for one in alone]), atol=2e-5)


def test_saved_it_loads_in_transformers_and_a_student_of_it_reads_as_it_does(decoder, tmp_path):
    student = made(decoder, 3)
    student.save(tmp_path / "s")
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(tmp_path / "s").eval(), AutoTokenizer.from_pretrained(tmp_path / "s")
    with torch.inference_mode():
        theirs = model(**tokenizer(TEXTS, padding=True, truncation=True, max_length=32, return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(theirs, logits(student), atol=1e-5)
    for again in (build.load(tmp_path / "s"), made(tmp_path / "s", 3)):
        np.testing.assert_allclose(logits(again), logits(student), atol=1e-6)
        assert again.preprocess_spec() == student.preprocess_spec()


def test_the_graph_answers_as_the_student_row_by_row_and_in_int8(decoder):
    student = made(tiny_wide(decoder), 2)
    graph = to_onnx(student)
    items = student.preprocess.encode([*ROWS, {"text": "good " * 100}])
    exact = logits(student, [*ROWS, {"text": "good " * 100}])
    batch = student.preprocess.collate(items)
    small = to_int8(graph, watch(graph, [student.preprocess.collate([item]) for item in items]))
    assert len(small.matrices) >= 8
    assert len(small.tables) == 1
    for model, near in ((graph, 1e-3), (small.model, 0.25 * np.ptp(exact))):
        session = onnxruntime.InferenceSession(model.SerializeToString())
        together = session.run(None, batch)[0]
        np.testing.assert_allclose(together, exact, atol=near)
        for i, item in enumerate(items):
            np.testing.assert_allclose(session.run(None, student.preprocess.collate([item]))[0][0], together[i], atol=1e-4)


def tiny_wide(decoder):
    return tiny.decoder(decoder.parent / "wide", hidden=192, heads=6, shared=2)  # matrices large enough for int8


@pytest.mark.parametrize("model_type", sorted(name for name, row in ARCHITECTURES.items() if row.decoder))
def test_every_decoder_of_the_table_can_be_exported(model_type, decoder, monkeypatch):
    config = AutoConfig.for_model(model_type)
    for name, value in {**SMALL, "num_hidden_layers": 2, "num_labels": 3}.items():
        if name in config.to_dict() or name == "num_labels":
            setattr(config, name, value)
    config.use_cache = False
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    student = made(decoder)
    monkeypatch.setattr(student, "export_module", lambda: Positional(eager(model), student.preprocess.inputs))
    session = onnxruntime.InferenceSession(to_onnx(student).SerializeToString())
    tokens, mask = torch.randint(2, 20, (3, 11)), torch.ones((3, 11), dtype=torch.int64)
    tokens[1, 4:], mask[1, 4:] = 1, 0
    with torch.inference_mode():
        expected = model(input_ids=tokens, attention_mask=mask).logits.numpy()
    np.testing.assert_allclose(session.run(None, {"input_ids": tokens.numpy(), "attention_mask": mask.numpy()})[0], expected, atol=1e-4)


def test_a_wide_source_lowers_the_student_s_rate(decoder):
    assert build.options(spec(), tiny_wide(decoder)).learning_rate == 2e-4
    wider = decoder.parent / "wider"
    wider.mkdir(exist_ok=True)
    (wider / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 576}))
    assert build.options(spec(), wider).learning_rate == pytest.approx(2e-4 * (384 / 576) ** 2)


def test_any_number_of_labels_begin_without_a_bias(decoder):
    head = Head("labels", ("a", "b"))
    rows = [Example("1", {"text": "good"}, gold=("a",)), Example("2", {"text": "bad"}, gold=("a", "b"))]
    student = cut(decoder, head, layers=[0], fields=("text",), seed=0, max_length=8, rows=rows)
    assert student.module.score.bias is None
    assert np.isfinite(logits(student)).all()


def test_its_vocabulary_can_be_trimmed(decoder, tmp_path):
    texts = [{"text": text} for text in ("good film", "the bad dog")]
    sizes = trim(decoder, tmp_path / "small", texts, ["text"])
    assert sizes["after"] < sizes["before"]
    small, whole = made(tmp_path / "small"), made(decoder)
    with torch.no_grad():
        small.module.score.weight.copy_(whole.module.score.weight)
    np.testing.assert_allclose(logits(small, texts), logits(whole, texts), atol=1e-5)
    assert small.module.config.pad_token_id == small.preprocess_spec()["pad"]["input_ids"]


def test_a_tokenizer_without_an_end_is_refused(copy):
    edit(copy, "tokenizer_config.json", eos_token=None)
    with pytest.raises(UserError, match="no end token"):
        made(copy)


def test_a_tokenizer_with_nothing_to_pad_with_is_refused(copy):
    tokenizer = AutoTokenizer.from_pretrained(copy)
    tokenizer.unk_token = None
    kept = tokenizer.backend_tokenizer.to_str()
    bare = json.loads(kept)
    bare["added_tokens"] = [token for token in bare["added_tokens"] if token["content"] != tiny.UNKNOWN]
    (copy / "tokenizer.json").write_text(json.dumps(bare))
    edit(copy, "tokenizer_config.json", unk_token=None)
    with pytest.raises(UserError, match="no token to pad with but its end"):
        made(copy)


def test_a_classifier_that_pads_with_another_token_than_its_tokenizer_is_refused(decoder, tmp_path):
    made(decoder, 3).save(tmp_path / "s")
    edit(tmp_path / "s", "config.json", pad_token_id=5)
    with pytest.raises(UserError, match="takes token 5 for padding"):
        made(tmp_path / "s", 3, Head("classes", HEAD.labels))


def test_a_classifier_s_own_rendering_is_kept(decoder, tmp_path):
    student = made(decoder, 3)
    student.save(tmp_path / "s")
    tokenizer, config = AutoTokenizer.from_pretrained(tmp_path / "s"), AutoConfig.from_pretrained(tmp_path / "s")
    assert rendered(tokenizer, config, place="") is tokenizer
