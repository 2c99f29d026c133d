"""Exact bounds and fixed sequences, held to scipy and to MAPIE; and what a walk may not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.risk_control.fwer_control import control_fwer
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value
from scipy.stats import binom

from potstill.cascade.sequence import MISTAKES, counts, most_wrong, p_value, rows_for, walk

RISK, ALPHA = 0.03, 0.05


@given(st.integers(1, 5000), st.data())
def test_a_p_value_is_the_binomials_tail(kept, data):
    wrong = data.draw(st.integers(0, kept))
    assert p_value(wrong, kept, RISK) == pytest.approx(binom.cdf(wrong, kept, RISK), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize(("risk", "alpha"), [(0.03, 0.05), (0.1, 0.01), (0.3, 0.2)])
def test_what_can_be_borne_is_what_the_binomial_allows(risk, alpha):
    for kept in range(1, 400):
        allowed = [wrong for wrong in range(kept + 1) if binom.cdf(wrong, kept, risk) <= alpha]
        assert most_wrong(kept, risk, alpha) == (max(allowed) if allowed else -1)
    for mistakes in range(8):
        rows = rows_for(mistakes, risk, alpha)
        assert most_wrong(rows, risk, alpha) >= mistakes > most_wrong(rows - 1, risk, alpha)


def test_without_a_mistake_59_rows_certify_5_percent():
    assert rows_for(0, 0.05, 0.05) == 59  # the rule of three: ln 0.05 / ln 0.95 = 58.4


@given(st.integers(1, 6000), st.sampled_from([0.01, 0.03, 0.1]), st.sampled_from([0.01, 0.05]))
@settings(deadline=None)
def test_steps_rise_keep_all_at_last_and_begin_where_they_can_bear_something(n, risk, alpha):
    found = counts(n, risk, alpha)
    if n < rows_for(0, risk, alpha):
        assert found == ()
        return
    assert list(found) == sorted(set(found))
    assert found[-1] == n
    assert all(most_wrong(kept, risk, alpha) >= 0 for kept in found)
    if n >= 3 * rows_for(MISTAKES, risk, alpha):
        assert most_wrong(found[0], risk, alpha) >= MISTAKES


def drawn(n, seed=0, error=0.12):
    random = np.random.default_rng(seed)
    rank = random.random(n)
    return 1 - rank / 2, random.random(n) < error * 3.5 * rank**2.5


@pytest.mark.parametrize("seed", range(30))
def test_the_walk_is_that_of_mapie(seed):
    """Its p-values for a share of zeros and ones, and its fixed-sequence testing, over the thresholds that we try."""
    sure, wrong = drawn(1200, seed)
    order = np.argsort(-sure)
    places = np.array(counts(1200, RISK, ALPHA))
    shares = np.cumsum(wrong[order])[places - 1] / places
    shares *= 1 - 1e-12  # theirs rounds n * (k / n) up: where that is k and a hair, to k + 1
    p = compute_hoeffding_bentkus_p_value(shares, places.astype(float), RISK, binary=True)[:, 0]
    np.testing.assert_allclose(p, [p_value(round(share * kept), kept, RISK) for share, kept in zip(shares, places)], rtol=1e-9)
    theirs = control_fwer(p, ALPHA, "fixed_sequence")
    ours = walk(sure, wrong, risk=RISK, alpha=ALPHA)
    assert len(theirs) == sum(step.certified for step in ours.steps)
    assert (ours.chosen.kept if ours.chosen else None) == (places[theirs[-1]] if len(theirs) else None)


def test_an_answer_at_the_threshold_is_not_kept():
    sure, wrong = drawn(1000, 3)
    chosen = walk(sure, wrong, risk=RISK, alpha=ALPHA).chosen
    kept = sure > chosen.threshold
    assert kept.sum() == chosen.kept
    assert wrong[kept].sum() == chosen.wrong
    assert chosen.bound <= RISK


def test_rows_of_one_confidence_are_kept_together():
    sure, wrong = drawn(1000, 3)
    coarse = np.round(sure, 1)
    for step in walk(coarse, wrong, risk=RISK, alpha=ALPHA).steps:
        assert (coarse > step.threshold).sum() == step.kept
    saturated = np.ones(500)
    found = walk(saturated, np.zeros(500, bool), risk=RISK, alpha=ALPHA)
    assert found.chosen.kept == 500
    assert found.chosen.threshold == 0.0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_thresholds_do_not_depend_on_which_answers_are_wrong(seed):
    sure, wrong = drawn(800, seed % 1000)
    random = np.random.default_rng(seed)
    first = [step.threshold for step in walk(sure, wrong, risk=RISK, alpha=ALPHA).steps]
    other = [step.threshold for step in walk(sure, random.permutation(wrong), risk=RISK, alpha=ALPHA).steps]
    assert all(a == b for a, b in zip(first, other))


def test_it_stops_at_the_first_that_fails_though_a_later_one_would_pass():
    sure = np.linspace(1, 0.5, 2000)
    wrong = np.zeros(2000, bool)
    wrong[:300:20] = True  # 15 of the first 300: the first step fails; of all 2,000 they are few
    found = walk(sure, wrong, risk=RISK, alpha=ALPHA)
    assert found.chosen is None
    assert len(found.steps) == 1
    assert p_value(15, 2000, RISK) < ALPHA


def test_groups_widen_the_bound_and_few_of_them_prove_nothing():
    sure, wrong = drawn(3000, 1, error=0.05)
    alone = walk(sure, wrong, risk=RISK, alpha=ALPHA).chosen
    groups = np.repeat(np.arange(600), 5)
    together = walk(sure, wrong, risk=RISK, alpha=ALPHA, groups=groups).chosen
    assert together.kept <= alone.kept
    assert walk(sure, wrong, risk=RISK, alpha=ALPHA, groups=np.arange(3000) % 20).steps == ()


def test_a_walk_over_groups_begins_where_enough_of_them_are_kept():
    sure = np.linspace(1, 0.5, 4000)
    groups = np.arange(4000) // 10  # the surest rows are of few groups
    first = walk(sure, np.zeros(4000, bool), risk=RISK, alpha=ALPHA, groups=groups).steps[0]
    assert first.kept >= 10 * rows_for(0, RISK, ALPHA)
    assert first.certified
    alone = walk(sure, np.zeros(4000, bool), risk=RISK, alpha=ALPHA, groups=np.arange(4000)).steps
    assert alone[0].kept == walk(sure, np.zeros(4000, bool), risk=RISK, alpha=ALPHA).steps[0].kept


def test_a_policy_over_groups_misses_no_more_often_than_promised():
    """Groups that are wrong as one, at the edge: 3 % of the surest 58 %."""
    from potstill.evaluation.statistics import clopper_pearson

    random = np.random.default_rng(0)
    missed = []
    for _ in range(300):
        rank = np.repeat(random.random(400), 5)  # a group's rows are as sure as each other, and as wrong
        power = np.log(RISK / 0.12) / np.log(0.58)
        wrong = np.repeat(random.random(400) < 0.12 * (power + 1) * rank[::5] ** power, 5)
        chosen = walk(1 - (rank + random.random(2000) * 1e-6) / 2, wrong, risk=RISK, alpha=ALPHA, groups=np.repeat(np.arange(400), 5)).chosen
        missed.append(chosen is not None and 2 * (1 - chosen.threshold) > 0.58)
    assert clopper_pearson(int(sum(missed)), len(missed), 0.01)[0] <= ALPHA
