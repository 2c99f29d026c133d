"""Order statistics against scipy, and their coverage against the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from potstill.measuring import quantiles


@pytest.mark.parametrize(("n", "share"), [(200, 0.5), (200, 0.95), (1000, 0.95), (1000, 0.99), (73, 0.9)])
def test_ranks_are_those_of_the_binomial(n, share):
    low, high = quantiles.rank_below(n, share, 0.025), quantiles.rank_above(n, share, 0.025)
    assert stats.binom.cdf(low - 1, n, share) <= 0.025 < stats.binom.cdf(low, n, share)
    assert stats.binom.sf(high - 1, n, share) <= 0.025 < stats.binom.sf(high - 2, n, share)


def test_the_interval_holds_the_true_quantile_in_at_least_95_percent_of_draws():
    generator = np.random.default_rng(0)
    true = -math.log(0.05)
    found = [quantiles.quantile(list(generator.exponential(size=200)), 0.95) for _ in range(2000)]
    assert np.mean([q["low"] <= true <= q["high"] for q in found]) >= 0.945
    bounds = [quantiles.upper_bound(list(generator.exponential(size=200)), 0.95, 0.05) for _ in range(2000)]
    assert np.mean([true <= bound for bound in bounds]) >= 0.94


def test_a_bound_that_so_few_calls_cannot_give_is_infinite():
    assert quantiles.upper_bound([1.0] * 20, 0.95, 0.05) == math.inf
    assert quantiles.upper_bound([1.0] * 59, 0.95, 0.05) == 1.0


def test_too_few_calls_give_no_quantile():
    assert quantiles.latency([1.0] * 199) == {"p50": None, "p95": None, "p99": None}
    found = quantiles.latency([float(i) for i in range(200)])
    assert (found["p95"]["value"], found["p95"]["n"], found["p99"]) == (189.0, 200, None)
    assert quantiles.latency([1.0] * 1000)["p99"]["value"] == 1.0


def test_ratio_is_the_t_interval_of_the_logarithms():
    firsts, seconds = [8.0, 9.0, 11.0, 10.0, 12.0], [2.0, 2.1, 2.2, 1.9, 2.3]
    logs = np.log(np.array(firsts) / seconds)
    low, high = stats.t.interval(0.95, len(logs) - 1, logs.mean(), stats.sem(logs))
    found = quantiles.ratio(firsts, seconds)
    assert (found["low"], found["high"]) == pytest.approx((math.exp(low), math.exp(high)), rel=1e-5)
    assert found["n"] == 5


@pytest.mark.parametrize("degrees", [1, 7, 30])
def test_t_points_are_those_of_scipy(degrees):
    assert quantiles.T975[degrees - 1] == pytest.approx(stats.t.ppf(0.975, degrees), abs=1e-6)
