"""A causal language model as teacher: what it says of each learnt token is what transformers says of that row alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, BertConfig, BertLMHeadModel, Gemma2Config, Gemma2ForCausalLM, GraniteConfig, GraniteForCausalLM

from potstill.errors import TeacherError
from potstill.labels import Account, LabelStore, ask
from potstill.labels.tokens import Keep
from potstill.labels.tokens.coders import HiddenCoder, SampledCoder, SparseCoder, positions
from potstill.labels.tokens.error import normal
from potstill.labels.tokens.fit import fit
from potstill.recipe.language import Chat
from potstill.recipe.teacher import ModelTeacher
from potstill.records import Answered, Example, Failed, Head, Want
from potstill.serving.turns import learnt
from potstill.teachers import build, speaking
from potstill.teachers.causal import CausalTeacher
from tests import tiny

HEAD, STATES = Head("tokens", ()), Want("states")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)  # fmt: skip
ROWS = (
    {"text": "the good old dog and the fine small cat"},
    {"prompt": "a good film ", "completion": "was never seen"},
    {"text": "one two three four five " * 12},  # several windows
    {"messages": [{"role": "user", "content": "see the dog"}, {"role": "assistant", "content": "i see a dog, and a cat too"}]},
    {"prompt": "a question alone"},  # nothing of it is learnt
    {"text": "naïve 日本 🙂"},
)


def rows(fields=ROWS) -> list[Example]:
    return [Example.make(dict(one)) for one in fields]


def spec(folder, **more) -> ModelTeacher:
    return ModelTeacher(**{"model": str(folder), "max_length": 32, "chat": Chat(template=TEMPLATE), **more})


def opened(folder, **more) -> CausalTeacher:
    return build(spec(folder, **more), HEAD)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.decoder(tmp_path_factory.mktemp("causal") / "model")


@pytest.fixture(scope="module")
def teacher(folder):
    return opened(folder)


def alone(folder, item) -> np.ndarray:
    """The logits of transformers where a learnt token is foretold, each window by itself."""
    model, found = AutoModelForCausalLM.from_pretrained(folder).eval(), []
    for number in range(item["window"].max(initial=-1) + 1):
        here = item["window"] == number
        with torch.no_grad():
            logits = model(torch.from_numpy(item["input_ids"][here])[None]).logits[0].numpy()
        found.append(logits[np.flatnonzero(item["learnt"][here]) - 1])
    return np.concatenate(found)


def test_its_states_are_each_row_s_own_whoever_shares_the_batch(folder, teacher):
    said = dict(teacher.answer(rows(), [STATES]))
    assert set(said) == {row.id for row in rows()}
    for row in rows():
        item, states = teacher.items([row])[0], said[row.id].arrays[STATES]
        assert states.dtype == np.float16
        assert states.shape == (learnt(item), 32)
        if len(states):
            got = teacher.distribution(torch.from_numpy(states).float()).numpy()
            np.testing.assert_allclose(got, alone(folder, item), atol=0.02, rtol=2e-3)
            exact = teacher.distribution(teacher.ask([item])).numpy()
            np.testing.assert_allclose(exact, alone(folder, item), atol=1e-4)
    assert learnt(teacher.items(rows()[2:3])[0]) > 32  # over several windows


def test_states_asked_anew_stand_in_the_order_of_the_rows(teacher):
    items = teacher.items(rows())
    whole = teacher.ask(items)
    np.testing.assert_allclose(whole, torch.cat([teacher.ask([item]) for item in items]), atol=1e-5)


def test_it_is_frozen_and_says_the_same_twice(teacher):
    first, second = (dict(teacher.answer(rows(), [STATES])) for _ in range(2))
    assert all((first[id].arrays[STATES] == second[id].arrays[STATES]).all() for id in first)
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def coders(teacher):
    exact = np.concatenate([teacher.distribution(teacher.ask([item])).numpy() for item in teacher.items(rows()) if learnt(item)])
    book = fit(exact, Keep(0.9999, 1e-5, 128))
    return exact, [SparseCoder(Keep(0.9999, 1e-5, 128), book), SampledCoder(12, book), HiddenCoder("bf16", teacher.head_digest)]


def test_tokens_through_the_store_hold_what_it_said(folder, teacher, tmp_path):
    exact, ways = coders(teacher)
    wants = [Want("tokens", coded=coder.name) for coder in ways]
    for coder in ways:
        teacher.teach(coder)
    with LabelStore(tmp_path / "labels") as store:
        answers = ask(teacher, rows(), [*wants, STATES], Account(store))
        assert answers.counts == {"answered": len(ROWS), "refused": 0, "failed": 0}
        assert answers.labels == ()
        ids = [row.id for row in rows()]
        for want, coder in zip(wants, ways):
            values = [array[0].tobytes() for array in answers.arrays(ids, want)]
            assert positions(values) == [learnt(item) for item in teacher.items(rows())]
            found = coder.decode(values)
            if coder.way == "sparse":
                inside = np.isfinite(found["logprobs"])
                told = np.take_along_axis(normal(exact), found["ids"], 1)
                assert np.abs(told - found["logprobs"])[inside & (told > -6)].max() < 1
                assert (np.exp(found["logprobs"]).sum(1) + found["tail"]).max() <= 1
            if coder.way == "hidden":
                np.testing.assert_allclose(teacher.distribution(torch.from_numpy(found["states"])), exact, atol=0.1)
        again = ask(opened(folder), rows(), [STATES], Account(store))  # another that is the same finds it all
        assert (again.usage.teacher_calls, again.usage.cached_calls) == (0, len(ROWS))


def test_a_second_run_loads_no_model(folder, teacher, tmp_path):
    with LabelStore(tmp_path / "labels") as store:
        ask(teacher, rows(), [STATES], Account(store))
        other = opened(folder)
        ask(other, rows(), [STATES], Account(store))
        assert "_model" not in vars(other)


def test_draws_hang_on_the_row_not_on_its_company(teacher):
    _, (_, coder, _) = coders(teacher)
    teacher.teach(coder)
    want = Want("tokens", coded=coder.name)
    together, single = dict(teacher.answer(rows(), [want])), {row.id: dict(teacher.answer([row], [want]))[row.id] for row in rows()}
    for id, answer in together.items():
        mine, other = (coder.decode([one.arrays[want][0].tobytes()]) for one in (answer, single[id]))
        assert (mine["ids"] == other["ids"]).mean() > 0.98 if mine["ids"].size else True


def test_the_key_changes_with_all_that_an_answer_depends_on(folder):
    row = rows()[3]
    plain = opened(folder)
    asked = {plain.identity() + plain.request(row).hex()}
    other = TEMPLATE.replace("{{ m.role }}", "{{ m.role }} :")
    for more in (
        {"max_length": 31},
        {"precision": "bf16"},
        {"chat": Chat(template=other)},
        {"chat": Chat(template=TEMPLATE, options={"enable_thinking": False})},
    ):
        changed = opened(folder, **more)
        asked.add(changed.identity() + changed.request(row).hex())
    assert len(asked) == 5
    assert plain.request(row) == opened(folder).request(row)
    assert plain.request(rows()[2]) != opened(folder, max_length=24).request(rows()[2])  # other windows
    written = opened(
        folder, chat=Chat(template=TEMPLATE.replace("{{ m.content }}", "{{ m.content }}{% if thinking %}!{% endif %}"), options={"thinking": True})
    )
    assert written.request(row) != plain.request(row)  # what it is told shows in the ids, too


def test_rows_that_can_not_be_read_fail_and_the_others_are_answered(teacher):
    bad = [Example.make({"text": "\ud800"}), Example.make({"messages": [{"role": "user", "content": ""}]})]
    said = dict(teacher.answer([*bad, *rows()[:1]], [STATES]))
    assert [type(said[row.id]) for row in bad] == [Failed, Failed]
    assert isinstance(said[rows()[0].id], Answered)
    assert "Unicode" in said[bad[0].id].reason
    assert len({teacher.request(row) for row in bad}) == 2


def test_facts(teacher):
    facts = teacher.facts()
    assert (facts["layers"], facts["width"], facts["vocabulary"], facts["architecture"]) == (3, 32, len(teacher._tokenizer), "LlamaForCausalLM")
    assert facts["parameters"] > 0
    assert json.dumps(facts)
    assert teacher.offers() == {"states", "tokens", "text"}
    assert teacher.labels == ()


def test_what_is_in_the_way_is_said(folder, teacher, tmp_path):
    with pytest.raises(TeacherError, match="was not handed"):
        list(teacher.answer(rows(), [Want("tokens", coded="other")]))
    with pytest.raises(TeacherError, match="takes 128 tokens"):
        opened(folder, max_length=500)
    with pytest.raises(TeacherError, match="onnx-int8"):
        opened(folder, precision="onnx-int8")
    with pytest.raises(TeacherError, match="no folder"):
        opened(tmp_path / "none")
    with pytest.raises(TeacherError, match="writes no text"):
        build(type("S", (), {"kind": "recorded"})(), HEAD)


def saved(folder, target, kind, config) -> None:
    """A model of another architecture with the tokenizer of ``folder``."""
    torch.manual_seed(0)
    kind(config).eval().save_pretrained(target)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (target / file).write_text((folder / file).read_text())


SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "initializer_range": 0.3}


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (Gemma2ForCausalLM, Gemma2Config(**SHAPE, head_dim=8, final_logit_softcapping=3.0, max_position_embeddings=128, query_pre_attn_scalar=8)),
        (GraniteForCausalLM, GraniteConfig(**SHAPE, logits_scaling=5.0, max_position_embeddings=128)),
    ],
)
def test_what_other_families_put_around_the_head(folder, tmp_path, kind, config):
    config.vocab_size, config.pad_token_id = 700, 2  # padded: the tokenizer has fewer
    saved(folder, tmp_path / "m", kind, config)
    teacher = opened(tmp_path / "m")
    item = teacher.items(rows()[:1])[0]
    got, told = teacher.distribution(teacher.ask([item])).numpy(), alone(tmp_path / "m", item)
    size = len(teacher._tokenizer)
    assert size < 700
    np.testing.assert_allclose(got, told[:, :size], atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_what_it_writes_is_what_transformers_writes_of_each_row_alone(folder, tmp_path, family):
    place = folder
    if family == "gemma2":  # layers that see a window alone have a cache of another kind
        config = Gemma2Config(**SHAPE, head_dim=8, max_position_embeddings=128, query_pre_attn_scalar=8, sliding_window=8)
        config.vocab_size, config.pad_token_id = 700, 2
        saved(folder, place := tmp_path / "m", Gemma2ForCausalLM, config)
    teacher = opened(place, batch_size=3)
    asked = [row for row in rows() if "text" not in row.fields] + rows([{"prompt": "one two " * n, "completion": "x"} for n in (1, 3, 12)])
    want = speaking.wanted(9)
    first = dict(teacher.answer(asked, [want]))[asked[1].id].arrays[want]
    teacher.turns = replace(teacher.turns, renderer=replace(teacher.turns.renderer, end=int(first[3, 0])))  # so that some end before others
    said = dict(teacher.answer(asked, [want]))
    model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
    ended = []
    for row in asked:
        ids = torch.from_numpy(teacher.turns.question(row.fields))[None]
        alone: list[int] = []
        while len(alone) < 9 and (not alone or alone[-1] not in teacher.turns.stops):
            told = model(torch.cat([ids, torch.tensor([alone], dtype=torch.long)], dim=1), use_cache=False)
            alone.append(int(told.logits[0, -1, : len(teacher._tokenizer)].argmax()))
        assert said[row.id].arrays[want][:, 0].tolist() == alone
        ended.append(len(alone))
    assert min(ended) < max(ended)


def test_an_answer_ends_where_the_models_context_is_full_and_beside_states_both_are_given(teacher):
    long = Example.make({"prompt": "one two three " * 40, "completion": " four"})
    want = speaking.wanted(500)
    found = dict(teacher.answer([long], [want, STATES]))[long.id].arrays
    assert 0 < len(found[want]) <= 128 - len(teacher.turns.question(long.fields))
    assert found[STATES].dtype == np.float16
    with pytest.raises(TeacherError, match="says not how"):
        list(teacher.answer([long], [Want("text")]))


def test_a_model_that_looks_ahead_is_refused(folder, tmp_path):
    config = BertConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, max_position_embeddings=128, initializer_range=0.3
    )
    saved(folder, tmp_path / "m", BertLMHeadModel, config)
    with pytest.raises(TeacherError, match=r"see those behind them|no linear head|otherwise than by its head"):
        list(opened(tmp_path / "m").answer(rows()[:1], [STATES]))


def test_a_gguf_file_is_a_teacher_too(folder, tmp_path, monkeypatch):
    pytest.importorskip("gguf")
    from tests.teachers.test_gguf import write  # its tests are skipped where that package is not

    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "home"))
    (tmp_path / "packed").mkdir()
    write(folder, tmp_path / "packed" / "tiny.gguf")
    packed, plain = opened(tmp_path / "packed"), opened(folder)
    items = plain.items(rows())
    assert [item["input_ids"].tolist() for item in packed.items(rows())] == [item["input_ids"].tolist() for item in items]
    got, told = (normal(teacher.distribution(teacher.ask(items)).numpy()) for teacher in (packed, plain))
    assert (np.exp(told) * (told - got)).sum(1).mean() < 0.05  # its weights are in 8 bits
    assert packed.identity() != plain.identity()
