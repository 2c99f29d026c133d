"""The convolutional and the recurrent student: others load them without potstill, padding has no say, what is exported is what was trained."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from potstill.errors import UserError
from potstill.records import Head
from potstill.students import build, vectors
from potstill.students.convolutional import TextCNN
from tests import tiny
from tests.students.test_transformer import TEXTS, logits, tensors

HEAD = Head("classes", ("a", "b", "c"))
ODD = [*TEXTS, "a", "日本語 の text", "ΑΣ — “quoted”", "İ \ud83d", "x" * 4000, "good " * 700]
CNN = {"kind": "convolutional", "source": "teacher", "dimensions": 16, "widths": [3, 5], "filters": 8, "dropout": 0.3, "max_length": None}
LSTM = {"kind": "recurrent", "source": "teacher", "dimensions": 16, "hidden": 12, "layers": 1, "dropout": 0.3, "max_length": None}
SPECS = {
    "convolutional": CNN, "convolutional, one token wide": {**CNN, "widths": [1]}, "convolutional from scratch": {**CNN, "source": "scratch"},
    "recurrent": LSTM, "recurrent, two layers": {**LSTM, "layers": 2}, "recurrent from scratch": {**LSTM, "source": "scratch"},
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny.encoder(tmp_path_factory.mktemp("encoder") / "model")


def made(encoder, name, seed=0, fields=("text",), **changes):
    return build.build(SimpleNamespace(**{**SPECS[name], **changes}), HEAD, source=encoder, fields=fields, seed=seed, max_length=64)


def trained(student):
    """Move every weight off its start, as training would."""
    batch = tensors(student, [{name: text for name in student.preprocess.fields} for text in TEXTS])
    optimizer = torch.optim.AdamW(student.module.parameters(), lr=0.05)
    torch.manual_seed(0)
    student.module.train()
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(student.forward(batch).logits, torch.arange(len(TEXTS)) % 3).backward()
        optimizer.step()
    student.module.eval()
    return student


def rows(texts=ODD):
    return [{"text": text} for text in texts]


@pytest.mark.parametrize("name", SPECS)
def test_saved_and_loaded_it_answers_the_same(encoder, name, tmp_path):
    student = trained(made(encoder, name))
    student.save(tmp_path / "s")
    again = build.load(tmp_path / "s")
    again.module.eval()
    assert np.array_equal(logits(again, rows()), logits(student, rows()))
    assert again.preprocess_spec() == student.preprocess_spec()
    assert again.parameters == student.parameters > 0
    assert (again.kind, again.head) == (student.kind, HEAD)


@pytest.mark.parametrize("name", SPECS)
def test_the_export_module_agrees(encoder, name):
    student = trained(made(encoder, name))
    batch = tensors(student, rows())
    with torch.inference_mode():
        exported = student.export_module()(*(batch[key] for key in student.preprocess.inputs)).numpy()
    np.testing.assert_allclose(exported, logits(student, rows()), atol=1e-5)


@pytest.mark.parametrize("name", SPECS)
def test_neither_padding_nor_neighbors_have_a_say(encoder, name):
    student = trained(made(encoder, name))
    alone = np.concatenate([logits(student, [row]) for row in rows()])
    assert np.isfinite(alone).all()
    np.testing.assert_allclose(alone, logits(student, rows()), atol=1e-5)
    for row, said in zip(rows(), alone):  # whatever stands in the padding
        batch = tensors(student, [row])
        length = int(batch["attention_mask"].sum())
        wide = {name: torch.cat([value[:, :length], torch.zeros(1, 9, dtype=torch.int64)], 1) for name, value in batch.items()}
        wide["input_ids"][:, length:] = torch.randint(0, 200, (1, 9))
        with torch.inference_mode():
            np.testing.assert_allclose(student.forward(wide).logits[0].numpy(), said, atol=1e-5)


@pytest.mark.parametrize("name", SPECS)
def test_the_same_seed_gives_the_same_student(encoder, name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (made(encoder, name, seed).module.state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_a_filter_finds_its_phrase_wherever_it_stands():
    net = TextCNN(vocabulary=10, dimensions=4, widths=[2], filters=1, dropout=0.0, classes=2).eval()
    with torch.no_grad():
        net.embedding.weight.copy_(torch.eye(10)[:, :4])
        net.convolutions[0].weight.zero_()
        net.convolutions[0].bias.zero_()
        net.convolutions[0].weight[0, 1, 0] = net.convolutions[0].weight[0, 2, 1] = 1.0  # 1, then 2
        net.out.weight.copy_(torch.tensor([[0.0], [1.0]]))
        net.out.bias.zero_()
        found = [
            float(net(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.int64))[0, 1]) for ids in ([1, 2], [3, 3, 1, 2], [2, 1], [1], [3], [1, 2, 3])
        ]
    assert found == [2.0, 2.0, 1.0, 1.0, 0.0, 2.0]


def test_word_order_matters(encoder):
    for name in ("convolutional", "recurrent"):
        student = trained(made(encoder, name))
        one, other = logits(student, rows(["good film not bad book", "bad film not good book"]))
        assert np.abs(one - other).max() > 1e-3


def test_a_pair_is_two_texts_with_a_mark_between(encoder):
    for name in ("convolutional", "recurrent"):
        student = trained(made(encoder, name, fields=("text", "text_pair")))
        pairs = [{"text": "good film", "text_pair": "bad"}, {"text": "good", "text_pair": "film bad"}]
        one, other = logits(student, pairs)
        assert np.abs(one - other).max() > 1e-4


def test_embeddings_begin_as_the_model_s_own_principal_components(encoder):
    from transformers import AutoModel

    table = AutoModel.from_pretrained(encoder).get_input_embeddings().weight.detach().numpy()
    found = vectors.input_vectors(encoder, 16)
    assert (found.shape, found.dtype) == ((len(tiny.VOCABULARY), 16), np.float32)
    np.testing.assert_allclose(np.square(found).mean(), 1, rtol=1e-5)
    wanted = vectors.principal(table, 16)
    np.testing.assert_allclose(found, wanted / np.sqrt(np.square(wanted).mean()), rtol=1e-4, atol=1e-5)
    for name in ("convolutional", "recurrent"):
        assert np.array_equal(made(encoder, name).module.embedding.weight.detach().numpy(), found)
        other = made(encoder, f"{name} from scratch").module.embedding.weight.detach().numpy()
        assert other.shape == found.shape
        assert abs(np.corrcoef(other.ravel(), found.ravel())[0, 1]) < 0.1


def test_no_folder_is_a_plain_error():
    for kind in ("convolutional", "recurrent"):
        with pytest.raises(UserError, match="there is no model"):
            build.build(SimpleNamespace(**SPECS[kind]), HEAD, source=None, fields=("text",), seed=0, max_length=64)


@pytest.mark.parametrize("name", ["convolutional", "recurrent, two layers"])
def test_the_readme_s_code_answers_without_potstill(encoder, name, tmp_path):
    student = trained(made(encoder, name))
    student.save(tmp_path)
    code = re.search("```python\n(.*?)```", (tmp_path / "README.md").read_text("utf-8"), re.S)[1]
    program = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('potstill', 'transformers'): raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        f"{code}\n"
        "print('OUT' + json.dumps([logits(text).tolist() for text in json.loads(sys.stdin.read())]))\n"
        "assert labels == ['a', 'b', 'c']"
    )
    texts = [text for text in ODD if text.isprintable()]  # a lone surrogate is no text to tokenizers
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, input=json.dumps(texts), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout.partition("OUT")[2]), logits(student, rows(texts)), atol=1e-5)
