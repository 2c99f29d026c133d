"""The static and the n-gram student: others load them without potstill, and what is exported is what was trained."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from model2vec import StaticModel

from potstill.records import Example, Head
from potstill.students import build, readme, vectors
from potstill.students.bag import means
from tests import tiny
from tests.students.test_transformer import TEXTS, logits, tensors

HEAD = Head("classes", ("a", "b", "c"))
ODD = [*TEXTS, "日本語 の text", "ΑΣ — “quoted”", "İ \ud83d", "x" * 4000, "good " * 700]
SPECS = {
    "static": SimpleNamespace(kind="static", dimensions=16, hidden=8, max_length=None),
    "static, no hidden layer": SimpleNamespace(kind="static", dimensions=16, hidden=0, max_length=None),
    "ngram": SimpleNamespace(kind="ngram", buckets=512, dimensions=None, word_ngrams=[1, 2], char_ngrams=[3, 5], hidden=0),
    "ngram, embeddings": SimpleNamespace(kind="ngram", buckets=512, dimensions=8, word_ngrams=[1, 2], char_ngrams=[3, 5], hidden=0),
    "ngram, hidden layer": SimpleNamespace(kind="ngram", buckets=512, dimensions=8, word_ngrams=[1], char_ngrams=None, hidden=4),
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny.encoder(tmp_path_factory.mktemp("encoder") / "model")


def made(encoder, name, seed=0, fields=("text",)):
    rows = [Example.make({field: text for field in fields}) for text in TEXTS]
    return build.build(SPECS[name], HEAD, source=encoder, fields=fields, seed=seed, max_length=64, rows=rows)


def trained(student):
    """Move every weight off its start, as training would."""
    rows = [{"text": text} for text in TEXTS]
    optimizer = torch.optim.AdamW(student.module.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        student.forward(tensors(student, rows)).logits.square().sum().backward()
        optimizer.step()
    return student


@pytest.mark.parametrize("name", SPECS)
def test_saved_and_loaded_it_answers_the_same(encoder, name, tmp_path):
    student = trained(made(encoder, name))
    student.save(tmp_path / "s")
    again = build.load(tmp_path / "s")
    rows = [{"text": text} for text in ODD]
    assert np.array_equal(logits(again, rows), logits(student, rows))
    assert again.preprocess_spec() == student.preprocess_spec()
    assert again.parameters == student.parameters > 0
    assert again.head == HEAD


@pytest.mark.parametrize("name", SPECS)
def test_the_export_module_agrees(encoder, name):
    student = trained(made(encoder, name))
    rows = [{"text": text} for text in ODD]
    batch = tensors(student, rows)
    with torch.inference_mode():
        exported = student.export_module()(*(batch[key] for key in student.preprocess.inputs)).numpy()
    np.testing.assert_allclose(exported, logits(student, rows), atol=1e-5)


@pytest.mark.parametrize("name", SPECS)
def test_one_row_and_a_padded_batch_agree(encoder, name):
    student = trained(made(encoder, name))
    rows = [{"text": text} for text in ODD]
    alone = np.concatenate([logits(student, [row]) for row in rows])
    np.testing.assert_allclose(alone, logits(student, rows), atol=1e-5)
    assert np.isfinite(alone).all()


@pytest.mark.parametrize("name", SPECS)
def test_the_same_seed_gives_the_same_student(encoder, name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (made(encoder, name, seed).module.state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], again[key]) for key in first)
    begins_at_zero = name == "ngram"  # its seeds differ by the order of the rows alone
    assert begins_at_zero or any(not torch.equal(first[key], other[key]) for key in first)


def test_padding_never_learns(encoder):
    assert not trained(made(encoder, "ngram")).module.embedding.weight[0].any()


@pytest.mark.parametrize("name", ["static", "static, no hidden layer"])
def test_model2vec_gives_the_same_pooled_vectors(encoder, name, tmp_path):
    student = trained(made(encoder, name))
    student.save(tmp_path)
    texts = [
        "unknown 日本 token",
        *(text for text in ODD if text.isascii() and len(text) < 300),
    ]  # longer ones model2vec cuts by letters first
    batch = tensors(student, [{"text": text} for text in texts])
    with torch.inference_mode():
        ours = student.module.pooled(batch["input_ids"], means(batch["attention_mask"])).numpy()
    np.testing.assert_allclose(StaticModel.from_pretrained(tmp_path).encode(texts), ours, atol=1e-5)


def run(code, folder, texts):
    """Run a README's code in ``folder``, in a Python that has no potstill and no torch."""
    program = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('potstill', 'torch'): raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        f"{code}\n"
        "print('OUT' + json.dumps([logits(text).tolist() for text in json.loads(sys.stdin.read())]))\n"
        "assert labels == ['a', 'b', 'c']"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, input=json.dumps(texts), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.partition("OUT")[2])


@pytest.mark.parametrize("name", SPECS)
def test_the_readme_s_code_answers_without_potstill(encoder, name, tmp_path):
    student = trained(made(encoder, name))
    student.save(tmp_path)
    texts = ODD if student.kind == "ngram" else TEXTS
    code = re.search("```python\n(.*?)```", (tmp_path / "README.md").read_text("utf-8"), re.S)[1]
    np.testing.assert_allclose(run(code, tmp_path, texts), logits(student, [{"text": text} for text in texts]), atol=1e-4)


def test_the_model_card_s_loader_is_the_readme_s(encoder, tmp_path):
    made(encoder, "ngram").save(tmp_path)
    assert readme.loader_snippet() in (tmp_path / "README.md").read_text("utf-8")


def test_token_vectors_are_computed_once_and_are_those_of_single_tokens(encoder, monkeypatch):
    first = vectors.token_vectors(encoder, 16)
    monkeypatch.setattr(vectors, "contextual", None)
    assert np.array_equal(first, vectors.token_vectors(encoder, 16))
    assert first.dtype == np.float32
    np.testing.assert_allclose(np.square(first).mean(), 1, rtol=1e-5)


def test_contextual_vectors_are_the_means_over_the_framed_token(encoder):
    from transformers import AutoModel

    found = vectors.contextual(encoder)
    assert found.shape == (len(tiny.VOCABULARY), 32)
    one = tiny.VOCABULARY.index("good")
    with torch.inference_mode():
        state = AutoModel.from_pretrained(encoder).eval()(input_ids=torch.tensor([[2, one, 3]])).last_hidden_state
    np.testing.assert_allclose(found[one], state[0].mean(0), atol=1e-5)


def test_principal_components_are_those_of_an_svd():
    data = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    centered = data.astype(np.float64) - data.mean(0, dtype=np.float64)
    left, scale, _ = np.linalg.svd(centered, full_matrices=False)
    np.testing.assert_allclose(np.abs(vectors.principal(data, 4)), np.abs(left * scale)[:, :4], atol=1e-8)
