"""Any number of labels a row: metrics are scikit-learn's, decisions, fidelity, calibration and slices of whole sets."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, rel_entr
from sklearn.metrics import accuracy_score, f1_score, hamming_loss

from potstill.evaluation import calibration, fidelity, slices
from potstill.evaluation.decisions import KINDS
from potstill.evaluation.multilabel import HammingLoss, LabelMacroF1, MicroF1, SubsetAccuracy
from potstill.evaluation.rows import Rows, disagreement_interval, drop_interval
from potstill.evaluation.standing import teacher_standing

LABELS = KINDS["labels"]
ORACLES = [
    (MicroF1, lambda gold, told: f1_score(gold, told, average="micro", zero_division=0)),
    (LabelMacroF1, lambda gold, told: f1_score(gold, told, average="macro", zero_division=0)),
    (SubsetAccuracy, accuracy_score),
    (HammingLoss, hamming_loss),
]


@pytest.mark.parametrize(("metric", "oracle"), ORACLES)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 40), labels=st.integers(2, 6), share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
@settings(deadline=None)
def test_metrics_are_scikit_learns(metric, oracle, seed, rows, labels, share):
    random = np.random.default_rng(seed)
    gold, told = ((random.random((rows, labels)) < p).astype(int) for p in (share, random.random()))
    made = metric(labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert float(made.combine(made.statistics(gold, told - 0.5).sum(axis=0))) == pytest.approx(oracle(gold, told))


def test_what_nobody_told_and_nobody_has_is_0_as_in_scikit_learn():
    gold = np.array([[1, 0], [1, 0]])
    scores = np.array([[1.0, -1.0], [1.0, -1.0]])
    value = lambda metric: float(metric(2).combine(metric(2).statistics(gold, scores).sum(axis=0)))  # noqa: E731
    assert (value(MicroF1), value(LabelMacroF1), value(SubsetAccuracy), value(HammingLoss)) == (1.0, 0.5, 1.0, 0.0)
    none = np.zeros((3, 2), int)
    assert float(MicroF1(2).combine(MicroF1(2).statistics(none, none - 1.0).sum(axis=0))) == 0.0


def test_metrics_combine_sums_of_any_shape():
    """The bootstrap's: a stack of sums gives a stack of values."""
    random = np.random.default_rng(0)
    gold, scores = random.integers(0, 2, (9, 3)), random.normal(size=(9, 3))
    for metric, _ in ORACLES:
        found = metric(3).statistics(gold, scores)
        stacked = np.stack([[found[:4].sum(0), found.sum(0)], [found[2:].sum(0), found[5:].sum(0)]])
        one_by_one = [[metric(3).combine(stacked[i, j]) for j in range(2)] for i in range(2)]
        np.testing.assert_allclose(metric(3).combine(stacked), one_by_one)


# ------------------------------------------------------------------------------------------------------------ decisions
def test_a_row_is_right_in_all_of_its_labels():
    gold, scores = np.array([[1, 0], [1, 1], [0, 0], [-1, -1]]), np.array([[0.0, -1.0], [1.0, -1.0], [-1.0, -1.0], [1.0, 1.0]])
    assert LABELS.right(gold, scores).tolist()[:3] == [True, False, True]
    assert LABELS.labeled(gold).tolist() == [True, True, True, False]
    assert LABELS.differ(scores, -scores - 0.5).tolist() == [True, True, True, True]
    assert LABELS.differ(scores, 3 * scores).tolist() == [False] * 4


def test_the_surest_set_is_the_most_probable_one():
    scores = np.array([[3.0, -3.0], [3.0, 0.1], [-8.0, -8.0]])
    p = expit(np.abs(scores)).prod(axis=1)
    np.testing.assert_allclose(np.exp(LABELS.sure(scores)), p)


@given(st.integers(0, 1000), st.integers(1, 6))
def test_the_worst_answer_is_wrong_and_as_long(seed, labels):
    scores = np.random.default_rng(seed).normal(size=(8, labels))
    worst = LABELS.worst(scores)
    assert LABELS.differ(scores, worst).all()
    told, wrong = (scores >= 0).sum(axis=1), (worst >= 0).sum(axis=1)
    assert ((wrong == np.maximum(told, 1)) | ((told == labels) & (wrong == 0))).all()


def test_one_label_a_row_is_worst_as_a_wrong_class_is():
    """Where exactly one label is told, the dearest mistake is another label instead of it: what it is for classes."""
    scores = np.array([[2.0, -1.0, -3.0]])
    assert LABELS.worst(scores).tolist() == [[-1.0, -1.0, 1.0]]
    assert KINDS["classes"].worst(scores).argmax() == 2


# ---------------------------------------------------------------------------------------------------------------- drops
def pair(n, worse, labels=4, seed=0):
    random = np.random.default_rng(seed)
    gold = (random.random((n, labels)) < 0.3).astype(int)
    teacher = np.where(gold > 0, 2.0, -2.0)
    student = teacher.copy()
    student[:worse, 0] *= -1
    return Rows(gold, teacher, student, None)


@pytest.mark.parametrize("metric", [MicroF1, LabelMacroF1, SubsetAccuracy, HammingLoss])
def test_a_worse_student_has_a_drop_above_0_whichever_way_the_metric_points(metric):
    found = drop_interval(metric(4), pair(300, 60), 0.05)
    assert found.low > 0
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("metric", [MicroF1, LabelMacroF1, SubsetAccuracy, HammingLoss])
def test_equal_sides_are_not_proven_equal(metric):
    """Mistakes that these rows happen not to hold count: without them the bound would be 0 and pass anything."""
    assert drop_interval(metric(4), pair(300, 0), 0.05).high > 1e-3


