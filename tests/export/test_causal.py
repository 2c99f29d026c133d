"""A language model's artifact is the model: with its cache and without, tied or not, of each family, in fp32 and in int8."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from potstill import storage
from potstill.errors import BundleError, UserError
from potstill.export import causal
from potstill.export.causal import export, odd, parity, write
from potstill.export.ladder import Gate, Judged
from potstill.runlog import RunLog
from potstill.serving.generator import Generator
from potstill.serving.predictor import Predictor
from potstill.serving.turns import spec_of
from tests import tiny

ROWS = [
    {"prompt": "the good film was", "completion": " a great movie and the best one this year"},
    {"text": "one two three the cat and the dog run home by day and night " * 4},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.decoder(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


def model(folder, kind="llama", **more):
    """A model of another family with the tiny one's vocabulary and sizes; biases and norms that are no plain zeros and ones."""
    torch.manual_seed(1)
    own = AutoConfig.from_pretrained(folder).to_dict()
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size", "max_position_embeddings")
    options = {name: own[name] for name in names} | {"initializer_range": 0.3, "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2}
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(options | more)), dtype=torch.float32).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if name.endswith("bias") or "norm" in name:
                weight.add_(0.2 * torch.randn_like(weight))
    return made


def exported(made, tokenizer, folder, method="fp32", **more):
    spec = spec_of(tokenizer, **{"max_length": 64, **more})
    write(made, spec, tokenizer.backend_tokenizer, folder, method)
    return Generator.open(folder)


SHAPES = {
    "llama": {}, "untied": {"tie_word_embeddings": False}, "biased": {"attention_bias": True, "mlp_bias": True}, "one head each": {"num_key_value_heads": 4},
    "wide heads": {"head_dim": 16}, "scaled rotation": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
    "yarn": {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 32}},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_the_graph_is_the_model(folder, tokenizer, tmp_path, shape):
    made = model(folder, **SHAPES[shape])
    found = parity(made, exported(made, tokenizer, tmp_path), [*ROWS, *odd()])
    assert found.max_abs_diff <= 1e-3, found
    assert found.positions > 200
    assert found.agreement > 0.999
    assert 0 <= found.kl < 1e-6


@pytest.mark.parametrize("kind", ["mistral", "qwen2", "qwen3"])
def test_other_families(folder, tokenizer, tmp_path, kind):
    made = model(folder, kind, head_dim=8)
    assert parity(made, exported(made, tokenizer, tmp_path), ROWS).max_abs_diff <= 1e-3


def test_int8_stays_near_and_is_smaller(folder, tokenizer, tmp_path):
    made = model(folder, hidden_size=64, head_dim=16, initializer_range=0.1)
    whole, small = (exported(made, tokenizer, tmp_path / name, name) for name in ("fp32", "blocks"))
    exact, found = (parity(made, one, [*ROWS, *odd()]) for one in (whole, small))
    assert parity(made, exported(made, tokenizer, tmp_path / "fine", "small blocks"), [*ROWS, *odd()]).kl < found.kl
    assert exact.max_abs_diff <= 1e-3 < found.max_abs_diff
    assert found.kl < 5e-3
    assert found.agreement > 0.9
    assert storage.size_of(tmp_path / "blocks") < 0.5 * storage.size_of(tmp_path / "fp32")
    assert causal.artifact(tmp_path / "blocks").precision == "int8"


@pytest.mark.parametrize("method", ["fp32", "blocks"])
def test_a_tied_table_is_in_the_file_once(folder, tokenizer, tmp_path, method):
    made = model(folder)
    exported(made, tokenizer, tmp_path, method)
    sizes = sorted(len(tensor.raw_data) for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer)
    table = made.model.embed_tokens.weight.numel() * (4 if method == "fp32" else 1)
    assert sizes[-1] == table > sizes[-2]


def test_the_same_weights_give_the_same_bytes(folder, tokenizer, tmp_path):
    for name in "ab":
        exported(model(folder), tokenizer, tmp_path / name)
    assert (tmp_path / "a" / "model.onnx").read_bytes() == (tmp_path / "b" / "model.onnx").read_bytes()


def test_weights_too_large_for_one_file_lie_beside_the_graph(folder, tokenizer, tmp_path, monkeypatch):
    made = model(folder)
    monkeypatch.setattr(causal, "LARGEST", 1000)
    generator = exported(made, tokenizer, tmp_path)
    assert {"model.onnx", "model.onnx.data", "tokenizer.json"} == set(storage.read_json(tmp_path / "artifact.json")["files"])
    assert parity(made, generator, ROWS).max_abs_diff <= 1e-3
    monkeypatch.undo()
    exported(made, tokenizer, tmp_path)
    assert not (tmp_path / "model.onnx.data").exists()


def test_what_no_graph_can_be_written_of_is_refused(folder, tokenizer, tmp_path):
    for made, words in (
        (model(folder, "gemma", head_dim=8), "type 'gemma'"),
        (model(folder, hidden_act="gelu"), "activation 'gelu'"),
        (model(folder, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}), "rotations of type 'dynamic'"),
    ):
        with pytest.raises(UserError, match=words):
            exported(made, tokenizer, tmp_path)
    with pytest.raises(UserError, match="rows of 64 tokens, and the model sees 32"):
        exported(model(folder, "mistral", head_dim=8, sliding_window=32), tokenizer, tmp_path)


def judge(generator):
    said = generator.measure(ROWS)
    return Judged(-float(said[:, 0].sum() / said[:, 1].sum()), np.zeros(len(ROWS)))


def test_the_ladder_keeps_int8_where_it_passes_the_gate_and_fp32_elsewhere(folder, tokenizer, tmp_path):
    made, spec = model(folder, hidden_size=64, head_dim=16, initializer_range=0.1), spec_of(tokenizer, max_length=64)
    log = RunLog()
    for gate, kept in ((Gate(0.05), "int8"), (Gate(-1.0), "fp32")):
        found, told = export(
            made, spec, tokenizer.backend_tokenizer, tmp_path / kept, precision="auto", judge=judge, gate=gate, rows=ROWS, log=log
        )  # fmt: skip
        assert found.precision == kept
        assert [step["precision"] for step in told["steps"] if step["kept"]] == [kept]
        assert len(told["steps"]) == (2 if kept == "int8" else 3)
        assert {"kl", "agreement", "max_abs_diff"} <= set(told["steps"][1]["parity"])
        assert parity(made, Generator.open(tmp_path / kept), ROWS).max_abs_diff < 0.5


def test_a_predictor_is_not_opened_on_it(folder, tokenizer, tmp_path):
    exported(model(folder), tokenizer, tmp_path)
    with pytest.raises(BundleError, match="a language model"):
        Predictor.open(tmp_path)
