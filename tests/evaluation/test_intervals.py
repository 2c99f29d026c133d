"""Tango, exact binomial and cluster intervals against oracles; and what no bound may do: be sure of what it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from potstill.evaluation.statistics import clopper_pearson, cluster_t, grouped_difference, grouped_share, tango, tango_bounds
from potstill.evaluation.statistics.intervals import cautious_effect, design_effect, group_size, tango_score
from potstill.evaluation.statistics.power import tango_power
from potstill.evaluation.statistics.special import normal_ppf

tables = st.integers(2, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))).filter(lambda t: t[1] + t[2] <= t[0])


@settings(max_examples=100, deadline=None)
@given(tables, st.floats(-0.9, 0.9))
def test_score_is_that_of_the_constrained_maximum_of_the_likelihood(table, delta):
    """Oracle: the nuisance share maximised numerically, the variance of the difference from it."""
    n, worse, better = table
    rest = n - worse - better

    def minus_log_likelihood(q):  # q: share that only the student has right; q + delta: only the teacher
        parts = [(worse, q + delta), (better, q), (rest, 1 - 2 * q - delta)]
        return -sum(k * np.log(max(p, 1e-300)) for k, p in parts if k)

    low, high = max(0.0, -delta), (1 - delta) / 2
    assume(high - low > 1e-3)
    q = optimize.minimize_scalar(minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    spread = n * (2 * q + delta - delta**2)
    assume(spread > 1e-2)
    expected = (worse - better - n * delta) / np.sqrt(spread)
    assert float(tango_score(np.float64(worse), np.float64(better), n, delta)) == pytest.approx(expected, rel=2e-3, abs=2e-3)


@settings(max_examples=100, deadline=None)
@given(tables, st.sampled_from([0.001, 0.005, 0.04, 0.2]))
def test_tango_bounds_hold_the_drop_and_turn_over_with_the_sides(table, alpha):
    n, worse, better = table
    low, high = tango(worse, better, n, alpha)
    assert -1 <= low <= (worse - better) / n <= high <= 1
    assert tango(better, worse, n, alpha) == pytest.approx((-high, -low), abs=1e-9)
    assert low < high


@settings(max_examples=100, deadline=None)
@given(tables, st.floats(0.001, 0.5))
def test_the_bound_and_the_test_are_one(table, delta):
    n, worse, better = table
    _, high = tango(worse, better, n, 0.04)
    score = float(tango_score(np.float64(worse), np.float64(better), n, delta))
    assume(abs(score + normal_ppf(0.96)) > 1e-6)
    assert (high <= delta) == (score <= -normal_ppf(0.96))


def test_no_discordant_row_is_no_proof_of_no_drop():
    z = normal_ppf(0.96)
    assert tango(0, 0, 200, 0.04)[1] == pytest.approx(z**2 / (200 + z**2), abs=1e-9)  # Tango 1998, section 3


def test_arrays_give_what_numbers_give():
    worse, better, n = np.array([0.0, 5, 14, 200]), np.array([0.0, 9, 6, 0]), np.array([50.0, 100, 200, 200])
    low, high = tango_bounds(worse, better, n, 0.025)
    for i in range(4):
        assert (low[i], high[i]) == pytest.approx(tango(worse[i], better[i], n[i], 0.025), abs=1e-12)
    assert high[3] == 1.0


@settings(max_examples=200, deadline=None)
@given(tables, st.sampled_from([0.001, 0.005, 0.04, 0.2]), st.floats(1, 20))
def test_the_fast_way_for_numbers_is_the_way_for_arrays(table, alpha, effect):
    n, worse, better = (count / effect for count in table)
    low, high = tango_bounds(np.asarray(worse), np.asarray(better), np.asarray(n), alpha)
    assert tango(worse, better, n, alpha) == pytest.approx((float(low), float(high)), abs=1e-9)


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize("discordance", [0.02, 0.05, 0.1, 0.3])
def test_at_the_edge_the_exact_share_of_false_ships_is_under_1_minus_confidence(n, discordance):
    assert tango_power(n, (discordance + 0.02) / 2, (discordance - 0.02) / 2, 0.02, 0.04) <= 0.05


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.001, 0.04, 0.2]))
def test_clopper_pearson_is_scipys(counts, alpha):
    hits, n = counts
    low, high = clopper_pearson(hits, n, alpha)
    assert low == pytest.approx(stats.binomtest(hits, n, alternative="greater").proportion_ci(1 - alpha).low, abs=1e-9)
    assert high == pytest.approx(stats.binomtest(hits, n, alternative="less").proportion_ci(1 - alpha).high, abs=1e-9)


# ---------------------------------------------------------------------------------------------------------------- clusters
def test_groups_of_one_row_give_students_t():
    x = np.random.default_rng(0).normal(size=40)
    expected = stats.ttest_1samp(x, 0).confidence_interval(0.92)
    assert cluster_t(x, np.arange(40), 0.04) == pytest.approx((expected.low, expected.high))


def test_copies_of_a_row_in_its_group_add_nothing():
    x = np.random.default_rng(1).normal(size=40)
    assert cluster_t(np.repeat(x, 7), np.repeat(np.arange(40), 7), 0.04) == pytest.approx(cluster_t(x, np.arange(40), 0.04))
    assert design_effect(np.repeat(x, 7), np.repeat(np.arange(40), 7)) == pytest.approx(7)
    assert group_size(np.repeat(np.arange(40), 7)) == 7
    assert group_size(None) == design_effect(x, None) == 1


def test_one_group_tells_nothing():
    assert cluster_t(np.ones(5), np.zeros(5, int), 0.04) == (-np.inf, np.inf)


def test_a_group_without_rows_does_not_count():
    x, groups = np.array([0.0, 1, 1, 0]), np.array([0, 2, 5, 7])
    assert cluster_t(x, groups, 0.04) == pytest.approx(cluster_t(x, np.arange(4), 0.04))


def test_no_mistake_in_any_group_is_worth_no_more_than_as_many_rows_as_groups():
    none, groups = np.zeros(600, bool), np.repeat(np.arange(60), 10)
    assert cluster_t(none.astype(float), groups, 0.04) == (0, 0)  # what alone would ship anything
    assert grouped_difference(none, none, groups, 0.04)[1] == pytest.approx(tango(0, 0, 60, 0.04)[1])
    assert grouped_share(none, groups, 0.04)[1] == pytest.approx(clopper_pearson(0, 60, 0.04)[1])


def test_groups_never_make_surer_than_rows_by_themselves():
    random = np.random.default_rng(2)
    for _ in range(20):
        worse, better = random.random(500) < 0.06, np.zeros(500, bool)
        groups = random.integers(0, 100, 500)
        low, high = grouped_difference(worse, better, groups, 0.04)
        least, most = tango(int(worse.sum()), 0, 500, 0.04)
        assert low <= least + 1e-12
        assert high >= most - 1e-12
        assert cautious_effect(worse.astype(float), groups, 0.04) >= 1


def test_many_mistakes_leave_the_cluster_robust_bound_as_it_is():
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(400), 5)
    worse, better = random.random(2000) < 0.2, random.random(2000) < 0.2
    better &= ~worse
    high = grouped_difference(worse, better, groups, 0.04)[1]
    assert high == pytest.approx(cluster_t(worse.astype(float) - better, groups, 0.04)[1], rel=0.05)
