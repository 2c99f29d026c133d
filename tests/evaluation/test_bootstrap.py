"""BCa and the jackknife against scipy; rows are drawn for both sides at once."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from potstill.evaluation.metrics import MacroF1
from potstill.evaluation.statistics import Paired, bca, jackknife_t, seeds_and_rows
from potstill.evaluation.statistics.bootstrap import by_group

from .draws import noisy


def mean_difference(first, second):
    return first[..., 0] / first[..., 1] - second[..., 0] / second[..., 1]


def columns(x):
    return np.stack([x, np.ones(len(x))], axis=1)


def skewed(seed, n):
    random = np.random.default_rng(seed)
    shared = random.exponential(size=n)
    return shared + random.exponential(size=n), shared + random.normal(size=n) ** 2


def test_bca_is_scipys_within_the_noise_of_its_draws():
    one, other = skewed(0, 120)
    found = bca(Paired(columns(one), columns(other)), mean_difference, 0.025)
    oracle = stats.bootstrap(
        (one, other), lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis), paired=True, n_resamples=20_000, method="BCa", random_state=1
    ).confidence_interval
    width = oracle.high - oracle.low
    assert found == pytest.approx((oracle.low, oracle.high), abs=0.06 * width)


def test_the_same_seed_gives_the_same_interval():
    one, other = skewed(1, 50)
    sides = Paired(columns(one), columns(other))
    assert bca(sides, mean_difference, 0.025) == bca(sides, mean_difference, 0.025)
    assert bca(sides, mean_difference, 0.025, seed=1) != bca(sides, mean_difference, 0.025)


def test_pairs_are_kept_what_both_sides_share_cancels():
    shared = np.random.default_rng(2).normal(0, 100, size=300)
    small = np.random.default_rng(3).normal(0, 0.01, size=300)
    low, high = bca(Paired(columns(shared), columns(shared + small)), mean_difference, 0.025)
    assert high - low < 0.01


def test_a_bound_at_a_small_alpha_lies_further_out():
    one, other = skewed(4, 200)
    sides = Paired(columns(one), columns(other))
    highs = [bca(sides, mean_difference, alpha)[1] for alpha in (0.1, 0.04, 0.005, 0.00125)]
    assert highs == sorted(highs)
    assert len(set(highs)) == 4


def test_the_jackknife_of_a_mean_is_students_t_and_groups_are_units():
    x = np.random.default_rng(5).normal(size=40)
    expected = stats.ttest_1samp(x, 0).confidence_interval(0.92)
    nothing = columns(np.zeros(40))
    assert jackknife_t(Paired(columns(x), nothing), mean_difference, 0.04) == pytest.approx((expected.low, expected.high))
    groups = np.repeat(np.arange(40), 3)
    copies = Paired.of(columns(np.repeat(x, 3)), columns(np.zeros(120)), groups)
    assert jackknife_t(copies, mean_difference, 0.04) == pytest.approx((expected.low, expected.high))
    assert jackknife_t(Paired(columns(x)[:1], nothing[:1]), mean_difference, 0.04) == (-np.inf, np.inf)


def test_statistics_are_summed_within_groups_that_have_rows():
    rows = np.arange(8.0).reshape(4, 2)
    assert by_group(rows, np.array([0, 3, 0, 3])).tolist() == [[4, 6], [8, 10]]
    assert by_group(rows, None) is rows


def test_seeds_and_rows_are_resampled_together():
    random = np.random.default_rng(6)
    gold, teacher = noisy(random, 400, 3, 0.1)
    metric = MacroF1(3)
    first = metric.statistics(gold, teacher)
    near = [metric.statistics(gold, teacher)] * 3
    far = [metric.statistics(gold, noisy(random, 400, 3, wrong)[1]) for wrong in (0.9, 0.1, 0.5)]

    def drop(a, b):
        return metric.combine(a) - metric.combine(b)

    assert seeds_and_rows([first], near, drop, 0.025) == (0, 0, 0)
    value, low, high = seeds_and_rows([first], far, drop, 0.025)
    alone = [seeds_and_rows([first], [one], drop, 0.025) for one in far]
    assert value == pytest.approx(np.mean([one[0] for one in alone]))
    assert seeds_and_rows(far, far, drop, 0.025) == (0, 0, 0)  # one a seed, each beside its own
    assert low < value < high
    assert high - low > max(one[2] - one[1] for one in alone) / np.sqrt(3)  # as the mean of the three, and what seeds add


def test_five_thousand_rows_take_well_under_a_second_or_two():
    random = np.random.default_rng(7)
    gold, teacher = noisy(random, 5000, 20, 0.1)
    _, student = noisy(random, 5000, 20, 0.1)
    metric = MacroF1(20)
    sides = Paired(metric.statistics(gold, teacher), metric.statistics(gold, student))
    began = time.process_time()
    bca(sides, lambda a, b: metric.combine(a) - metric.combine(b), 0.04)
    assert time.process_time() - began < 4
