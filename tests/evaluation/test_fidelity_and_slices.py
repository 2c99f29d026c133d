"""Agreement, divergence, flips; and where the student is worse than on the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from potstill.evaluation.fidelity import disagreements, fidelity, flips, kl
from potstill.evaluation.slices import by_length, note, slices
from potstill.evaluation.statistics import clopper_pearson

from .draws import noisy, sure


def test_agreement_has_its_exact_interval_and_kl_is_scipys():
    _, teacher = noisy(np.random.default_rng(0), 80, 4, 0.1)
    _, student = noisy(np.random.default_rng(1), 80, 4, 0.3)
    found = fidelity(teacher, student)
    same = int((teacher.argmax(axis=1) == student.argmax(axis=1)).sum())
    low, high = clopper_pearson(80 - same, 80, 0.025)
    assert (found["agreement"], found["low"], found["high"], found["n"]) == pytest.approx((same / 80, 1 - high, 1 - low, 80))
    assert found["kl"] == pytest.approx(np.mean([stats.entropy(np.exp(p), np.exp(q)) for p, q in zip(teacher, student)]), rel=1e-6)


def test_divergence_is_finite_and_none_between_equals():
    hard = np.array([[0.0, -np.inf], [-np.inf, 0.0]])
    assert kl(hard, hard) == 0
    assert np.isfinite(kl(hard, hard[::-1]))
    assert kl(np.log([[0.5, 0.5]]), np.log([[0.5, 0.5]])) == 0


def test_rows_without_the_teachers_answer_count_for_nothing():
    teacher, student = sure(np.array([0, 1, 1]), 2), sure(np.array([0, 0, 1]), 2)
    teacher[0] = np.nan
    assert fidelity(teacher, student)["n"] == 2
    assert disagreements(teacher, student).tolist() == [1]
    assert flips(np.array([0, 1, 0]), teacher, student)["harmful"].tolist() == [1]
    teacher[:] = np.nan
    assert fidelity(teacher, student) == {"agreement": None, "low": None, "high": None, "n": 0, "kl": None}


def test_groups_widen_the_agreement():
    _, teacher = noisy(np.random.default_rng(0), 60, 3, 0.1)
    _, student = noisy(np.random.default_rng(1), 60, 3, 0.3)
    teacher, student = np.repeat(teacher, 5, axis=0), np.repeat(student, 5, axis=0)
    plain, grouped = fidelity(teacher, student), fidelity(teacher, student, np.repeat(np.arange(60), 5))
    assert grouped["n"] == 60
    assert grouped["high"] - grouped["low"] > 1.5 * (plain["high"] - plain["low"])


def test_flips_are_the_rows_where_one_side_alone_is_right_the_surest_first():
    gold = np.array([0, 0, 0, 0, 1, -1])
    teacher = sure(np.array([0, 0, 1, 1, 1, 0]), 2)
    student = sure(np.array([1, 1, 0, 1, 1, 1]), 2)
    student[1] = np.log([0.02, 0.98])
    found = flips(gold, teacher, student)
    assert found["harmful"].tolist() == [1, 0]
    assert found["beneficial"].tolist() == [2]
    assert disagreements(teacher, student).tolist() == [1, 0, 2, 5]


# ------------------------------------------------------------------------------------------------------------------ slices
def rows(n: int = 400):
    gold = np.arange(n) % 4
    site = np.array(["north", "south"])[(np.arange(n) // 4) % 2]
    student = gold.copy()
    student[(site == "south") & (np.arange(n) % 3 == 0)] += 1
    return gold, sure(gold, 5), sure(student, 5), site.tolist()


def test_a_planted_weakness_stands_out_and_stands_first():
    gold, teacher, student, site = rows()
    found = slices({"label": [str(g) for g in gold], "site": site}, gold, teacher, student)
    assert (found[0]["column"], found[0]["value"]) == ("site", "south")
    assert [row["value"] for row in found if row["stands_out"]] == ["south"]
    south = found[0]
    assert (south["n"], south["teacher"]) == (200, 1.0)
    assert south["drop"]["low"] < south["drop"]["value"] < south["drop"]["high"]
    assert south["drop"]["value"] == pytest.approx(1 - south["quality"])
    assert "6 slices" in note(found)
    assert "site = south" in note(found)
    json.dumps(found, allow_nan=False)


def test_small_slices_are_marked_come_last_and_never_stand_out():
    gold, teacher, student, _ = rows()
    where = ["rare" if i in (3, 12, 15) else "common" for i in range(400)]
    student[:16] = sure(np.full(16, 4), 5)
    found = slices({"where": where}, gold, teacher, student)
    assert [row["value"] for row in found] == ["common", "rare"]
    assert (found[1]["small"], found[1]["stands_out"], found[1]["n"]) == (True, False, 3)


def test_many_labels_are_shown_where_they_have_rows_and_names_of_rows_are_not():
    n = 60 * 25
    gold = np.arange(n) % 60
    found = slices({"label": [str(g) for g in gold], "id": [str(i) for i in range(n)]}, gold, sure(gold, 60), sure(gold, 60))
    assert len(found) == 60
    assert {row["column"] for row in found} == {"label"}


def test_groups_widen_a_slices_interval():
    gold, teacher, student, site = rows()
    plain = slices({"site": site}, gold, teacher, student)
    grouped = slices({"site": site}, gold, teacher, student, groups=np.arange(400) // 8)
    assert grouped[0]["drop"]["high"] > plain[0]["drop"]["high"]


def test_chance_alone_seldom_stands_out():
    random = np.random.default_rng(0)
    out = 0
    for _ in range(40):
        gold = np.zeros(600, int)
        told = [np.where(random.random(600) < 0.1, 1, 0) for _ in range(2)]
        columns = {f"c{k}": random.integers(0, 4, 600).astype(str).tolist() for k in range(5)}
        out += any(row["stands_out"] for row in slices(columns, gold, sure(told[0], 2), sure(told[1], 2)))
    assert out <= 5


def test_lengths_fall_into_quarters_named_by_what_they_hold():
    names = by_length(list(range(1, 101)))
    assert sorted(set(names), key=lambda name: int(name.partition("-")[0])) == [
        "1-25 characters", "26-50 characters", "51-75 characters", "76-100 characters",
    ]  # fmt: skip
    assert by_length([7, 7, 7]) == ["7-7 characters"] * 3
    assert by_length([]) == []


def test_no_row_gives_no_slice():
    assert slices({"label": []}, np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, 2))) == []
