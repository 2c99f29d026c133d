"""Intervals and special functions held to scipy, to simulation and to what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats as st
from hypothesis import given, settings
from hypothesis import strategies as hst

from potstill.evaluation.statistics import clopper_pearson, rows_needed, rows_needed_assumed, tango
from potstill.evaluation.statistics.special import beta_ppf, normal_ppf, t_ppf


@given(hst.floats(1e-6, 1 - 1e-6))
@settings(max_examples=50, deadline=None)
def test_normal_quantiles_are_scipys(p):
    assert normal_ppf(p) == pytest.approx(st.norm.ppf(p), abs=1e-9)


@given(hst.floats(0.001, 0.999), hst.integers(1, 400))
@settings(max_examples=50, deadline=None)
def test_t_quantiles_are_scipys(p, df):
    assert t_ppf(p, df) == pytest.approx(st.t.ppf(p, df), rel=1e-6, abs=1e-7)


@given(hst.floats(0.001, 0.999), hst.integers(1, 300), hst.integers(1, 3000))
@settings(max_examples=50, deadline=None)
def test_beta_quantiles_are_scipys(p, a, b):
    assert beta_ppf(p, a, b) == pytest.approx(st.beta.ppf(p, a, b), rel=1e-6, abs=1e-9)


@given(hst.integers(1, 300), hst.data())
@settings(max_examples=50, deadline=None)
def test_the_exact_interval_is_scipys(n, data):
    hits = data.draw(hst.integers(0, n))
    found = st.binomtest(hits, n).proportion_ci(0.9, "exact")
    assert clopper_pearson(hits, n, 0.05) == pytest.approx((found.low, found.high), abs=1e-7)


@given(hst.integers(0, 60), hst.integers(0, 60), hst.integers(0, 800))
@settings(max_examples=60, deadline=None)
def test_tangos_interval_holds_the_drop_and_turns_with_the_sides(worse, better, same):
    n = worse + better + same
    if n == 0:
        return
    low, high = tango(worse, better, n, 0.05)
    assert -1 <= low <= (worse - better) / n <= high <= 1
    assert tango(better, worse, n, 0.05) == pytest.approx((-high, -low), abs=1e-6)


@pytest.mark.parametrize("n", [200, 1000])
def test_tangos_upper_bound_covers(n):
    random = np.random.default_rng(n)
    draws = random.multinomial(n, [0.06, 0.04, 0.9], size=2000)
    missed = sum(tango(worse, better, n, 0.05)[1] < 0.02 for worse, better, _ in draws.tolist())
    assert st.binomtest(missed, 2000).proportion_ci(0.98).low <= 0.05


def test_rows_needed_keep_their_promise():
    for discordance in (0.05, 0.2):
        n = rows_needed(discordance=discordance, drop=0.0, max_drop=0.02, alpha=0.04)
        draws = np.random.default_rng(1).multinomial(n, [discordance / 2, discordance / 2, 1 - discordance], size=1000)
        power = np.mean([tango(worse, better, n, 0.04)[1] <= 0.02 for worse, better, _ in draws.tolist()])
        assert 0.76 <= power <= 0.86


def test_no_number_of_rows_helps_a_drop_that_is_too_large():
    assert rows_needed(discordance=0.1, drop=0.03, max_drop=0.02, alpha=0.05) is None
    assert list(rows_needed_assumed(0.02, 0.04)) == ["5%", "10%", "20%"]
