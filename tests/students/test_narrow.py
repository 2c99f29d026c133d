"""A student cut narrower keeps what matters most; keeping everything, or dropping what adds nothing, changes nothing."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification

from potstill.errors import UserError
from potstill.records import Example, Head
from potstill.students import build, narrow
from tests import tiny

HEAD = Head("classes", ("a", "b", "c"))
TEXTS = ["good film", "the worst service, never again!", "a", "chronic pain in the left eye 12", "the cat and the dog walk home"]
ROWS = [Example(str(i), {"text": text}) for i, text in enumerate(TEXTS)]


def made(folder, /, **more):
    spec = {"kind": "transformer", "layers": 2, "source": "teacher", "max_length": None, "heads": None, "intermediate": None, "hidden": None}
    return build.build(SimpleNamespace(**{**spec, **more}), HEAD, source=folder, fields=("text",), seed=0, max_length=32, rows=ROWS)


def logits(student):
    arrays = student.preprocess.collate(student.preprocess.encode([row.fields for row in ROWS]))
    student.module.eval()
    with torch.inference_mode():
        return student.forward({name: torch.from_numpy(array) for name, array in arrays.items()}).logits.numpy()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.classifier(tmp_path_factory.mktemp("narrow") / "model", HEAD.labels, heads=4)


@pytest.fixture(scope="module")
def dull(source, tmp_path_factory):
    """The same model, half of whose neurons are never listened to."""
    folder = tmp_path_factory.mktemp("dull") / "model"
    model = BertForSequenceClassification.from_pretrained(source)
    for layer in model.bert.encoder.layer:
        layer.output.dense.weight.data[:, ::2] = 0
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def test_keeping_everything_changes_no_bit(source):
    assert np.array_equal(logits(made(source)), logits(made(source, heads=4, intermediate=64, hidden=32)))


def test_neurons_that_add_nothing_go_first(dull):
    whole, half = made(dull), made(dull, intermediate=32)
    np.testing.assert_allclose(logits(half), logits(whole), atol=1e-5)
    assert half.module.config.intermediate_size == 32
    assert half.parameters < whole.parameters


def test_the_heads_and_channels_kept_are_those_measured(source):
    student, narrower = made(source, layers=3), made(source, layers=3, heads=2)
    arrays = student.preprocess.collate(student.preprocess.encode([row.fields for row in ROWS]))
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    seen = {}
    hook = student.module.bert.encoder.layer[0].attention.output.dense.register_forward_pre_hook(lambda module, given: seen.update(x=given[0]))
    with torch.inference_mode():
        student.module.eval()(**batch)
    hook.remove()
    states = seen["x"][batch["attention_mask"].bool()].double()
    weight = student.module.bert.encoder.layer[0].attention.output.dense.weight.detach().double()
    norms = [(states[:, 8 * h : 8 * h + 8] @ weight[:, 8 * h : 8 * h + 8].T).norm(dim=1).sum() for h in range(4)]
    found = narrow.importance(student.module, [batch])
    torch.testing.assert_close(found.heads[0], torch.stack(norms))
    channels = found.hidden.argsort(descending=True)[:16].sort().values
    heads = sorted(np.argsort(norms)[2:])
    expected = student.module.bert.encoder.layer[0].attention.self.query.weight[[8 * h + i for h in heads for i in range(8)]][:, channels]
    assert torch.equal(narrower.module.bert.encoder.layer[0].attention.self.query.weight, expected)


def test_padding_has_no_say_in_what_matters(source):
    student = made(source)
    alone, padded = [], []
    for row in ROWS:
        item = student.preprocess.encode([row.fields])
        alone.append({name: torch.from_numpy(array) for name, array in student.preprocess.collate(item).items()})
    arrays = student.preprocess.collate(student.preprocess.encode([row.fields for row in ROWS]))
    padded.append({name: torch.from_numpy(array) for name, array in arrays.items()})
    for one, other in zip(vars(narrow.importance(student.module, alone)).values(), vars(narrow.importance(student.module, padded)).values()):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_narrow_student_is_a_plain_folder(source, tmp_path):
    student = made(source, hidden=16, intermediate=24)
    assert (student.width, student.module.config.num_attention_heads) == (16, 2)
    student.save(tmp_path / "s")
    theirs, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "s", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.inference_mode():
        given = theirs.eval()(**AutoTokenizer.from_pretrained(tmp_path / "s")(TEXTS, padding=True, return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(given, logits(student), atol=1e-5)
    assert np.array_equal(logits(build.load(tmp_path / "s")), logits(student))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"hidden": 20}, "no multiple of a head's 8 dimensions.*take 16 or 24"),
        ({"hidden": 16, "heads": 4}, "4 heads of 8 dimensions need 32"),
        ({"heads": 8}, "8 of 4"),
        ({"intermediate": 65}, "65 of 64"),
    ],
)
def test_what_can_t_be_cut_is_refused_with_what_can(source, asked, said):
    with pytest.raises(UserError) as caught:
        made(source, **asked)
    assert re.search(said, str(caught.value), re.S), str(caught.value)


def test_other_architectures_are_refused():
    with pytest.raises(UserError, match="type 'distilbert' can't be made narrower"):
        narrow.shape(SimpleNamespace(model_type="distilbert"), 2, None, None)


# ---------------------------------------------------------------------------------------------------------------- from scratch
def test_from_scratch_it_has_the_stated_shape_and_no_weight_of_the_model(source):
    shape = {"source": "scratch", "layers": 5, "heads": 3, "hidden": 24, "intermediate": 40}
    student, again = made(source, **shape), made(source, **shape)
    assert (student.hidden_layers, student.width, student.module.config.num_attention_heads) == (5, 24, 3)
    assert all(torch.equal(a, b) for a, b in zip(student.module.state_dict().values(), again.module.state_dict().values()))
    same = made(source, source="scratch", layers=3).module.state_dict()
    model = AutoModelForSequenceClassification.from_pretrained(source).state_dict()
    assert not any(torch.equal(same[name], model[name]) for name in model if name.endswith("dense.weight"))


def test_from_scratch_heads_must_share_the_width(source):
    with pytest.raises(UserError, match=r"30 hidden channels can't be dealt out to 4 heads") as caught:
        made(source, source="scratch", layers=1, hidden=30)
    assert "heads: 3" in str(caught.value)
