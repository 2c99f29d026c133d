"""What changed texts cost: against sums by hand, a bootstrap by hand, published figures, and simulated draws."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from potstill.errors import PotstillError
from potstill.evaluation.metrics import MCC, Accuracy, LogLoss, MacroF1
from potstill.evaluation.robustness import Elsewhere, Sides, apart, describe, describe_elsewhere, excess_interval, sample
from potstill.evaluation.rows import quality_interval
from potstill.records import Example, Interval

from .draws import noisy, sure

METRICS = [Accuracy(3), MacroF1(3), MCC(3), LogLoss(3)]


def worn(random: np.random.Generator, told: np.ndarray, share: float) -> np.ndarray:
    """Log-probabilities (n, 3) of which so many rows say something else."""
    other = np.where(random.random(len(told)) < share, random.integers(0, 3, len(told)), told.argmax(axis=1))
    return np.log(np.exp(told) * 0.4 + np.eye(3)[other] * 0.6)


def drawn(seed: int, n: int, *, own: float = 0.3, taught: float = 0.1) -> tuple[np.ndarray, Sides, Sides]:
    """Gold, a student and its teacher whose answers change on so many rows."""
    random = np.random.default_rng(seed)
    gold, teacher = noisy(random, n, 3, 0.15)
    student = worn(random, teacher, 0.1)
    return gold, Sides(student, worn(random, student, own)), Sides(teacher, worn(random, teacher, taught))


def lost(metric, gold, sides: Sides) -> float:
    before, after = (float(metric.combine(metric.statistics(gold, side).sum(axis=0))) for side in (sides.clean, sides.changed))
    return before - after if metric.higher_is_better else after - before


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_the_difference_is_loss_minus_the_teachers_loss(metric):
    gold, own, teacher = drawn(0, 300)
    told = describe(metric, gold, own, None, teacher=teacher)
    assert told["loss"]["value"] == pytest.approx(lost(metric, gold, own))
    assert told["teacher_loss"]["value"] == pytest.approx(lost(metric, gold, teacher))
    assert told["difference"]["value"] == pytest.approx(told["loss"]["value"] - told["teacher_loss"]["value"])
    assert told["difference"]["low"] < told["difference"]["value"] < told["difference"]["high"]
    assert (told["n"], told["unchanged"] if "unchanged" in told else 0) == (300, 0)
    json.dumps(told)


def test_accuracies_and_turned_answers_counted_by_hand():
    gold = np.array([0, 0, 1, 1, -1])
    own = Sides(sure(np.array([0, 0, 1, 0, 0]), 2), sure(np.array([0, 1, 0, 1, 1]), 2))
    told = describe(Accuracy(2), gold, own, None)
    assert (told["n"], told["clean"], told["value"], told["loss"]["value"]) == (4, 0.75, 0.5, 0.25)
    assert (told["flips"]["value"], told["flips"]["n"]) == (0.8, 5)  # needs no gold
    assert (told["teacher_loss"], told["difference"], told["stands_out"], told["agreement"]) == (None, None, None, None)
    assert told["confidence"] == pytest.approx(0.9)


def test_rows_that_the_teacher_did_not_answer_both_ways_don_t_count_for_the_difference():
    gold, own, teacher = drawn(1, 200)
    teacher.changed[:50], teacher.clean[50:60] = np.nan, np.nan
    told = describe(Accuracy(3), gold, own, None, teacher=teacher)
    rest = slice(60, None)
    assert (told["n"], told["difference"]["n"], told["agreement"]["n"]) == (200, 140, 140)
    assert told["difference"]["value"] == pytest.approx(lost(Accuracy(3), gold[rest], own.only(rest)) - lost(Accuracy(3), gold[rest], teacher.only(rest)))
    teacher.changed[:] = np.nan
    assert describe(Accuracy(3), gold, own, None, teacher=teacher)["difference"] is None


def test_a_student_without_an_answer_is_a_fault():
    gold, own, _ = drawn(0, 20)
    own.changed[3] = np.nan
    with pytest.raises(PotstillError, match="not numbers"):
        describe(Accuracy(3), gold, own, None)


@pytest.mark.parametrize("grouped", [False, True], ids=["rows", "groups"])
@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_the_interval_is_that_of_a_bootstrap_by_hand(metric, grouped):
    """Rows, or whole groups, are drawn with all four answers to them; the interval holds the percentiles and is not much wider."""
    gold, own, teacher = drawn(2, 400)
    groups = np.repeat(np.arange(80), 5) if grouped else None
    found = excess_interval(metric, gold, own, teacher, groups, 0.025)
    random, units = np.random.default_rng(0), [np.flatnonzero(groups == k) for k in range(80)] if grouped else np.arange(400)[:, None]
    values = []
    for _ in range(800):
        at = np.concatenate([units[k] for k in random.integers(0, len(units), len(units))])
        values.append(lost(metric, gold[at], own.only(at)) - lost(metric, gold[at], teacher.only(at)))
    low, high = np.quantile(values, [0.025, 0.975])
    air = 0.15 * (high - low)
    assert low - 2 * air <= found.low <= low + air
    assert high - air <= found.high <= high + 2 * air
    assert found.n == (80 if grouped else 400)


@pytest.mark.parametrize(("n", "draws"), [(60, 300), (300, 150)])
def test_the_interval_holds_the_truth_as_often_as_it_says(n, draws):
    held = []
    for seed in range(draws):
        gold, own, teacher = alike(seed, n)
        found = excess_interval(Accuracy(3), gold, own, teacher, None, 0.025)
        held.append(found.low <= 0 <= found.high)
    assert stats.binom.cdf(sum(held), draws, 0.95) > 0.01  # not shown to be under 95 %
    assert np.mean(held) < 1  # nor so wide that it says nothing


def test_whole_groups_that_turn_make_it_wider():
    gold, own, teacher = (np.repeat(part, 5, axis=0) if isinstance(part, np.ndarray) else part for part in drawn(3, 60))
    own, teacher = (Sides(np.repeat(side.clean, 5, axis=0), np.repeat(side.changed, 5, axis=0)) for side in (own, teacher))
    plain = excess_interval(Accuracy(3), gold, own, teacher, None, 0.025)
    grouped = excess_interval(Accuracy(3), gold, own, teacher, np.repeat(np.arange(60), 5), 0.025)
    assert (grouped.value, grouped.n) == (plain.value, 60)
    assert grouped.high - grouped.low > 1.7 * (plain.high - plain.low)
    assert describe(Accuracy(3), gold, own, np.repeat(np.arange(10), 30), teacher=teacher)["few_groups"]


def test_no_row_at_all_says_nothing():
    nothing = Sides(np.zeros((0, 2)), np.zeros((0, 2)))
    found = excess_interval(Accuracy(2), np.zeros(0, int), nothing, nothing, None, 0.025)
    assert (found.low, found.high, found.n) == (-2, 2, 0)


def test_what_stands_out_does_so_though_many_are_looked_at():
    gold, own, teacher = drawn(4, 400, own=0.4, taught=0.1)
    found = describe(Accuracy(3), gold, own, None, teacher=teacher, looks=1)
    assert found["difference"]["low"] > 0
    assert found["stands_out"]
    assert not describe(Accuracy(3), gold, own, None, teacher=teacher, looks=10**9)["stands_out"]
    chance = []
    for seed in range(100):
        gold, own, teacher = alike(seed)
        chance.append(describe(Accuracy(3), gold, own, None, teacher=teacher, looks=15)["stands_out"])
    assert np.mean(chance) <= 0.02  # 0.025 / 15 each


def alike(seed: int, n: int = 150) -> tuple[np.ndarray, Sides, Sides]:
    """Gold, a student and its teacher that turn by chance alone and equally often: the true difference is 0."""
    gold, _, teacher = drawn(seed, n, taught=0.2)
    return gold, Sides(teacher.clean, worn(np.random.default_rng(seed + 5000), teacher.clean, 0.2)), teacher


# ------------------------------------------------------------------------------------------------------ rows of another kind
def test_two_samples_are_newcombes_where_the_bounds_are_wilsons():
    """56 of 70 against 48 of 80: Newcombe 1998, table II, method 10."""

    def wilson(hits: int, n: int) -> Interval:
        low, high = stats.binomtest(hits, n).proportion_ci(method="wilson")
        return Interval(hits / n, low, high, n)

    found = apart(wilson(56, 70), wilson(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert found.n == 70


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_rows_of_another_kind_cost_what_the_two_qualities_differ_by(metric):
    gold, own, teacher = drawn(5, 300)
    other, there, taught = drawn(6, 200)
    here = Elsewhere(gold, None, own.clean, teacher.clean)
    told = describe_elsewhere(metric, here, Elsewhere(other, None, there.changed, taught.changed))
    sign = 1 if metric.higher_is_better else -1
    clean, value = (float(metric.combine(metric.statistics(g, a).sum(axis=0))) for g, a in ((gold, own.clean), (other, there.changed)))
    assert (told["clean"], told["value"], told["loss"]["value"]) == pytest.approx((clean, value, sign * (clean - value)))
    assert told["difference"]["value"] == pytest.approx(told["loss"]["value"] - told["teacher_loss"]["value"])
    assert told["difference"]["low"] < told["difference"]["value"] < told["difference"]["high"]
    assert told["n"] == told["agreement"]["n"] == 200
    json.dumps(told)


def test_the_two_sample_interval_holds_the_truth_as_often_as_it_says():
    held = []
    for seed in range(300):
        (gold, own, teacher), (other, there, taught) = drawn(seed, 150), drawn(seed + 10_000, 120)
        told = describe_elsewhere(Accuracy(3), Elsewhere(gold, None, own.clean, teacher.clean), Elsewhere(other, None, there.clean, taught.clean))
        held.append([told[key]["low"] <= 0 <= told[key]["high"] for key in ("loss", "difference")])
    assert stats.binom.cdf(np.sum(held, axis=0).min(), 300, 0.95) > 0.01


def test_without_gold_there_is_agreement_and_confidence():
    gold, own, teacher = drawn(7, 100)
    here = Elsewhere(gold, None, own.clean, teacher.clean)
    told = describe_elsewhere(Accuracy(3), here, Elsewhere(np.full(100, -1), None, own.changed, teacher.changed))
    assert (told["value"], told["loss"], told["difference"]) == (None, None, None)
    same = (own.changed.argmax(axis=1) == teacher.changed.argmax(axis=1)).mean()
    assert told["agreement"]["agreement"] == pytest.approx(same)
    assert told["confidence"] == pytest.approx(np.exp(own.changed.max(axis=1)).mean())
    assert describe_elsewhere(Accuracy(3), here, Elsewhere(gold, None, own.changed, None))["agreement"] is None


# ----------------------------------------------------------------------------------------------------------- by themselves
def test_a_quality_by_itself_has_the_exact_interval():
    gold = np.zeros(50, int)
    found = quality_interval(Accuracy(2), gold, sure(np.array([1] * 7 + [0] * 43), 2), None, 0.025)
    exact = stats.binomtest(43, 50).proportion_ci(0.95, method="exact")
    assert (found.value, found.low, found.high, found.n) == pytest.approx((0.86, exact.low, exact.high, 50))
    assert quality_interval(Accuracy(2), gold[:0], sure(gold[:0], 2), None, 0.025).n == 0


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
@pytest.mark.parametrize("grouped", [False, True], ids=["rows", "groups"])
def test_a_quality_by_itself_has_the_spread_of_resampled_units(metric, grouped):
    gold, own, _ = drawn(8, 400)
    groups = np.repeat(np.arange(100), 4) if grouped else None
    found = quality_interval(metric, gold, own.changed, groups, 0.025)
    random, units = np.random.default_rng(1), [np.arange(4 * k, 4 * k + 4) for k in range(100)] if grouped else np.arange(400)[:, None]
    draws = [np.concatenate([units[k] for k in random.integers(0, len(units), len(units))]) for _ in range(600)]
    values = [float(metric.combine(metric.statistics(gold[at], own.changed[at]).sum(axis=0))) for at in draws]
    low, high = np.quantile(values, [0.025, 0.975])
    assert low - 0.3 * (high - low) <= found.low <= low + 0.15 * (high - low)
    assert high - 0.15 * (high - low) <= found.high <= high + 0.3 * (high - low)


def test_the_sample_follows_the_rows_and_not_their_order():
    rows = tuple(Example.make({"text": f"row {i}"}) for i in range(50))
    chosen = sample(rows, 10, 0)
    assert chosen.tolist() == sorted(chosen.tolist())
    assert {rows[i].id for i in chosen} == {rows[::-1][i].id for i in sample(rows[::-1], 10, 0)}
    assert set(chosen) != set(sample(rows, 10, 1))
    assert set(sample(rows, 5, 0)) < set(chosen)
    assert len(sample(rows, 500, 0)) == 50
