"""Changed texts: the same for the same seed and example, never blank, valid Unicode, no grapheme broken, and changed where they can be."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.evaluation.graphemes import graphemes
from potstill.evaluation.perturbations import CHANGES, KEYBOARDS, NEIGHBORS, changed, truncation, typos, whitespace
from potstill.records import Example

# Letters with marks, Hangul in parts, Indic conjuncts, Thai, Arabic and Hebrew with points, CJK, flags, families, skin tones, tags, blanks of all kinds.
HARD = (
    "e\u0301a\u0308\u0323 \u1112\u1161\u11ab 한글 क्षत्रिय हिन्दी ศาสนา กำ שָׁלוֹם مُدَرِّسَةٌ 你好世界 日本語テキスト ﾊﾟ 🇩🇪🇫🇷🇪 👩‍👩‍👧‍👦 👍🏽 🏴\U000e0067\U000e007f "
    "ﬁﬂ ß İı ŉ Σίσυφος Ёлка \u0600\u0661 a\r\nb \t\n\u3000\xa0\u2028 \u200b\u200d\ufe0f\u20e3 1️⃣ "
)
TEXTS = st.one_of(
    st.text(), st.text(st.sampled_from(sorted(set(HARD)))), st.sampled_from(HARD.split(" ")), st.lists(st.sampled_from(HARD.split()), max_size=6).map(" ".join)
)
NAMES = sorted(CHANGES)


def made(name: str, text: str, seed: int = 0, rate: float = 0.05) -> str:
    return str(changed(Example.make({"text": text}), name, seed=seed, typo_rate=rate).fields["text"])


@pytest.mark.parametrize("name", NAMES)
@given(text=TEXTS, seed=st.integers(0, 3), rate=st.floats(0.01, 1.0))
def test_the_same_again_never_blank_and_valid(name, text, seed, rate):
    found = made(name, text, seed, rate)
    assert found == made(name, text, seed, rate)
    assert bool(found.strip()) == bool(text.strip())
    assert found.encode("utf-8").decode("utf-8") == found


@given(text=TEXTS, seed=st.integers(0, 3), rate=st.floats(0.01, 1.0))
def test_a_text_with_a_letter_gets_a_typo_and_one_without_none(text, seed, rate):
    letters = sum(unicodedata.category(piece[0]).startswith("L") for piece in graphemes(text))
    assert (made("typos", text, seed, rate) != text) == (letters > 0)


@given(TEXTS)
def test_blanks_change_every_text_but_not_its_words(text):
    found = made("whitespace", text)
    assert (found != text) == bool(text.strip())
    words = [piece for piece in graphemes(text) if not piece.isspace()]
    assert found.split() == text.split() or [piece for piece in graphemes(found) if not piece.isspace()] == words
    if text.strip():
        assert found[0].isspace()
        assert found[-1].isspace()


@given(TEXTS)
def test_what_is_cut_short_is_a_beginning_of_the_text_in_whole_graphemes(text):
    found = made("truncation", text)
    pieces, kept = graphemes(text), graphemes(found)
    start = pieces.index(kept[0]) if kept else 0  # a single word stands without the blanks before it
    assert kept == pieces[: len(kept)] or kept == pieces[start : start + len(kept)]
    assert (found == text) <= (sum(not piece.isspace() for piece in pieces) < 2)


@given(TEXTS)
def test_graphemes_are_the_text_and_cut_only_where_unicode_cuts(text):
    regex = pytest.importorskip("regex")
    pieces = graphemes(text)
    assert "".join(pieces) == text
    assert ends(pieces) <= ends(regex.findall(r"\X", text))


def ends(pieces) -> set[int]:
    return set(np.cumsum([len(piece) for piece in pieces]).tolist())


@pytest.mark.parametrize("piece", ["e\u0301", "👩‍👩‍👧‍👦", "👍🏽", "🇩🇪", "क्षि", "\u1112\u1161\u11ab", "กำ", "\r\n", "1️⃣"])
def test_what_a_reader_takes_for_one_character_is_one(piece):
    assert graphemes(f"a{piece}b") == ["a", piece, "b"]


@pytest.mark.parametrize("text", ["e\u0301e\u0301e\u0301e\u0301", "한국어 문장", "שָׁלוֹם עולם", "हिन्दी में", "café"])
def test_typos_move_marks_with_their_letters(text):
    whole = {piece for piece in graphemes(text)} | {key for keys in NEIGHBORS.values() for key in keys}
    for seed in range(40):
        assert set(graphemes(made("typos", text, seed, 0.5))) <= whole


def test_the_rate_is_that_of_the_letters_and_one_at_least():
    text = "The quick brown fox jumps over the lazy dog and runs away from the angry bear in the dark wood."
    letters = sum(letter.isalpha() for letter in text)
    for rate in (0.001, 0.1, 0.3):
        edits = [distance(text, made("typos", text, seed, rate)) for seed in range(40)]
        assert 1 <= min(edits)
        assert max(edits) <= 2 * max(1, round(rate * letters))  # a swap is two edits
        assert 0.9 <= np.mean(edits) / max(1, round(rate * letters)) <= 1.35


def distance(a: str, b: str) -> int:
    """Levenshtein's."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, before = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y)))
    return row[-1]


