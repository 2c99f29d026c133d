"""Near-duplicates: found as brute force finds them, fast, and short texts are left alone."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.dataset.minhash import HASHES, HEAD, MISSED, SHINGLE, band_rows, joined, nearest, normalized, similarity, sketch

rng = np.random.default_rng(0)
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz     "))


def random_text(size: int) -> str:
    return "x" + "".join(rng.choice(LETTERS, size)) + "x"


def edited(text: str, edits: int) -> str:
    letters = list(text)
    for at in rng.choice(np.arange(1, len(letters) - 1), edits, replace=False):
        letters[at] = "#"
    return "".join(letters)


def jaccard(one: str, other: str) -> float:
    """The definition, in plain Python."""
    pad = "\0" * (SHINGLE - 1)
    a, b = ({(pad + text + pad)[i : i + SHINGLE] for i in range(len(text) + SHINGLE - 1)} for text in (one, other))
    return len(a & b) / len(a | b)


def near(held, others, threshold=0.85):
    return nearest(sketch(held), sketch(others), threshold)


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_similarity_is_the_jaccard_index_of_padded_shingles(one, other):
    assert similarity(one, other) == pytest.approx(jaccard(one, other))
    assert similarity(one, one) == 1.0


def test_signatures_estimate_the_similarity():
    one = random_text(300)
    for edits in (2, 8, 20):
        pair = sketch([one, other := edited(one, edits)])
        estimate = (pair.signatures[0] == pair.signatures[1]).mean()
        assert abs(estimate - similarity(normalized(one), normalized(other))) < 4 * 0.045


def test_a_sketch_depends_on_the_text_alone():
    some = [random_text(int(n)) for n in rng.integers(1, 400, 50)] + ["", "a"]
    alone = joined([sketch([text]) for text in some])
    together = sketch(some)
    assert alone.texts == together.texts
    assert (alone.signatures == together.signatures).all()


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.85, 0.95, 1.0])
def test_bands_miss_few_at_the_threshold(threshold):
    rows = band_rows(threshold)
    assert (1 - threshold**rows) ** (HASHES // rows) <= MISSED


def test_planted_near_duplicates_are_found_and_no_others():
    held = [random_text(int(n)) for n in rng.integers(80, 300, 400)]
    others = [edited(text, 1) for text in held[:200]] + [random_text(150) for _ in range(400)]
    found = near(held, others)
    brute = {}
    texts, given_ = [normalized(t) for t in held], [normalized(t) for t in others]
    for j in range(200):
        if (score := jaccard(texts[j], given_[j])) >= 0.85:
            brute[j] = (j, score)
    assert len(brute) > 150
    missed = set(brute) - set(found)
    assert len(missed) <= 1  # 1e-3 each
    for j, (i, score) in found.items():
        assert score == pytest.approx(jaccard(texts[i], given_[j]))
        assert score >= 0.85
    assert set(found) <= set(brute)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Type 1 diabetes", "Type 2 diabetes"),
        ("Chronic viral hepatitis B", "Chronic viral hepatitis C"),
        ("Fracture of left femur", "Fracture of right femur"),
        ("not good", "good"),
        (
            "Type 1 diabetes mellitus with moderate nonproliferative diabetic retinopathy without macular edema, right eye",
            "Type 2 diabetes mellitus with moderate nonproliferative diabetic retinopathy without macular edema, right eye",
        ),
    ],
)
@pytest.mark.parametrize("threshold", [0.3, 0.85])
def test_short_texts_that_mean_different_things_are_kept_apart(one, other, threshold):
    assert near([one], [other], threshold) == {}


def test_in_a_long_text_a_changed_date_makes_no_new_one():
    text = random_text(150) + " on 2024-05-{} " + random_text(150)
    assert list(near([text.format("01")], [text.format("17")])) == [0]


def test_case_spacing_and_accents_spelling_do_not_count():
    assert normalized("  Caf\u00e9\n LATTE ") == normalized("cafe\u0301 latte")
    assert normalized("C++") != normalized("C")


def test_zero_is_off_and_nothing_is_near_to_nothing():
    text = random_text(100)
    assert near([text], [text], 0) == {}
    assert near([], [text]) == near([text], []) == near(["", "a"], ["", "a"]) == {}


def test_other_scripts_are_compared_too():
    text = "这是一个关于糖尿病患者长期血糖控制和并发症预防的很长的中文句子，医生建议每三个月复查糖化血红蛋白并且坚持低盐低脂饮食与适量运动"
    assert 0 in near([text + "吗"], [text])


def test_a_huge_text_is_bounded_work():
    huge = "".join(rng.choice(LETTERS, 300_000))
    assert list(near([huge], [huge[: 2 * HEAD] + "tail"])) == [0]


def test_a_crowd_of_equal_texts_is_handled():
    text = random_text(120)
    found = near([text] * 300, [text] * 300 + [random_text(120)])
    assert set(found) == set(range(300))


def test_the_twin_is_found_among_those_that_are_almost_near():
    text = random_text(120)
    held = [*(edited(text, 4) for _ in range(50)), text, *(edited(text, 4) for _ in range(50))]
    assert {j: i for j, (i, _) in near(held, [edited(text, 1)] * 5).items()} == dict.fromkeys(range(5), 50)


def test_forty_thousand_short_texts_take_seconds():
    words = np.array(["".join(rng.choice(LETTERS[:26], 6)) for _ in range(400)])
    made = [" ".join(words[picked]) for picked in rng.integers(0, 400, (40_000, 9))]
    began = time.perf_counter()
    found = near(made[:10_000], [*made[10_000:], made[7] + "s"])
    assert time.perf_counter() - began < 30  # about 2 s on one quiet core
    assert found[30_000][0] == 7
