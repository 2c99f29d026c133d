"""Changed texts are the texts themselves, but for the characters that were replaced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill import rng
from potstill.dataset.augment.change import Deletion
from potstill.dataset.augment.words import Span, cased, is_word, pieces, replaced, stands_alone


@given(st.text(), st.data())
def test_only_the_characters_of_a_span_are_replaced(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    assert replaced(text, [(Span(start, end), "new")]) == text[:start] + "new" + text[end:]


def test_spans_are_replaced_whatever_their_order():
    assert replaced("a bb  ccc!", [(Span(6, 9), "x"), (Span(0, 1), "longer")]) == "longer bb  x!"


@pytest.mark.parametrize(
    ("word", "like", "made"),
    [("cat", "Dog", "Cat"), ("cat", "DOG", "CAT"), ("cat", "dog", "cat"), ("Paris", "dog", "Paris"), ("cat", "I", "Cat"), ("straße", "DOG", "STRASSE")],
)
def test_a_new_word_is_written_as_the_old_one_was(word, like, made):
    assert cased(word, like) == made


@pytest.mark.parametrize(
    ("text", "alone"), [("dog", True), ("日", True), ("a", False), ("v2", False), ("##s", False), ("don't", False), ("", False), (" dog", False)]
)
def test_what_a_word_is(text, alone):
    assert is_word(text) is alone


@pytest.mark.parametrize("text", ["don't", "O’don", "snake_don", "don2", "2don"])
def test_a_part_of_a_word_does_not_stand_alone(text):
    at = text.index("don")
    assert not stands_alone(text, Span(at, at + 3))
    assert stands_alone("(don)", Span(1, 4))
    assert stands_alone("a don-don", Span(2, 5))


@given(st.lists(st.text(alphabet="abcXYZé日,.'", min_size=1, max_size=6), min_size=2, max_size=30), st.floats(0.01, 1.0), st.integers(0, 5))
def test_deletion_leaves_out_one_run_of_words_and_never_all(words, share, copy):
    text = "  ".join(words)
    made = Deletion(share).change([text], [[rng.stream(0, copy)]])[0][0]
    left = [made[span.start : span.end] for span in pieces(made)]
    gone = len(words) - len(left)
    assert 1 <= gone == min(max(1, round(share * len(words))), len(words) - 1)
    assert any(words[:first] + words[first + gone :] == left for first in range(len(left) + 1))


def test_a_text_of_one_word_stays_as_it_is():
    assert Deletion(0.5).change(["one", "", "   "], [[rng.stream(0, i)] for i in range(3)]) == [["one"], [""], ["   "]]
