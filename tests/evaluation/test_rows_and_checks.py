"""Each quantity gets the interval that the law names; a line is decided by its bound, never by its value."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.evaluation.checks import at_least, at_most, fidelity_check, quality_check, unknown
from potstill.evaluation.metrics import MCC, Accuracy, LogLoss, MacroF1
from potstill.evaluation.rows import (
    Rows,
    disagreement_interval,
    drop_interval,
    relative_drop_interval,
    retention_interval,
    seeds_interval,
)  # fmt: skip
from potstill.evaluation.statistics import clopper_pearson, tango
from potstill.evaluation.statistics.special import normal_ppf
from potstill.recipe.requirement import Fidelity, Quality
from potstill.records import Interval

from .draws import noisy, pair, sure


def both(n: int = 300, classes: int = 3, wrong: tuple[float, float] = (0.1, 0.2), groups=None, seed: int = 0) -> Rows:
    random = np.random.default_rng(seed)
    gold, teacher = noisy(random, n, classes, wrong[0])
    _, student = noisy(np.random.default_rng(seed + 1), n, classes, wrong[1])
    student = np.where(random.random(n)[:, None] < 0.7, teacher, student)
    return Rows(gold, teacher, student, groups)


def test_the_method_is_the_one_that_the_law_names():
    groups = np.repeat(np.arange(60), 5)
    plain, grouped = both(), both(groups=groups)
    named = {
        (metric.name, rows is grouped): drop_interval(metric, rows, 0.04).method
        for metric in (Accuracy(3), MacroF1(3), MCC(3), LogLoss(3))
        for rows in (plain, grouped)
    }
    assert named["accuracy", False] == "Tango's score interval"
    assert all("cluster-robust t" in method for (_, is_grouped), method in named.items() if is_grouped)
    assert {named[name, False] for name in ("macro_f1", "mcc", "log_loss")} == {"BCa bootstrap"}
    assert drop_interval(Accuracy(3), grouped, 0.04).n == 60
    assert disagreement_interval(plain, 0.04).method == "exact binomial"


@pytest.mark.parametrize("metric", [Accuracy(3), MacroF1(3), MCC(3), LogLoss(3)], ids=lambda m: m.name)
@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(60), 5)], ids=["rows", "groups"])
def test_a_drop_stands_inside_its_bounds_and_more_is_worse(metric, groups):
    rows = both(groups=groups)
    found = drop_interval(metric, rows, 0.04)
    turned = drop_interval(metric, Rows(rows.gold, rows.student, rows.teacher, groups), 0.04)
    assert found.low < found.value < found.high
    assert found.value > 0  # the student is worse, whichever way the metric runs
    assert turned.value == pytest.approx(-found.value)


def test_accuracy_by_hand():
    found = drop_interval(Accuracy(2), pair(14, 6, 200), 0.04)
    assert found == Interval(pytest.approx(0.04), *tango(14, 6, 200, 0.04), 200, "Tango's score interval")


@pytest.mark.parametrize("metric", [Accuracy(2), MacroF1(2), MCC(2)], ids=lambda m: m.name)
@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(40), 5)], ids=["rows", "groups"])
def test_two_sides_that_never_differ_are_not_proof_of_no_drop(metric, groups):
    rows = Rows(np.tile([0, 1], 100), *[sure(np.tile([0, 1], 100), 2)] * 2, groups)
    units = 200 if groups is None else 40
    found = drop_interval(metric, rows, 0.04)
    assert found.value == 0
    assert found.high >= 0.9 * normal_ppf(0.96) ** 2 / (units + normal_ppf(0.96) ** 2)
    assert relative_drop_interval(metric, rows, 0.02, 0.04).high > 0


def test_a_class_of_one_row_keeps_macro_f1_from_being_sure():
    gold = np.array([0] * 150 + [1] * 149 + [2])
    rows = Rows(gold, *[sure(gold, 3)] * 2, None)
    assert drop_interval(MacroF1(3), rows, 0.04).high > 0.3


def test_the_relative_drop_decides_as_the_difference_does():
    rows = both(n=600)
    found = relative_drop_interval(Accuracy(3), rows, 0.05, 0.04)
    teacher, student = ((side.argmax(axis=1) == rows.gold).mean() for side in (rows.teacher, rows.student))
    assert found.value == pytest.approx(1 - student / teacher)
    assert found.low < found.value < found.high


def test_retention_is_a_ratio_and_none_where_it_means_nothing():
    rows = both(n=600)
    found = retention_interval(Accuracy(3), rows, 0.025)
    teacher, student = ((side.argmax(axis=1) == rows.gold).mean() for side in (rows.teacher, rows.student))
    assert found.value == pytest.approx(student / teacher)
    assert found.low < found.value < found.high
    assert retention_interval(LogLoss(3), rows, 0.025) is None
    assert retention_interval(Accuracy(2), pair(0, 10, 10), 0.025) is None  # a teacher that is never right


def test_the_mean_over_seeds_stands_beside():
    rows = [both(seed=0, wrong=(0.1, wrong)) for wrong in (0.1, 0.2, 0.4)]
    gold, teacher = rows[0].gold, rows[0].teacher
    found = seeds_interval(Accuracy(3), gold=gold, against=[teacher], students=[r.student for r in rows], groups=None, alpha=0.025)
    assert found.value == pytest.approx(np.mean([drop_interval(Accuracy(3), r, 0.025).value for r in rows]))
    assert found.low < found.value < found.high
    quality = seeds_interval(Accuracy(3), gold=gold, against=[], students=[r.student for r in rows], groups=np.arange(300) // 5, alpha=0.025)
    assert quality.value == pytest.approx(np.mean([(r.student.argmax(axis=1) == gold).mean() for r in rows]))
    assert quality.n == 60


def test_rows_without_answer_or_gold_do_not_count():
    rows = both(n=10)
    rows.teacher[2] = np.nan
    rows.gold[5] = -1
    grouped = Rows(rows.gold, rows.teacher, rows.student, np.array([7, 7, 3, 9, 9, 4, 7, 9, 7, 9]))
    assert len(grouped.known(need_gold=False)) == 9
    known = grouped.known(need_gold=True)
    assert len(known) == 8
    assert known.units == 2
    assert known.groups.tolist() == [0, 0, 1, 1, 0, 1, 0, 1]


def test_rows_that_cannot_be_are_refused():
    rows = both(n=10)
    with pytest.raises(PotstillError, match="rows of both sides differ"):
        Rows(rows.gold[:5], rows.teacher, rows.student, None)
    with pytest.raises(PotstillError, match="rows of both sides differ"):
        Rows(rows.gold, rows.teacher[:, :2], rows.student, None)
    rows.student[3] = np.nan
    with pytest.raises(PotstillError, match="not numbers"):
        rows.known(need_gold=True)


# ------------------------------------------------------------------------------------------------------------------ checks
@pytest.mark.parametrize(("low", "high", "status"), [(0.0, 0.02, "pass"), (0.0, 0.0201, "inconclusive"), (0.02, 0.05, "inconclusive"), (0.0201, 0.05, "fail")])
def test_at_most_is_decided_by_the_bounds(low, high, status):
    assert at_most("quality", 0.02, Interval(0.019, low, high, 100)).status == status


@pytest.mark.parametrize(("low", "high", "status"), [(4, 6, "pass"), (3.9, 6, "inconclusive"), (2, 4, "inconclusive"), (2, 3.9, "fail")])
def test_at_least_is_decided_by_the_bounds(low, high, status):
    assert at_least("speedup", 4, Interval(4.2, low, high, 5)).status == status


def test_nothing_is_decided_by_nothing():
    for made in (at_most, at_least):
        assert made("x", 1.0, Interval(0.5, 0.5, 0.5, 0)).status == "inconclusive"
        assert made("x", 1.0, Interval(float("nan"), float("nan"), float("nan"), 5)).status == "inconclusive"
    wide = at_most("x", 1.0, Interval(0.5, -np.inf, np.inf, 5))
    assert (wide.low, wide.high, wide.status) == (None, None, "inconclusive")
    assert unknown("speedup", 4, "no teacher here").value is None


def test_quality_and_fidelity_on_rows():
    one = Quality(max_drop=0.02)
    assert quality_check(one, Accuracy(2), pair(2, 2, 2000), 0.04).status == "pass"
    assert quality_check(one, Accuracy(2), pair(200, 0, 2000), 0.04).status == "fail"
    assert quality_check(one, Accuracy(2), pair(1, 1, 100), 0.04).status == "inconclusive"
    share = quality_check(Quality(max_relative_drop=0.05), Accuracy(2), pair(2, 2, 2000), 0.04)
    assert (share.status, share.required, share.unit) == ("pass", 0.05, "relative drop in accuracy")
    found = fidelity_check(Fidelity(max_disagreement=0.05), pair(10, 10, 1000), 0.04)
    assert (found.status, found.value) == ("pass", 0.02)
    assert (found.low, found.high) == clopper_pearson(20, 1000, 0.04)


def test_fewer_than_30_groups_decide_nothing():
    for rows in (pair(0, 0, 2900, groups=np.repeat(np.arange(29), 100)), pair(1500, 0, 2900, groups=np.repeat(np.arange(29), 100))):
        for check in (quality_check(Quality(max_drop=0.5), Accuracy(2), rows, 0.04), fidelity_check(Fidelity(max_disagreement=0.5), rows, 0.04)):
            assert check.status == "inconclusive"
            assert "fewer than 30 groups" in check.note


def test_no_row_is_said():
    rows = pair(0, 0, 5)
    rows.gold[:] = -1
    check = quality_check(Quality(max_drop=0.02), Accuracy(2), rows, 0.04)
    assert (check.status, check.value) == ("inconclusive", None)
    assert "no test row" in check.note
    rows.teacher[:] = np.nan
    assert "answered no test row" in fidelity_check(Fidelity(max_disagreement=0.1), rows, 0.04).note


def test_whatever_the_rows_the_figures_are_json():  # allow_nan=False raises for what JSON lacks
    alone = pair(1, 1, 8, groups=np.zeros(8, int))
    empty = Rows(np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, 2)), None)
    for rows in (alone, empty, pair(8, 0, 8), pair(0, 8, 8)):
        for metric in (Accuracy(2), MacroF1(2), MCC(2), LogLoss(2)):
            json.dumps(asdict(drop_interval(metric, rows, 0.025)), allow_nan=False)
            json.dumps(asdict(quality_check(Quality(metric=metric.name, max_drop=0.02), metric, rows, 0.04)), allow_nan=False)
            json.dumps(asdict(quality_check(Quality(max_relative_drop=0.02), metric, rows, 0.04)), allow_nan=False)
            found = retention_interval(metric, rows, 0.025)
            json.dumps(asdict(found) if found else None, allow_nan=False)
        json.dumps(asdict(fidelity_check(Fidelity(max_disagreement=0.02), rows, 0.04)), allow_nan=False)
