"""Special functions against scipy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from potstill.evaluation.statistics import special

shares = st.floats(1e-6, 1 - 1e-6)


@settings(deadline=None)
@given(st.floats(-30, 30), shares)
def test_normal(x, p):
    assert special.normal_cdf(x) == pytest.approx(stats.norm.cdf(x), rel=1e-12, abs=1e-300)
    assert special.normal_ppf(p) == pytest.approx(stats.norm.ppf(p), rel=1e-9, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(shares, st.integers(1, 5000))
def test_student_t(p, df):
    assert special.t_ppf(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-7, abs=1e-9)
    assert special.t_cdf(stats.t.ppf(p, df), df) == pytest.approx(p, rel=1e-9)


@settings(max_examples=80, deadline=None)
@given(st.floats(0, 1), st.floats(0.3, 5000), st.floats(0.3, 5000), shares)
def test_beta(x, a, b, p):
    assert special.beta_cdf(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-7, abs=1e-11)
    assert special.beta_ppf(p, a, b) == pytest.approx(stats.beta.ppf(p, a, b), rel=1e-6, abs=1e-9)


def test_ends():
    assert special.normal_ppf(0) == -special.normal_ppf(1) == float("-inf")
    assert special.beta_cdf(0, 2, 3) == 0
    assert special.beta_cdf(1, 2, 3) == 1
    assert special.beta_cdf(0.3, 300_000, 700_000) == pytest.approx(stats.beta.cdf(0.3, 300_000, 700_000), rel=1e-6)