def test_digits_and_signs_stay():
    for seed in range(50):
        found = made("typos", "dose 12.5 mg, 3x", seed, 1.0)
        assert [letter for letter in found if not letter.isalpha() and letter != " "] == list("12.5,3")


def test_a_mistaken_letter_is_a_neighbor_of_its_own_keyboard_in_its_own_case():
    assert set(NEIGHBORS["g"]) == {"f", "h", "t", "y", "v", "b"}
    assert set(NEIGHBORS["Q"]) == {"W", "A"}
    assert "ы" in NEIGHBORS["в"]
    for key, near in NEIGHBORS.items():
        board = next(rows for rows in KEYBOARDS if any(key.lower() in row for row in rows) or any(key in row.upper() for row in rows))
        assert key not in near
        assert all(len(other) == 1 and any(other in row or other in row.upper() for row in board) for other in near)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("one two three", "one two"), ("one two", "one"), (" one\ttwo three four ", " one\ttwo"), ("你好世界呀", "你好世"), ("a", "a"), (" a ", " a "),
        ("e\u0301a", "e\u0301"), ("你好 世界", "你好"), ("", ""), ("  ", "  "),
    ],
)  # fmt: skip
def test_the_first_half_of_the_words(text, cut):
    assert truncation(text, np.random.default_rng(0), 0.0) == cut


@pytest.mark.parametrize(("name", "text", "expected"), [
    ("upper_case", "straße", "STRASSE"), ("lower_case", "ΣΊΣΥΦΟΣ", "σίσυφος"), ("upper_case", "你好", "你好"), ("lower_case", "plain", "plain"),
])  # fmt: skip
def test_case(name, text, expected):
    assert made(name, text) == expected


def test_what_can_not_be_changed_keeps_its_id():
    example = Example.make({"text": "你好", "text_pair": "123"}, gold="a", group="g", place="x:1")
    assert changed(example, "upper_case") == example
    assert changed(example, "typos").id != example.id
    assert (changed(example, "typos").gold, changed(example, "typos").group) == ("a", "g")
    assert changed(example, "typos").fields["text_pair"] == "123"


def test_the_fields_of_a_pair_are_changed_each_by_its_own():
    found = changed(Example.make({"text": "the same words here", "text_pair": "the same words here"}), "typos", typo_rate=0.3)
    assert found.fields["text"] != found.fields["text_pair"]


def test_several_typos_never_undo_each_other_nor_empty_a_text():
    for seed in range(300):
        random = np.random.default_rng(seed)
        for text in ("ab", "aab", "a", "é!", "aa"):
            found = typos(text, random, 1.0)
            assert found != text
            assert found.strip()


def test_blanks_are_doubled_or_become_tabs_and_lines():
    found = {whitespace("a b", np.random.default_rng(seed), 0.0).strip() for seed in range(60)}
    assert found == {"a  b", "a\tb", "a\nb", "a \n b"}
