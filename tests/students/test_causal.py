"""A student that writes is what it was cut from, layer by layer and channel by channel, and a plain folder of transformers."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from potstill import storage
from potstill.errors import UserError
from potstill.objectives.tokens import models
from potstill.records import Example, Head
from potstill.serving.turns import NEXT
from potstill.students import build, causal, depth, language, vocabulary
from tests import tiny

HEAD = Head("tokens", ())
TEXTS = ["good film and a great book", "the worst service, never again!", "chronic pain in the left eye 12", "the cat and the dog walk home"]
ROWS = [Example(str(i), {"text": text}) for i, text in enumerate(TEXTS)]
SPEC = {"kind": "transformer", "layers": 4, "source": "teacher", "max_length": None, "heads": None, "intermediate": None, "hidden": None}


def made(folder, /, **more):
    return build.build(SimpleNamespace(**{**SPEC, **more}), HEAD, source=folder, fields=("text",), seed=0, max_length=32, rows=ROWS)


def batch(student, rows=ROWS):
    arrays = student.preprocess.collate(student.preprocess.encode([row.fields for row in rows]))
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@torch.inference_mode()
def logits(student):
    student.module.eval()
    return student.forward(batch(student)).logits


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.decoder(tmp_path_factory.mktemp("causal") / "model", layers=4)


@pytest.fixture(scope="module")
def theirs(source):
    return AutoModelForCausalLM.from_pretrained(source).eval()


def changed(source, folder, change, **config):
    """Write the model in ``source`` to ``folder`` after ``change(model)``."""
    model = LlamaForCausalLM.from_pretrained(source, **config)
    with torch.no_grad():
        change(model)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def test_all_layers_at_full_width_are_the_model_itself(source, theirs):
    student = made(source)
    given = batch(student)
    own = theirs(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits[given[NEXT] != -100]
    assert torch.equal(logits(student), own)
    whole = made(source, heads=4, intermediate=64, hidden=32)
    assert torch.equal(logits(whole), own)
    assert student.parameters == sum(p.numel() for p in theirs.parameters())
    assert (student.hidden_layers, student.width, student.head) == (4, 32, HEAD)


def test_its_layers_are_those_of_the_source(source, theirs):
    student = made(source, layers=2)
    assert student.layers == (0, 3)
    own, given = student.module.state_dict(), theirs.state_dict()
    for name, value in own.items():
        assert torch.equal(value, given[name.replace("layers.1.", "layers.3.")])
    assert made(source, layers=[1, 2]).layers == (1, 2)


def test_a_tied_head_stays_tied(source, tmp_path):
    student = made(source, layers=2, hidden=16)
    assert student.token_head().weight is student.module.get_input_embeddings().weight
    student.save(tmp_path / "s")
    assert "lm_head.weight" not in load_file(tmp_path / "s" / "model.safetensors")
    loaded = build.load(tmp_path / "s")
    assert loaded.token_head().weight is loaded.module.get_input_embeddings().weight
    assert torch.equal(logits(loaded), logits(student))


def test_a_head_of_its_own_is_kept(source, tmp_path):
    folder = changed(source, tmp_path / "m", lambda model: model.lm_head.weight.mul_(-2), tie_word_embeddings=False)
    student = made(folder, layers=2, hidden=24)
    assert student.token_head().weight is not student.module.get_input_embeddings().weight
    student.save(tmp_path / "s")
    assert torch.equal(logits(build.load(tmp_path / "s")), logits(student))


def test_it_is_a_plain_folder_with_its_layers_and_its_preprocessing(source, tmp_path):
    student = made(source, layers=2, heads=2, intermediate=40, hidden=20)
    student.save(tmp_path / "s")
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path / "s", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    config = model.config
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.hidden_size, config.intermediate_size) == (2, 1, 8, 20, 40)
    given = batch(student)
    own = model.eval()(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits[given[NEXT] != -100]
    torch.testing.assert_close(own, logits(student))
    saved = storage.read_json(tmp_path / "s" / "student.json")
    assert (saved["head"], saved["spec"], saved["preprocess"]["kind"]) == ({"kind": "tokens", "labels": []}, {"layers": [0, 3]}, "turns")
    assert build.load(tmp_path / "s").layers == (0, 3)


def test_parts_that_add_nothing_go_first(source, tmp_path):
    def dull(model):
        for layer in model.model.layers:
            layer.mlp.down_proj.weight[:, ::2] = 0
            layer.self_attn.o_proj.weight[:, 16:] = 0  # the second group of two heads

    folder = changed(source, tmp_path / "m", dull)
    whole, half = made(folder), made(folder, intermediate=32, heads=2)
    torch.testing.assert_close(logits(half), logits(whole), atol=1e-4, rtol=1e-4)
    assert half.parameters < whole.parameters


def test_hidden_channels_are_kept_by_what_the_norms_give(source, tmp_path):
    def dull(model):
        for name, value in model.named_parameters():
            if name.endswith("norm.weight"):
                value[1::2] = 1e-6

    folder = changed(source, tmp_path / "m", dull)
    narrow = made(folder, hidden=16)
    own = AutoModelForCausalLM.from_pretrained(folder).model.layers[2].mlp.gate_proj.weight
    assert torch.equal(narrow.module.model.layers[2].mlp.gate_proj.weight, own[:, ::2])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"heads": 3}, "3 heads are no whole groups.*take 2 or 4"),
        ({"hidden": 64}, "64 of 32"),
        ({"layers": 5}, "5 layers of 4"),
        ({"layers": [0, 4]}, r"layers \[0, 4\]"),
        ({"source": "scratch", "heads": 5}, "5 heads are no whole groups"),
    ],
)
def test_what_can_not_be_cut_is_refused_with_what_can(source, asked, said):
    with pytest.raises(UserError) as caught:
        made(source, **asked)
    assert re.search(said, str(caught.value), re.S), str(caught.value)


def test_a_model_that_writes_nothing_is_refused(tmp_path):
    with pytest.raises(UserError):
        made(tiny.encoder(tmp_path / "m"))


def test_kinds_that_write_nothing_are_refused(source):
    with pytest.raises(UserError, match="'static' writes no text"):
        made(source, kind="static")


def test_from_scratch_it_has_the_stated_shape_and_no_weight_of_the_model(source, theirs):
    shape = {"source": "scratch", "layers": 3, "heads": 6, "hidden": 20, "intermediate": 24}
    student, again = made(source, **shape), made(source, **shape)
    config = student.module.config
    assert (config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.hidden_size) == (3, 6, 3, 8, 20)
    assert all(torch.equal(a, b) for a, b in zip(student.module.state_dict().values(), again.module.state_dict().values()))
    same = made(source, source="scratch", layers=4).module.state_dict()
    assert not any(torch.equal(same[name], value) for name, value in theirs.state_dict().items() if value.ndim > 1)


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "mistral"])
def test_others_of_the_family_are_cut_by_depth_and_width(source, tmp_path, kind):
    sizes = {"vocab_size": 520, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes, head_dim=8, bos_token_id=1, eos_token_id=2, pad_token_id=2))
    model.save_pretrained(tmp_path / "m")
    AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path / "m")
    whole, same = made(tmp_path / "m", layers=3), made(tmp_path / "m", layers=3, heads=4, hidden=32)
    assert torch.equal(logits(whole), logits(same))
    small = made(tmp_path / "m", layers=2, heads=2, hidden=20, intermediate=24)
    small.save(tmp_path / "s")
    assert torch.equal(logits(build.load(tmp_path / "s")), logits(small))
    if kind.startswith("qwen"):
        assert len(small.module.config.layer_types) == 2


# ------------------------------------------------------------------------------------------------------------------ depth
def test_layers_that_do_nothing_go_first(source, tmp_path):
    def idle(model):
        for layer in (0, 2):
            model.model.layers[layer].mlp.down_proj.weight.zero_()
            model.model.layers[layer].self_attn.o_proj.weight.zero_()

    folder = changed(source, tmp_path / "m", idle)
    whole = made(folder)
    given = batch(whole)
    losses = depth.losses_without(whole.module, [given, batch(whole, ROWS[:1])])
    assert losses[0] == losses[2] != losses[1]
    assert losses[:4] == pytest.approx([by_hand(whole, layer, [given, batch(whole, ROWS[:1])]) for layer in range(4)], rel=1e-5)
    assert depth.of_losses([5.0, 9.0, 5.0, 8.0], 2, (0, 3)) == (1, 3)
    kept = made(folder, layers=2, choose="importance")
    expected = tuple(sorted(sorted(range(4), key=lambda n: (-losses[n], n not in (0, 3), n))[:2]))
    assert kept.layers == expected


@torch.inference_mode()
def by_hand(student, layer, batches):
    """The loss of the model without a layer, by transformers: the layer gives what it is given."""
    handle = student.module.model.layers[layer].register_forward_hook(lambda module, args, kwargs, out: args[0], with_kwargs=True)
    nats, tokens = 0.0, 0
    for given in batches:
        own, wanted = student.forward(given).logits, given[NEXT][given[NEXT] != -100]
        nats, tokens = nats + float(torch.nn.functional.cross_entropy(own, wanted, reduction="sum")), tokens + len(wanted)
    handle.remove()
    return nats / tokens


def test_of_equal_layers_those_spread_evenly_are_kept():
    assert depth.of_losses([1.0] * 6, 3, (0, 2, 5)) == (0, 2, 5)


# ------------------------------------------------------------------------------------------------------------------- LoRA
ADAPTERS = SimpleNamespace(rank=2, alpha=4.0)


def test_merged_adapters_say_what_the_trained_ones_said(source, tmp_path):
    student = made(source, layers=2, lora=ADAPTERS)
    before, plain = logits(student), made(source, layers=2)
    assert torch.equal(before, logits(plain))
    assert student.parameters == plain.parameters
    trained = [name for name, p in student.module.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    with torch.no_grad():
        for name, value in student.module.named_parameters():
            if "lora_B" in name:
                value.normal_()
    student.save(tmp_path / "s")
    assert not torch.allclose(before, logits(student), atol=1e-2)
    torch.testing.assert_close(logits(build.load(tmp_path / "s")), logits(student), atol=1e-4, rtol=1e-4)
    assert load_file(tmp_path / "s" / "model.safetensors").keys() == {n for n in plain.module.state_dict() if n != "lm_head.weight"}


def test_the_same_seed_gives_the_same_adapters(source):
    one, other = (dict(made(source, layers=2, lora=ADAPTERS).module.named_parameters()) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


# ---------------------------------------------------------------------------------------------------------- heads, memory
@pytest.mark.parametrize("kind", ["gemma2", "granite", "cohere", "qwen2"])
def test_heads_that_scale_or_cap_are_known(kind):
    model = other(kind)
    models.check(model, place=kind)
    ids = torch.arange(12)[None]
    states = model.base_model(input_ids=ids).last_hidden_state[0]
    torch.testing.assert_close(language.logits_of(models.head_of(model), states), model(input_ids=ids).logits[0])


def test_a_head_that_is_not_known_is_refused():
    model = other("qwen2")
    model.config.logit_scale = 0.25  # which this kind of model knows nothing of
    with pytest.raises(UserError, match="makes its logits otherwise"):
        models.check(model, place="here")


def other(kind):
    sizes = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 32}
    more = {"gemma2": {"head_dim": 8, "final_logit_softcapping": 2.0}, "granite": {"logits_scaling": 3.0}, "cohere": {"logit_scale": 0.25}}.get(kind, {})
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes, pad_token_id=0, **more)).eval()


def test_checkpointing_changes_no_gradient(source):
    found = []
    for checkpointing in (False, True):
        student = made(source, layers=2, checkpointing=checkpointing)
        student.module.train()
        student.states(batch(student)).square().sum().backward()
        found.append({name: p.grad for name, p in student.module.named_parameters()})
    assert student.module.is_activation_checkpointing
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


# ------------------------------------------------------------------------------------------------------------ vocabulary
TEMPLATE = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
TALK = [{"messages": [{"role": "user", "content": "good film?"}, {"role": "assistant", "content": "the best of the year"}]}, {"text": "a red house"}]


@pytest.mark.parametrize("tied", [True, False])
def test_with_the_vocabulary_of_its_rows_it_says_the_same_of_the_tokens_it_has(source, tmp_path, tied):
    folder = changed(source, tmp_path / "m", lambda model: model.lm_head.weight.mul_(1 if tied else -2), tie_word_embeddings=tied)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    whole = made(folder)
    sizes = vocabulary.trim(folder, tmp_path / "small", [{"text": text} for text in causal.texts(whole.preprocess, TALK)], ("text",))
    assert sizes["after"] < sizes["before"]
    small, kept = made(tmp_path / "small"), vocabulary.kept(folder, tmp_path / "small")
    assert len(kept) == sizes["after"] == small.module.config.vocab_size
    items, own = whole.preprocess.encode(TALK), small.preprocess.encode(TALK)
    for one, other in zip(items, own):
        assert [kept[id] for id in other["input_ids"]] == one["input_ids"].tolist()
        assert one["learnt"].tolist() == other["learnt"].tolist()
    assert {kept[id] for id in small.preprocess.stops} == whole.preprocess.stops
    assert kept[small.module.generation_config.eos_token_id] == whole.module.generation_config.eos_token_id
    rows = [Example(str(n), row) for n, row in enumerate(TALK)]
    with torch.inference_mode():
        given, told = (student.module.eval() and student.forward(batch(student, rows)).logits for student in (whole, small))
    torch.testing.assert_close(told, given[:, kept])
    assert (small.token_head().weight is small.module.get_input_embeddings().weight) == tied
