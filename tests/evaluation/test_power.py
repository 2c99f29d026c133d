"""Rows needed: what is promised is what simulation finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.evaluation.statistics import clopper_pearson, rows_needed, rows_needed_assumed, rows_needed_mean, rows_needed_share, tango_bounds
from potstill.evaluation.statistics.power import tango_power


@pytest.mark.parametrize(
    ("discordance", "drop", "max_drop", "alpha"), [(0.05, 0.0, 0.02, 0.04), (0.1, 0.005, 0.02, 0.04), (0.2, 0.0, 0.05, 0.005), (0.02, -0.01, 0.01, 0.04)]
)
def test_the_promised_power_is_the_simulated_one(discordance, drop, max_drop, alpha):
    n = rows_needed(discordance=discordance, drop=drop, max_drop=max_drop, alpha=alpha)
    random = np.random.default_rng(0)
    shares = [(discordance + drop) / 2, (discordance - drop) / 2, 1 - discordance]
    worse, better, _ = random.multinomial(n, shares, size=20_000).T
    rate = (tango_bounds(worse.astype(float), better.astype(float), np.float64(n), alpha)[1] <= max_drop).mean()
    assert 0.78 <= rate <= 0.84
    assert tango_power(n, shares[0], shares[1], max_drop, alpha) == pytest.approx(rate, abs=0.012)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 0.3), st.floats(-0.02, 0.03), st.sampled_from([0.01, 0.02, 0.05]), st.sampled_from([0.04, 0.005]))
def test_none_only_where_the_expected_drop_is_no_smaller_than_allowed(discordance, drop, max_drop, alpha):
    n = rows_needed(discordance=discordance, drop=drop, max_drop=max_drop, alpha=alpha)
    assert (n is None) == (drop >= max_drop)
    assert n is None or n > 0


def test_more_of_everything_that_is_hard_needs_more_rows():
    def rows(**changed):
        return rows_needed(**{"discordance": 0.1, "drop": 0.0, "max_drop": 0.02, "alpha": 0.04, **changed})

    assert rows() < rows(discordance=0.2)
    assert rows() < rows(drop=0.01)
    assert rows() < rows(max_drop=0.01)
    assert rows() < rows(alpha=0.005)
    assert rows() < rows(group_size=5.0) < rows(group_size=5.0, design_effect=2.0)
    assert rows(design_effect=3.0) == pytest.approx(3 * rows(), abs=3)


def test_where_exact_and_approximate_meet_nothing_jumps():
    below, above = (rows_needed(discordance=0.2, drop=drop, max_drop=0.02, alpha=0.04) for drop in (0.0117, 0.0119))
    assert below < 20_000 < above
    assert above / below == pytest.approx((0.0083 / 0.0081) ** 2, rel=0.01)


def test_assumed_rows_are_those_of_no_drop():
    found = rows_needed_assumed(0.02, 0.04)
    assert list(found) == ["5%", "10%", "20%"]
    assert found["10%"] == rows_needed(discordance=0.1, drop=0.0, max_drop=0.02, alpha=0.04)
    assert rows_needed_assumed(0.0, 0.04) == {"5%": None, "10%": None, "20%": None}


def test_rows_for_a_share_have_the_power_of_the_exact_bound():
    n = rows_needed_share(share=0.03, most=0.05, alpha=0.04)
    hits = np.random.default_rng(1).binomial(n, 0.03, size=20_000)
    bound = {int(k): clopper_pearson(int(k), n, 0.04)[1] for k in np.unique(hits)}
    assert 0.79 <= np.mean([bound[int(k)] <= 0.05 for k in hits]) <= 0.85
    assert rows_needed_share(share=0.05, most=0.05, alpha=0.04) is None
    assert rows_needed_share(share=0.0, most=0.05, alpha=0.04) == pytest.approx(63, abs=2)  # 0.95^n <= 0.04


def test_rows_for_a_mean():
    n = rows_needed_mean(variance=0.25, gap=0.05, alpha=0.04)
    random = np.random.default_rng(2)
    x = random.normal(0, 0.5, size=(4000, n))
    bound = x.mean(axis=1) + 1.750686 * x.std(axis=1, ddof=1) / np.sqrt(n)
    assert 0.77 <= (bound <= 0.05).mean() <= 0.83
    assert rows_needed_mean(variance=0.25, gap=0.0, alpha=0.04) is None
