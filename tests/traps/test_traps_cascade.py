"""Trap 59: a cascade's threshold that was chosen as the lowest which meets the target on the very rows that it is told by."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.cascade.fit import Judged, rule, rules
from potstill.evaluation.statistics import clopper_pearson

DRAWS, RISK, CONFIDENCE, KEPT = 2000, 0.03, 0.95, 0.58


def risk_at(rank):
    """How often an answer is wrong, by its rank from the surest: 12 % in all, exactly 3 % of the surest 58 %."""
    power = np.log(RISK / 0.12) / np.log(KEPT)
    return 0.12 * (power + 1) * rank**power


def least_rate(missed):
    """The 99 % lower bound of a rate."""
    return clopper_pearson(int(np.sum(missed)), len(missed), 0.01)[0]


@pytest.mark.parametrize(("n", "draws"), [(300, DRAWS), (1000, DRAWS)])
def test_trap_59_the_policy_misses_its_risk_no_more_often_than_promised(n, draws):
    random = np.random.default_rng(n)
    shares = []
    for _ in range(draws):
        rank = random.random(n)
        found = rule(Judged(1 - rank / 2, random.random(n) < risk_at(rank)), risk=RISK, confidence=CONFIDENCE)
        shares.append(0.0 if found.threshold == 1.0 else min(1.0, 2 * (1 - found.threshold)))
    shares = np.array(shares)
    assert least_rate(shares > KEPT) <= 1 - CONFIDENCE
    if n == 1000:
        assert (1 - shares.mean()) <= 1.5 * (1 - KEPT)


def test_trap_59_nor_where_each_label_has_its_own_threshold():
    random = np.random.default_rng(0)
    missed = []
    for _ in range(300):
        rank, told = random.random(2000), random.integers(3, size=2000)
        _, found = rules(Judged(1 - rank / 2, random.random(2000) < risk_at(rank), told), "abc", risk=RISK, confidence=CONFIDENCE)
        missed.append(any(one.threshold < 1.0 and 2 * (1 - one.threshold) > KEPT for one in found.values()))
    assert least_rate(missed) <= 1 - CONFIDENCE


def test_trap_59_too_few_rows_pass_all_on_and_say_how_many_would_do():
    found = rule(Judged(np.linspace(1, 0.5, 80), np.zeros(80, bool)), risk=RISK, confidence=CONFIDENCE)
    assert found.threshold == 1.0
    assert found.passed_on == 1.0
    assert found.rows_needed >= 99