def test_rows_without_gold_or_answer_are_left_out():
    rows = pair(5, 1)
    rows.gold[1], rows.teacher[2] = -1, np.nan
    assert len(rows.known(need_gold=True)) == 3
    assert len(rows.known(need_gold=False)) == 4


# ------------------------------------------------------------------------------------------------------------- fidelity
def test_agreement_is_of_whole_sets_and_of_labels():
    rows = pair(100, 10)
    found = fidelity.fidelity(rows.teacher, rows.student, kind="labels", thresholds=(np.zeros(4), np.zeros(4)))
    assert found["agreement"] == pytest.approx(0.9) == 1 - disagreement_interval(rows, 0.05).value
    assert found["label_agreement"] == pytest.approx(1 - 10 / 400)


def test_thresholds_decide_agreement_and_leave_the_divergence_alone():
    teacher, student = np.array([[0.2, -1.0]]), np.array([[1.2, -1.0]])
    at_half = fidelity.fidelity(teacher, student, kind="labels", thresholds=(np.zeros(2), np.zeros(2)))
    moved = fidelity.fidelity(teacher, student, kind="labels", thresholds=(np.array([0.5, 0.0]), np.array([0.5, 0.0])))
    assert (at_half["agreement"], moved["agreement"]) == (1.0, 0.0)
    p, q = expit(teacher), expit(student)
    assert at_half["kl"] == moved["kl"] == pytest.approx((rel_entr(p, q) + rel_entr(1 - p, 1 - q)).sum())


def test_the_divergence_is_finite_where_the_student_is_certain_and_wrong():
    assert 30 < fidelity.labels_kl(np.array([[50.0]]), np.array([[-1e5]])) < 40  # -FLOOR


def test_flips_are_of_whole_sets():
    rows = pair(6, 2)
    found = fidelity.flips(rows.gold, rows.teacher, rows.student)
    assert sorted(found["harmful"].tolist()) == [0, 1]
    assert not len(found["beneficial"])
    assert sorted(fidelity.disagreements(rows.teacher, rows.student, kind="labels").tolist()) == [0, 1]


# ---------------------------------------------------------------------------------------------------------- calibration
def draws(n=4000, labels=3, temperature=1.0, seed=0):
    random = np.random.default_rng(seed)
    true = random.normal(size=(n, labels)) * 2 - 1
    gold = (random.random((n, labels)) < expit(true)).astype(int)
    return gold, true * temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_spoilt_log_odds_is_found_again(temperature):
    gold, logodds = draws(temperature=temperature)
    found = calibration.fit_temperature(logodds, gold, rows_in_all=len(gold))
    assert found.temperature == pytest.approx(temperature, rel=0.1)


def test_no_temperature_without_a_mistake_or_without_rows():
    gold, logodds = draws(50)
    assert calibration.fit_temperature(logodds, gold, rows_in_all=50).temperature == 1
    assert "no mistake" in calibration.fit_temperature(np.where(gold > 0, 1.0, -1.0), gold, rows_in_all=500).reason


def test_probabilities_that_mean_what_they_say_have_no_calibration_error():
    gold, logodds = draws()
    assert calibration.ece(gold, logodds) < 0.02 < calibration.ece(gold, 4 * logodds)
    bins = calibration.reliability(gold, logodds)
    assert sum(b["n"] for b in bins) == gold.size


def test_a_decision_under_one_half_is_as_sure_as_its_probability():
    """A label told from p = 0.2 on: told with 0.3 it is held to be right with 0.3."""
    bins = calibration.reliability(np.array([[1]]), np.log(np.array([[0.3 / 0.7]])), np.log(np.array([0.25])))
    assert bins == [{"confidence": pytest.approx(0.3), "accuracy": 1.0, "n": 1}]


def test_an_answer_is_saturated_where_each_of_its_labels_is():
    assert calibration.saturated(np.array([[20.0, -20.0], [20.0, 0.5], [np.nan, np.nan]]), "labels") == 0.5
    assert calibration.saturated(np.zeros((0, 2)), "labels") == 0.0


# --------------------------------------------------------------------------------------------------------------- slices
def test_a_row_is_in_the_slice_of_each_of_its_labels():
    rows = pair(200, 0)
    names = np.array(["a", "b", "c", "d"])
    rows.student[rows.gold[:, 1] > 0, 1] = -2.0  # it never tells b
    values = [tuple(names[gold > 0]) or ("(no label)",) for gold in rows.gold]
    found = {row["value"]: row for row in slices.slices({"label": values}, rows.gold, rows.teacher, rows.student)}
    assert set(found) == {"a", "b", "c", "d", "(no label)"}
    assert found["b"]["quality"] == 0.0
    assert found["(no label)"]["quality"] == 1.0
    assert found["b"]["n"] == int((rows.gold[:, 1] > 0).sum())


# ------------------------------------------------------------------------------------------------------------- standing
@pytest.mark.parametrize(("metric", "teacher", "majority", "lower", "status"), [
    ("micro_f1", 0.60, 0.58, False, "refuse"), ("micro_f1", 0.80, 0.58, False, "ok"), ("hamming_loss", 0.05, 0.08, True, "ok"),
    ("hamming_loss", 0.08, 0.08, True, "refuse"), ("subset_accuracy", 0.5, 0.3, False, "ok"),
])  # fmt: skip
def test_a_teacher_at_chance_is_refused(metric, teacher, majority, lower, status):
    assert teacher_standing(teacher=teacher, majority=majority, floor=None, n=400, metric=metric, higher_is_better=not lower).status == status
