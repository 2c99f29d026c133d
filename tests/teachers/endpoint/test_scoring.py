"""What a reply says of the labels: odd top-k lists, continuations, written answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.errors import TeacherError
from potstill.teachers.endpoint.prompt import CHAT, template
from potstill.teachers.endpoint.scoring import Echo, FirstToken, NoProbabilities, Unusable, Words, Written, plain
from tests.teachers.endpoint.faults import text, tokens
from tests.teachers.endpoint.made import spec

LABELS = ("neg", "neutral", "pos")
WORDS = Words(LABELS, {"neg": ["negative", "bad"], "pos": ["positive"]})


def p(reply, words=WORDS, api="chat"):
    return np.exp(FirstToken(words, api, 5).read(reply, {}))[0]


def test_tokens_count_for_the_label_whose_word_they_begin():
    found = p(tokens((" Pos", math.log(0.5)), ("positive", math.log(0.1)), ("bad", math.log(0.2)), ("neut", math.log(0.1)), ("The", math.log(0.1))))
    np.testing.assert_allclose(found, np.array([0.2, 0.1, 0.6]) / 0.9, rtol=1e-5)
    assert p(tokens(("Ġpositive", -0.01), ("▁neutral", -5.0)))[2] > 0.98
    assert p(tokens(("positive.", -0.001)))[2] > 0.99


def test_a_label_that_is_not_among_them_gets_no_more_than_the_last_that_is():
    found = p(tokens(("positive", math.log(0.7)), ("x", math.log(0.2)), ("neutral", math.log(0.04))))
    assert found[0] == pytest.approx(0.04 / 0.78, rel=1e-3)
    found = p(tokens(("positive", math.log(0.7)), ("neutral", math.log(0.29))))  # one hundredth is left over
    assert found[0] == pytest.approx(0.01 / 1.0, rel=1e-3)


def test_the_shapes_that_servers_give_are_one():
    mapped = {"choices": [{"text": "pos", "logprobs": {"top_logprobs": [{" pos": -0.1, " neut": -3.0}]}}]}
    np.testing.assert_allclose(p(mapped, api="completion"), p(tokens((" pos", -0.1), (" neut", -3.0))))
    extra = tokens(("pos", -0.1), ("neut", -3.0), said="neutral")  # the sampled token comes as one more
    extra["choices"][0]["logprobs"]["content"][0]["logprob"] = -3.5
    assert p(extra)[1] > p(tokens(("pos", -0.1), ("neut", -3.0)))[1]


@pytest.mark.parametrize("value", [-math.inf, -9999.0, None])
def test_no_probability_at_all_is_a_floor_and_finite(value):
    found = FirstToken(WORDS, "chat", 5).read(tokens(("pos", -0.001), ("neut", value)), {})
    assert np.isfinite(found).all()
    assert np.exp(found).sum() == pytest.approx(1.0)


def test_a_reply_without_any_label_is_a_refusal_with_its_words():
    with pytest.raises(Unusable, match="'The'"):
        p(tokens(("The", -0.1), ("I", -3.0)))
    with pytest.raises(Unusable, match="begins the words of several labels"):
        p(tokens(("ne", -0.1), ("positive", -3.0)))


@pytest.mark.parametrize("logs", [None, {}, {"content": []}, {"content": None, "top_logprobs": None}])
def test_a_reply_without_log_probabilities_says_so(logs):
    with pytest.raises(NoProbabilities):
        p({"choices": [{"message": {"content": "pos"}, "logprobs": logs}]})


def test_words_that_begin_one_another_are_refused_for_first_tokens():
    with pytest.raises(TeacherError, match="'a' begins 'ab'"):
        FirstToken(Words(("A", "AB"), {}), "chat", 5)
    with pytest.raises(TeacherError, match="says both"):
        Words(("a", "b"), {"a": ["x"], "b": ["X"]})
    with pytest.raises(TeacherError, match="no label 'c'"):
        Words(("a", "b"), {"c": ["x"]})


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["pos", " neg", "neutral", "The", "", "ne"]), st.floats(-50, 0)), min_size=1, max_size=8))
def test_whatever_the_list_probabilities_are_finite_and_sum_to_one(top):
    try:
        found = FirstToken(WORDS, "chat", 5).read(tokens(*top), {})
    except Unusable:
        return
    assert np.isfinite(found).all()
    assert np.exp(found.astype(np.float64)).sum() == pytest.approx(1.0, abs=1e-5)


def test_continuations_are_scored_whole_and_synonyms_add_up():
    way = Echo(WORDS)
    body = way.body(template(CHAT, variables={}, words=WORDS.first, delimiter="line"), [], {"text": "x"})
    assert [prompt.rsplit(" ", 1)[1] for prompt in body["prompt"]] == ["negative", "bad", "neutral", "positive"]
    logs = {"negative": math.log(0.1), "bad": math.log(0.2), "neutral": math.log(0.1), "positive": math.log(0.6)}
    choices = []
    for index, prompt in enumerate(body["prompt"]):
        word = prompt.rsplit(" ", 1)[1]
        head = len(prompt) - len(word) - 1
        told = {
            "tokens": [prompt[:head], f" {word[:2]}", word[2:], "!"], "text_offset": [0, head, head + 3, len(prompt)],
            "token_logprobs": [None, logs[word] - 1.0, 1.0, -9.0],
        }  # fmt: skip
        choices.append({"index": index, "text": "", "logprobs": told})
    np.testing.assert_allclose(np.exp(way.read({"choices": choices[::-1]}, body))[0], [0.3, 0.1, 0.6], rtol=1e-5)
    with pytest.raises(NoProbabilities, match="3 prompts of 4"):
        way.read({"choices": choices[:3]}, body)
    with pytest.raises(NoProbabilities):
        way.read({"choices": [{**choice, "logprobs": None} for choice in choices]}, body)


def written(reply, **options):
    return np.exp(Written(WORDS, spec(scoring="text", **options)).read(reply, {}))[0]


@pytest.mark.parametrize("said", ["positive", " Positive.", '"positive"', "**Positive**", "<think>neutral?\n</think>\npositive"])
def test_a_written_answer_is_a_word_and_nothing_else(said):
    assert written(text(said)).argmax() == 2
    assert written(text(said))[2] > 0.999


@pytest.mark.parametrize("said", ["It is positive", "positive or negative", "", "I can't help with that", None])
def test_anything_else_is_a_row_with_its_reason(said):
    with pytest.raises(Unusable, match="it said no label"):
        written(text(said))


def test_samples_give_each_label_its_share():
    reply = text("positive", "bad", "positive", "negative", "hm")
    np.testing.assert_allclose(written(reply, samples=5, sampling_temperature=0.7), [0.5, 0, 0.5], atol=1e-5)
    with pytest.raises(TeacherError, match="5 samples were asked for, 1 came"):
        written(text("positive"), samples=5, sampling_temperature=0.7)


def test_what_is_compared():
    assert plain("  'Yes!' ") == "yes"
