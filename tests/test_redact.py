"""What may name a person is replaced, consistently, and in time even where the text was made to be slow."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.errors import UserError
from potstill.redact import BUILT_IN, Redactor, rules_from

redact = Redactor(b"key")
PRIVATE = [
    ("email", "jane.doe+x@example.co.uk"), ("email", "Ünal@exämple.de"), ("email", "o'neil@example.com"), ("card", "4111 1111 1111 1111"), ("card", "4111111111111111"),
    ("card", "3782-822463-10005"), ("iban", "DE89 3704 0044 0532 0130 00"), ("iban", "gb29NWBK60161331926819"), ("ip", "192.168.0.1"),
    ("ip", "2001:db8::8a2e:370:7334"), ("ip", "::1"), ("phone", "+49 (0)30 901820"), ("phone", "(415) 555-0132"), ("phone", "555-0132"), ("phone", "004930901820"),
]  # fmt: skip
HARMLESS = ["on 2024-01-02 at 10:30:15", "room 12, 3 people, 4.50 dollars", "version 1.2.3", "order 123456", "what @ever", "ratio 3:4", "999.1.1.1", ""]


@pytest.mark.parametrize(("name", "word"), PRIVATE)
@pytest.mark.parametrize("around", ["{}", "write to {} please", "({}), or else", "x: {}."])
def test_what_names_a_person_is_replaced(name, word, around):
    found = redact(around.format(word))
    assert re.fullmatch(re.escape(around).replace(r"\{\}", f"<{name}:[0-9a-f]{{6}}>"), found), found


@pytest.mark.parametrize("text", HARMLESS)
def test_what_names_nobody_stays(text):
    assert redact(text) == text


def test_the_same_is_replaced_by_the_same_and_another_key_by_another():
    one, two = redact("a@b.de A@B.de c@b.de").split()[:2], redact("a@b.de A@B.de c@b.de").split()[2]
    assert one[0] == one[1] != two
    assert redact("4111 1111 1111 1111") == redact("4111-1111-1111-1111") != Redactor(b"other")("4111 1111 1111 1111")


def test_rules_of_ones_own_come_first_and_wrong_ones_are_refused():
    found = Redactor(b"key", rules_from(["ticket=T-\\d+", "nothing=x*"]))("T-123 and a@b.de")
    assert re.fullmatch(r"<ticket:\w{6}> and <email:\w{6}>", found)
    for wrong in ("T-\\d+", "a=(", "=x"):
        with pytest.raises(UserError):
            rules_from([wrong])


@pytest.mark.parametrize("unit", ["a", "1", "1 ", "1.", "a@", "@a.", ":", "a:", "+1", "AB12", "AB12 ABCD ", "(1", "1-1", "a.", "::1"])
def test_no_text_is_slow(unit):
    began = time.process_time()
    redact((unit * 100_000)[:100_000])
    assert time.process_time() - began < 2.0


@given(st.text(st.characters(exclude_categories=())))
def test_redacting_never_fails(text):
    assert isinstance(redact(text), str)
    assert re.fullmatch("[0-9a-f]{32}", redact.digest(text))


# ----------------------------------------------------------------------------------------------------------- a second time
PIECES = st.lists(
    st.one_of(
        st.sampled_from([word for _, word in PRIVATE]), st.text(max_size=6), st.text("0123456789+-.:/() @<>abF", max_size=12),
        st.sampled_from(["<email>", "<email:0a1b2c>", "<card:12", ":", "::", "-", " ", "@x.de", "555-0132", "<phone:123456>"]),
    ),
    max_size=8,
).map("".join)  # fmt: skip
PLAIN = Redactor(None)
OWN = Redactor(b"key", rules_from(["ticket=T-\\d+", "hex=[0-9a-f]{6}"]))


@settings(max_examples=1000, deadline=None)
@given(PIECES)
@pytest.mark.parametrize("redactor", [redact, PLAIN, OWN], ids=["keyed", "plain", "own rules"])
def test_a_second_time_nothing_changes_and_nothing_is_counted(redactor, text):
    once, _ = redactor.counted(text)
    twice, counts = redactor.counted(once)
    assert (twice, sum(counts.values())) == (once, 0)


@settings(deadline=None)
@given(PIECES)
def test_what_a_student_reads_is_the_same_whoever_replaced_before(text):
    """The teacher's keyed words, a log's under another key, and none at all: one text for the student, in training and where it is served."""
    assert PLAIN(redact(text)) == PLAIN(Redactor(b"other")(text)) == PLAIN(PLAIN(text)) == PLAIN(text)


@settings(deadline=None)
@given(PIECES)
def test_a_text_grows_by_a_word_for_each_thing_replaced(text):
    after, counts = redact.counted(text)
    assert len(after) <= len(text) + len("<phone:123abc>") * sum(counts.values())
    assert sum(counts.values()) <= len(text) / 2


def test_the_rules_are_data_without_the_key():
    made = Redactor(b"a key that stays here", rules_from(["ticket=T-\\d+"]), BUILT_IN[:2])
    told = json.loads(json.dumps(made.as_json()))
    assert "stays here" not in json.dumps(told)
    assert Redactor.plain(told)("T-12 of a@b.de at 192.168.0.1") == "<ticket> of <email> at 192.168.0.1"
    for wrong in ([{"name": "x"}], [{"name": "x", "pattern": "("}], [{"name": "x", "pattern": "y", "check": "newer"}]):
        with pytest.raises((KeyError, re.error)):
            Redactor.plain(wrong)


def test_a_match_that_holds_a_replaced_word_is_replaced_whole():
    assert Redactor(None, rules_from(["secret=secret: .*"]))("secret: a@b.de and Jane") == "<secret>"
