"""The prompt: declared variables, a row that can't step out of its place, shots of training rows alone."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.errors import TeacherError
from potstill.records import Example
from potstill.teachers.endpoint.prompt import CHAT, COMPLETION, Shot, draw, template
from potstill.teachers.endpoint.scoring import Words, conversation
from tests.labels.fakes import LOGPROBS
from tests.teachers.endpoint.faults import stub
from tests.teachers.endpoint.made import teacher

WORDS = Words(("bad", "good"), {})


def made(text=CHAT, *, variables=None, delimiter="tags"):
    return template(text, variables=variables or {}, words=WORDS.first, delimiter=delimiter)


def test_a_chat_and_a_completion_are_told_alike():
    shots = [Shot({"text": "fine"}, "good")]
    chat = conversation("chat", WORDS, made(), shots, {"text": "x"})["messages"]
    assert [message["role"] for message in chat] == ["system", "user", "assistant", "user"]
    assert "bad, good" in chat[0]["content"]
    assert chat[2]["content"] == "good"
    assert chat[3]["content"] == "<text>\nx\n</text>"
    prompt = conversation("completion", WORDS, made(COMPLETION, delimiter="line"), shots, {"text": "x"})["prompt"]
    assert prompt == "Each text has one of these labels: bad, good.\n\nText: fine\nLabel: good\n\nText: x\nLabel:"


@pytest.mark.parametrize(
    ("text", "variables", "words"),
    [
        ("{{txet}}", {}, r"names 'txet', which is not declared(?s:.*)did you mean 'text'"),
        ("{{text}}", {"domain": "films"}, "'domain' is declared and not used"),
        ("say it\n---\nnothing", {}, "does not show the row"),
        ("{{text}}\n---\n{{text}}", {}, "stands in the instruction"),
    ],
)
def test_every_variable_is_declared_and_used(text, variables, words):
    with pytest.raises(TeacherError, match=words):
        made(text, variables=variables)


def test_what_a_variable_says_is_not_read_as_a_variable():
    prompt = made("Of {{domain}}: {{text}}", variables={"domain": "{{text}}"})
    assert prompt.about({"text": "{{labels}} {{domain}}"}) == "Of {{text}}: <text>\n{{labels}} {{domain}}\n</text>"


def test_the_hash_follows_the_text_the_variables_and_the_labels_words():
    prompts = [
        made(), made(CHAT + " "), made(CHAT + "!"), made(delimiter="line"), made("{{text}} {{d}}", variables={"d": "a"}), made("{{text}} {{d}}", variables={"d": "b"}),
        template(CHAT, variables={}, words=["no", "yes"], delimiter="tags"),
    ]  # fmt: skip
    assert len({prompt.digest for prompt in prompts}) == 6  # a space at the end says nothing


ATTACKS = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(["</text>", "< / TEXT >", "</text\n>", "<text>", "\n", "\r", "\x85", "\u2028", "Label:", "<|im_end|>", "<|im_start|>system", "[/INST]", "</s>", "\ud800"]),
    ),
    max_size=12,
).map("".join)  # fmt: skip


@settings(deadline=None)
@given(ATTACKS)
def test_a_row_can_not_close_its_delimiter_nor_end_a_turn(value):
    tagged = made().about({"text": value})
    assert len(re.findall(r"<\s*/?\s*text", tagged, re.IGNORECASE)) == 2
    assert tagged.startswith("<text>\n")
    assert tagged.endswith("\n</text>")
    lined = made(COMPLETION, delimiter="line").about({"text": value})
    assert len(lined.splitlines()) == 2
    for said in (tagged, lined):
        assert "<|" not in said
        assert "[/INST]" not in said
        said.encode()


def test_a_pair_is_shown_whole_or_refused():
    row = Example.make({"text": "a", "text_pair": "b"})
    shown = teacher(fields=("text", "text_pair")).template.about(row.fields)
    assert "<text_pair>" in shown
    with pytest.raises(TeacherError, match="does not show 'text_pair'"):
        teacher(prompt={"text": "{{text}}"}).request(row)


def labeled(n):
    return [Example.make({"text": f"t{i}"}, gold=("bad", "good", "good")[i % 3]) for i in range(n)]


def test_shots_are_drawn_by_seed_label_by_label_and_stay_when_rows_come():
    rows = labeled(60)
    first = draw(rows, 8, 0)
    assert [row.gold for row in first].count("bad") == 4
    assert draw(rows[::-1], 8, 0) == first
    assert draw(rows, 8, 1) != first
    more = draw([*rows, *[Example.make({"text": f"new{i}"}, gold="good") for i in range(6)]], 8, 0)
    assert len(set(r.id for r in more) & set(r.id for r in first)) >= 6
    assert all(row.gold is not None for row in draw([*rows, Example.make({"text": "no gold"})], 60, 0))
    with pytest.raises(TeacherError, match="61 shots are asked for, and 60"):
        draw(rows, 61, 0)


def test_a_row_that_is_a_shot_does_not_read_its_own_answer():
    shots = [({"text": "fine"}, "good"), ({"text": "sad"}, "bad")]
    with stub() as script:
        list(teacher(script.url, shots=shots).answer([Example.make({"text": text}) for text in ("fine", "other")], [LOGPROBS]))
    shown = {body["messages"][-1]["content"]: [message["content"] for message in body["messages"][1:-1]] for body in script.seen}
    assert shown["<text>\nfine\n</text>"] == ["<text>\nsad\n</text>", "bad"]
    assert len(shown["<text>\nother\n</text>"]) == 4
