"""Turns become ids as transformers makes them; answers are learnt to their end, nothing else is, and long prompts never eat an answer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from potstill.errors import DataError, UserError
from potstill.serving.conversation import Conversation, Turn, conversation
from potstill.serving.rendering import LEAST_PROMPT, Renderer, fitted
from tests import tiny

CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}{{ '<|im_start|>system\nbe kind<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As reasoning models have it: earlier answers lose what stands in <think>, and generation begins behind an opened tag.
FORGETS = CHATML.replace("m['content']", "(m['content'] if loop.last else m['content'].split('</think>')[-1])")
OPENS = CHATML.replace("'<|im_start|>assistant\n'", "'<|im_start|>assistant\n<think>\n'")
GENERATION = "{% for m in messages %}{{ m['role'] }}: {% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}{% else %}{{ m['content'] | tojson }}{% endif %};{% endfor %}"
ENDLESS = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return AutoTokenizer.from_pretrained(tiny.decoder(tmp_path_factory.mktemp("decoder")))


def renderer(tokenizer, template=CHATML, **more):
    return Renderer(tokenizer.backend_tokenizer, end=tokenizer.eos_token_id, template=template, **more)


def chat(*said, every_turn=False):
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]
    return conversation({"messages": messages}, every_turn=every_turn)


def learnt(tokenizer, row):
    return tokenizer.decode(row.ids[row.learnt])


words = st.lists(st.sampled_from(tiny.WORDS), min_size=1, max_size=6).map(" ".join)


@pytest.mark.parametrize("template", [CHATML, GENERATION, ENDLESS])
@settings(max_examples=25, deadline=None)
@given(said=st.lists(words, min_size=1, max_size=5))
def test_what_a_template_writes_is_what_transformers_writes(tokenizer, template, said):
    told, made = chat(*said), renderer(tokenizer, template)
    messages = [{"role": turn.role, "content": turn.content} for turn in told.turns]
    for ask in (False, True):
        expected = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=ask)
        assert made.text(told.turns, ask=ask) == expected
    if told.learnt and template == CHATML:
        (row,) = made.rows(told, 1000)
        assert row.ids.tolist() == tokenizer(made.text(told.turns), add_special_tokens=False)["input_ids"]
        question = made.question(told)
        assert row.ids[: len(question)].tolist() == question  # what is learnt behind is what is asked behind
        assert not row.learnt[: len(question)].any()
        assert row.learnt[len(question)]


def test_the_last_answer_is_learnt_with_its_end_and_nothing_behind(tokenizer):
    made = renderer(tokenizer)
    (row,) = made.rows(chat("good dog", "bad cat", "red fish", "blue bird"), 1000)
    assert learnt(tokenizer, row) == "blue bird<|im_end|>"
    assert tokenizer.decode(row.ids).endswith("<|im_end|>\n")
    (row,) = made.rows(chat("good dog", "bad cat", "red fish", "blue bird", every_turn=True), 1000)
    assert learnt(tokenizer, row) == "bad cat<|im_end|>blue bird<|im_end|>"
    (row,) = made.rows(chat("good dog"), 1000)
    assert not row.learnt.any()


def test_a_template_without_an_end_gets_one(tokenizer):
    (row,) = renderer(tokenizer, ENDLESS).rows(chat("good dog", "bad cat"), 1000)
    assert learnt(tokenizer, row) == "bad cat\n<|im_end|>"


def test_an_earlier_answer_that_is_written_otherwise_later_is_not_learnt(tokenizer):
    told = chat("one", "so</think>two", "three", "four", every_turn=True)
    (row,) = renderer(tokenizer, FORGETS).rows(told, 1000)
    assert learnt(tokenizer, row) == "four<|im_end|>"


def test_an_answer_that_does_not_stand_where_it_is_asked_for_is_refused(tokenizer):
    with pytest.raises(UserError, match="writes it behind something else"):
        renderer(tokenizer, OPENS).rows(chat("one", "two"), 100)


def test_options_reach_the_template_and_a_refusal_is_told(tokenizer):
    made = renderer(tokenizer, "{% if thinking %}yes{% else %}{{ raise_exception('never without') }}{% endif %}", options={"thinking": True})
    assert made.text(chat("one").turns) == "yes"
    with pytest.raises(UserError, match="refuses these turns: never without"):
        renderer(tokenizer, made.template).text(chat("one").turns)
    with pytest.raises(UserError, match="no chat template"):
        renderer(tokenizer, None).rows(chat("one", "two"), 100)
    assert renderer(tokenizer, "{{ strftime_now('%Y') }}").text(chat("one").turns) == "2024"


def test_a_template_can_not_reach_out_of_its_sandbox(tokenizer):
    with pytest.raises(UserError, match="refuses"):
        renderer(tokenizer, "{{ messages.__class__.__mro__ }}").text(chat("one").turns)
    with pytest.raises(UserError, match="refuses"):
        renderer(tokenizer, "{{ messages.append(1) }}").text(chat("one").turns)


def test_prompt_and_completion_are_joined_as_they_are_asked(tokenizer):
    made = renderer(tokenizer, None, begin=tokenizer.bos_token_id)
    told = conversation({"prompt": "good", "completion": "ness is"})
    (row,) = made.rows(told, 100)
    assert row.ids[: len(made.question(told))].tolist() == made.question(told)
    assert row.ids[0] == tokenizer.bos_token_id
    assert learnt(tokenizer, row) == "ness is<|im_end|>"
    lists = {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}
    assert conversation(lists) == chat("a", "b")


@settings(max_examples=60, deadline=None)
@given(prompt=st.integers(0, 60), answer=st.integers(1, 60), size=st.integers(LEAST_PROMPT + 2, 60), keep=st.integers(0, 1))
def test_a_long_prompt_never_eats_the_answer(prompt, answer, size, keep):
    prompt = max(prompt, 1)
    ids, marks = list(range(prompt + answer)), [False] * prompt + [True] * answer
    row = fitted(ids, marks, size, keep=keep)
    assert len(row.ids) == min(size, prompt + answer)
    assert len(row.ids) + row.cut + row.lost == prompt + answer
    assert row.lost == 0 or row.learnt.sum() >= size - max(LEAST_PROMPT, keep)
    if answer + LEAST_PROMPT <= size:
        assert row.lost == 0
        assert row.ids[row.learnt].tolist() == list(range(prompt, prompt + answer))
    assert row.ids[:keep].tolist() == ids[:keep]
    assert not row.learnt[0]


def test_the_oldest_turns_of_a_long_chat_go_first(tokenizer):
    made = renderer(tokenizer)
    told = chat("one " * 20, "two " * 20, "red dog", "blue cat")
    whole = made.rows(told, 1000)[0]
    (row,) = made.rows(told, 60)
    assert learnt(tokenizer, row) == "blue cat<|im_end|>"
    assert len(row.ids) <= 60
    assert "red dog" in tokenizer.decode(row.ids)
    assert "one" not in tokenizer.decode(row.ids)
    assert row.cut == len(whole.ids) - len(row.ids)


@settings(max_examples=40, deadline=None)
@given(text=st.lists(st.sampled_from(tiny.WORDS), min_size=1, max_size=60).map(" ".join), size=st.integers(2, 20))
def test_a_long_text_is_learnt_in_windows_each_token_once(tokenizer, text, size):
    rows = renderer(tokenizer, None).rows(conversation({"text": text}), size)
    whole = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    assert [id for row in rows for id in row.ids[row.learnt].tolist()] == whole[1:]
    assert all(len(row.ids) <= size for row in rows)
    assert all(a.ids[-1] == b.ids[0] for a, b in itertools.pairwise(rows))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "no fields"),
        ({"text": "a", "prompt": "b"}, "one form, not 2"),
        ({"text": ""}, "text is empty"),
        ({"text": 3}, "text is int"),
        ({"messages": "hello"}, "messages is str"),
        ({"messages": []}, "messages is list"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\] has no role and content"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "'robot' is no role"),
        ({"messages": [{"role": "user", "content": [1]}]}, "and not a text"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "turns come as assistant"),
        ({"messages": [{"role": "user", "content": "a"}] * 2}, "turns come as user, user"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}, "turns come as user, system"),
        ({"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]}, "in one form"),
    ],
)
def test_a_row_that_is_no_conversation_is_refused(fields, words):
    with pytest.raises(DataError, match=words):
        conversation(fields)


def test_a_question_is_a_row_without_an_answer():
    assert not conversation({"prompt": "a"}).learnt
    assert conversation({"prompt": "a"}) == Conversation((Turn("user", "a"),), plain=True)
    np.testing.assert_array_equal(fitted([1, 2, 3], [False] * 3, 2).ids, [2, 3])
