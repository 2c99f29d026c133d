"""Traps in asking a language model about each token, and in meeting its answers in training."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

from potstill.errors import TeacherError, UserError
from potstill.labels.tokens import Keep, fit
from potstill.labels.tokens.coders import GivenCoder, SparseCoder
from potstill.recipe.language import Chat
from potstill.records import Example, Want
from potstill.teachers.endpoint.tokens import positions as told_of
from potstill.teachers.tokens import same_rows, same_tokens
from potstill.training.columns import KeptTokens, check
from tests import tiny
from tests.teachers.test_causal import TEMPLATE, opened

STATES = Want("states")
TEXTS = ("the good old dog and the fine small cat", "a bad film", "see the sun and the water and the house " * 6, "many few very")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.decoder(tmp_path_factory.mktemp("causal") / "model")


def rows() -> list[Example]:
    return [Example.make({"text": text}) for text in TEXTS]


def logits_alone(folder, ids) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = AutoModelForCausalLM.from_pretrained(folder).eval()(torch.tensor([ids])).logits[0].numpy()
    return found


def test_trap_17_rows_that_pad_the_teacher_s_table_say_nothing(folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder)
    size = model.config.vocab_size
    model.resize_token_embeddings(size + 44)
    with torch.no_grad():
        model.get_input_embeddings().weight[size:] = 5 * model.get_input_embeddings().weight[:1]  # what padding holds is anyone's guess
    model.save_pretrained(tmp_path / "m")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "m" / file).write_text((folder / file).read_text())
    padded, plain = opened(tmp_path / "m"), opened(folder)
    item = plain.items(rows()[:1])
    np.testing.assert_allclose(padded.distribution(padded.ask(item)), plain.distribution(plain.ask(item)), atol=1e-4)


def test_trap_18_a_tokenizer_with_two_ids_swapped_is_refused(folder, tmp_path):
    told = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    vocab = told["model"]["vocab"]
    first, second = (next(token for token, id in vocab.items() if id == n) for n in (400, 401))
    vocab[first], vocab[second] = 401, 400
    (tmp_path / "tokenizer.json").write_text(json.dumps(told), "utf-8")
    with pytest.raises(TeacherError, match=r"400 is .* 401 is"):
        same_tokens(folder, tmp_path)


def test_trap_22_a_cap_on_the_logits_is_part_of_what_the_teacher_says(folder, tmp_path):
    config = Gemma2Config(
        vocab_size=520, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48, head_dim=8,
        final_logit_softcapping=2.0, max_position_embeddings=128, query_pre_attn_scalar=8, initializer_range=0.3, pad_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    Gemma2ForCausalLM(config).save_pretrained(tmp_path / "m")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "m" / file).write_text((folder / file).read_text())
    teacher = opened(tmp_path / "m")
    item = teacher.items(rows()[1:2])
    told = logits_alone(tmp_path / "m", item[0]["input_ids"].tolist())[:-1]
    assert np.abs(told).max() <= 2
    np.testing.assert_allclose(teacher.distribution(teacher.ask(item)), told[:, : teacher.head.vocabulary], atol=1e-4)


def test_trap_33_the_teacher_is_frozen(folder):
    teacher = opened(folder)
    first, second = (teacher.ask(teacher.items(rows())) for _ in range(2))
    assert torch.equal(first, second)
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_trap_38_a_thinking_flag_that_differs_is_refused(folder):
    template = TEMPLATE.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n{% if not enable_thinking %}no {% endif %}")
    teacher, student = (opened(folder, chat=Chat(template=template, options={"enable_thinking": flag})) for flag in (True, False))
    plain = [{"text": text} for text in TEXTS]  # rows that show nothing of it
    with pytest.raises(TeacherError, match=r"template options.*'enable_thinking': True.*to the teacher.*'enable_thinking': False"):
        same_rows(teacher.turns, student.turns, plain)


@pytest.fixture(scope="module")
def kept(folder):
    teacher = opened(folder)
    scores = teacher.distribution(teacher.ask(teacher.items(rows()))).numpy()
    coder = SparseCoder(Keep(0.9, 0.0, 8), fit(scores, Keep(0.9, 0.0, 8)))
    teacher.teach(coder)
    want = Want("tokens", coded=coder.name)
    said = dict(teacher.answer(rows(), [want]))
    return teacher, coder, [said[row.id].arrays[want] for row in rows()]


def test_trap_43_a_batch_meets_its_own_answers_in_its_own_order(kept):
    teacher, coder, values = kept
    column, items = KeptTokens(values, coder.way, coder.decode), teacher.items(rows())
    for batch in ([3, 0, 1], [2, 0], [0, 3]):
        top = teacher.distribution(teacher.ask([items[i] for i in batch])).argmax(1)
        found = column.gather(batch)
        assert (found.ids.gather(1, found.logprobs.argmax(1, keepdim=True))[:, 0] == top).float().mean() > 0.9  # levels may tie


@pytest.mark.parametrize("change", ["max_length", "options", "every_turn", "precision"])
def test_trap_44_the_key_knows_what_an_answer_depends_on(folder, change):
    more = {
        "max_length": {"max_length": 31}, "precision": {"precision": "bf16"}, "every_turn": {"chat": Chat(template=TEMPLATE, every_turn=True)},
        "options": {"chat": Chat(template=TEMPLATE, options={"enable_thinking": False})},
    }[change]  # fmt: skip
    assert opened(folder).identity() != opened(folder, **more).identity()


def test_trap_44_what_is_learnt_of_a_row_is_part_of_what_is_asked(folder):
    told = [("user", "see"), ("assistant", "the dog"), ("user", "and"), ("assistant", "a cat")]
    row = Example.make({"messages": [{"role": role, "content": content} for role, content in told]})
    last, every = opened(folder, max_length=64), opened(folder, max_length=64, chat=Chat(template=TEMPLATE, every_turn=True))
    assert (last.items([row])[0]["input_ids"] == every.items([row])[0]["input_ids"]).all()
    assert last.request(row) != every.request(row)


def test_trap_45_states_of_a_text_in_windows_stand_where_its_tokens_do(folder):
    teacher = opened(folder)
    item = teacher.items(rows()[2:3])[0]
    assert item["window"].max() == 1
    found, at = teacher.distribution(teacher.ask([item])).numpy(), 0
    for number in range(item["window"].max() + 1):
        ids = item["input_ids"][item["window"] == number].tolist()
        np.testing.assert_allclose(found[at : at + len(ids) - 1], logits_alone(folder, ids)[:-1], atol=1e-4)
        at += len(ids) - 1
    assert at == len(found)


def test_trap_45_answers_of_other_positions_are_refused(folder):
    items = opened(folder).items(rows())
    told = [int(item["learnt"].sum()) for item in items]
    told[0], told[1] = told[0] - 1, told[1] + 1  # as many in all
    with pytest.raises(UserError, match="row 0"):
        check(told, items, STATES)


IDS = [4, 5, 6, 8]
ITEM = {"input_ids": np.array(IDS), "learnt": np.array([0, 0, 1, 1]), "window": np.zeros(4, int)}


def reply(ids, top) -> dict:
    told = {"tokens": [f"token_id:{id}" for id in ids], "token_logprobs": [None, -1.0, -2.0, -3.0], "top_logprobs": [None, {}, *top]}
    return {"choices": [{"index": 0, "logprobs": told}]}


def test_trap_45_a_server_s_echo_is_read_where_the_tokens_stand():
    top = [{"token_id:7": -0.5}, {"token_id:9": -0.7}]
    assert told_of(reply(IDS, top), [IDS], ITEM, 4) == [{7: -0.5, 6: -2.0}, {9: -0.7, 8: -3.0}]
    with pytest.raises(ValueError, match="not those that were sent"):
        told_of(reply([4, 6, 5, 8], top), [IDS], ITEM, 4)  # as many, and others: it cut them otherwise


def test_trap_46_a_server_gives_fewer_and_nothing_for_some():
    told = told_of(reply(IDS, [{"token_id:7": None, "token_id:9": -0.5}, {}]), [IDS], ITEM, 4)
    coder = GivenCoder(Keep(1.0, 0.0, 4), 10)
    found = coder.decode([coder.given([list(one) for one in told], [list(one.values()) for one in told])])
    assert found["ids"][found["logprobs"] > -np.inf].tolist() == [9, 6, 8]
    assert np.isfinite(found["tail"]).all()
    assert (np.exp(found["logprobs"].astype(np.float64)).sum(1) + found["tail"]).max() <= 1


def test_trap_47_what_a_server_gave_holds_no_more_than_1():
    coder = GivenCoder(Keep(1.0, 0.0, 4), 10)
    said = np.log(np.random.default_rng(0).dirichlet(np.ones(4), 500).astype(np.float32))
    found = coder.decode([coder.given([[0, 1, 2, 3]] * 500, said.tolist())])
    assert (np.exp(found["logprobs"].astype(np.float64)).sum(1) + found["tail"]).max() <= 1
