"""Scales, ticks, labels and the words of numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.report import words
from potstill.report.draw import Canvas, Scale, padded, tick_label
from potstill.report.markup import el, text

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


@given(FINITE, st.floats(1e-6, 1e6))
def test_linear_ticks_are_few_round_and_inside(low, span):
    scale = Scale(low, low + max(span, abs(low) * 1e-9), 0, 100)  # closer ends are one number, as floats are drawn
    ticks = scale.ticks(6)
    assert len(ticks) <= 8
    assert all(-1e-6 <= scale(at) <= 100 + 1e-6 for at in ticks)


@given(st.floats(1e-4, 1e4), st.floats(1.5, 1e5))
def test_log_ticks_are_inside(low, factor):
    ticks = Scale(low, low * factor, 0, 100, log=True).ticks(9)
    assert len(ticks) <= 9
    assert all(low * 0.99 <= at <= low * factor * 1.01 for at in ticks)


def test_a_log_scale_keeps_ratios():
    scale = Scale(0.1, 10, 0, 100, log=True)
    assert scale(1) == pytest.approx(50)
    assert scale.inside(1000) == pytest.approx(100)


def test_padding_never_gives_an_empty_scale():
    low, high = padded([0.5])
    assert low < 0.5 < high


@pytest.mark.parametrize(("ticks", "shown"), [([0, 0.25, 0.5], "0.25"), ([0, 500, 1000], "500"), ([-5, 0, 5], "0"), ([0.001, 0.002], "0.002")])
def test_tick_labels_have_the_digits_they_need(ticks, shown):
    assert tick_label(ticks[1], ticks) == shown


def test_labels_give_way_to_each_other():
    canvas = Canvas(300, 200)
    for _ in range(4):
        canvas.label([(150.0, 100.0)], 6, "a name", "")
    for i, a in enumerate(canvas.boxes):
        for b in canvas.boxes[:i]:
            assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1])


def test_labels_stay_on_the_canvas():
    canvas = Canvas(100, 50)
    canvas.label([(98.0, 25.0)], 4, "far right", "")
    assert canvas.boxes[0][2] <= 100


def test_text_is_escaped_and_markup_is_not():
    assert el("p.a", "<b>", el("i", '"'), attrs={"title": '"<'}) == '<p class="a" title="&quot;&lt;">&lt;b&gt;<i>&quot;</i></p>'
    assert text([None, 3]) == "3"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.number(-0.0004, 2, signed=True), "0.00"), (words.number(-1234.5, 1), "−1,234.5"), (words.number(None), "–"), (words.number(math.inf), "∞"),
        (words.significant(0.0123456, 3), "0.0123"), (words.significant(12345.6, 3), "12,346"), (words.significant(0.0, 3), "0"),
        (words.size(18_430_112), "18.4\u202fMB"), (words.size(999), "999\u202fbytes"), (words.size(2_500_000_000), "2.50\u202fGB"), (words.size(None), "–"),
        (words.count(22_721_000), "22.7\u202fmillion"), (words.count(999_999), "999,999"), (words.times(7.126), "7.1×"), (words.times(246.0), "246×"),
        (words.difference("accuracy", 0.0061), "0.61\u202fpoints"), (words.difference("mcc", -0.0061, signed=True), "−0.0061"),
        (words.quality("accuracy", 0.798), "79.8\u202f%"), (words.quality("log_loss", 0.6372), "0.637"), (words.seconds(71.34), "71.3\u202fs"),
        (words.seconds(372.0), "6\u202fmin 12\u202fs"), (words.rows_of(1), "1\u202frow"), (words.rows_of(3412, "group"), "3,412\u202fgroups"),
        (words.given(2.0000000000000004, "points"), "2\u202fpoints"), (words.given(0.05), "0.05"),
    ],
)  # fmt: skip
def test_numbers_as_people_read_them(shown, expected):
    assert shown == expected


def test_figures_with_and_without_intervals():
    assert words.value({"value": 1, "low": 0, "high": 2}) == 1.0
    assert words.value(2) == 2.0
    assert words.value(None) is None
    assert words.value(float("nan")) is None
    assert words.bounds({"value": 1, "low": None, "high": 2}) is None
    assert words.bounds(1.0) is None
