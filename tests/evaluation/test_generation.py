"""Measures of tokens add up over rows, and the spine's intervals stand on them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from potstill.evaluation.decisions import of
from potstill.evaluation.fidelity import fidelity
from potstill.evaluation.generation import (
    AGREED,
    KL,
    MEASURES,
    NATS,
    TOKENS,
    Agreement,
    BitsPerByte,
    Divergence,
    Perplexity,
    TokenAccuracy,
    Tops,
    beside_top,
    measured,
    of_top,
)
from potstill.evaluation.rows import Rows, disagreement_interval, drop_interval, quality_interval, retention_interval

RNG = np.random.default_rng(0)


def measures(rows, *, better=1.0, agreed=0.8):
    tokens = RNG.integers(1, 40, rows).astype(float)
    nats = tokens * RNG.gamma(4, 0.5, rows) * better
    return np.stack([nats, tokens, 4 * tokens, 0.1 * tokens, np.round(agreed * tokens), np.round(0.5 * tokens)], axis=1)


def gold(rows):
    return np.zeros((rows, 0), np.int8)


def test_metrics_are_those_of_all_tokens_end_to_end_and_not_means_of_rows():
    found = measures(50)
    nats, tokens, size = found[:, NATS].sum(), found[:, TOKENS].sum(), found[:, 2].sum()
    expected = {
        BitsPerByte(): nats / math.log(2) / size, Perplexity(): math.exp(nats / tokens), Divergence(): 0.1,
        Agreement(): found[:, AGREED].sum() / tokens, TokenAccuracy(): found[:, 5].sum() / tokens,
    }  # fmt: skip
    for metric, value in expected.items():
        statistics = metric.statistics(gold(50), found)
        assert float(metric.combine(statistics.sum(axis=0))) == pytest.approx(value)
        parts = metric.combine(statistics[:25].sum(axis=0) + statistics[25:].sum(axis=0))
        assert float(parts) == pytest.approx(value)


def test_a_worse_student_has_a_positive_drop_whose_interval_holds_it():
    teacher = measures(400)
    student = teacher.copy()
    student[:, NATS] *= 1.1
    rows = Rows(gold(400), teacher, student, None)
    for metric in (BitsPerByte(), Perplexity()):
        found = drop_interval(metric, rows.known(need_gold=True), 0.025)
        assert 0 < found.low < found.value < found.high
    same = drop_interval(BitsPerByte(), Rows(gold(400), teacher, teacher, None), 0.025)
    assert same.low == same.value == same.high == 0


def test_a_row_that_the_teacher_did_not_answer_is_left_out():
    teacher, student = measures(40), measures(40)
    teacher[3] = np.nan
    assert len(Rows(gold(40), teacher, student, None).known(need_gold=True)) == 39


def test_agreement_is_of_positions_and_its_interval_of_rows():
    teacher, student = measures(200), measures(200, agreed=0.9)
    teacher[:, TOKENS] = student[:, TOKENS]
    found = disagreement_interval(Rows(gold(200), teacher, student, None), 0.025)
    share = 1 - student[:, AGREED].sum() / student[:, TOKENS].sum()
    assert found.value == pytest.approx(share)
    assert 0 <= found.low < share < found.high <= 1
    assert found.n == 200
    told = fidelity(teacher, student, kind="tokens")
    assert told["agreement"] == pytest.approx(1 - share)
    assert told["kl"] == pytest.approx(student[:, KL].sum() / student[:, TOKENS].sum())


def test_rows_of_one_document_count_as_one():
    teacher, student = measures(120), measures(120)
    groups = np.repeat(np.arange(40), 3)
    alone = disagreement_interval(Rows(gold(120), teacher, student, None), 0.025)
    together = disagreement_interval(Rows(gold(120), teacher, student, groups), 0.025)
    assert (alone.n, together.n) == (120, 40)


def test_retention_is_told_of_token_accuracy_alone():
    rows = Rows(gold(100), measures(100), measures(100), None)
    assert retention_interval(BitsPerByte(), rows, 0.025) is None
    assert retention_interval(TokenAccuracy(), rows, 0.025) is not None
    assert quality_interval(BitsPerByte(), gold(100), rows.student, None, 0.025).low > 0


def test_gold_without_columns_is_that_of_tokens():
    assert type(of(gold(3))).__name__ == "Tokens"
    assert type(of(np.zeros((3, 2)))).__name__ == "Labels"
    assert type(of(np.zeros(3))).__name__ == "Classes"
    assert len(MEASURES) == 6


# ------------------------------------------------------------------------------------------- beside the top of a teacher
def told(teacher, targets, k):
    """The ``k`` likeliest of each position and the token that stands there, as a server tells them: float32, and slots that stay empty."""
    logs = teacher - np.logaddexp.reduce(teacher, axis=1, keepdims=True)
    named = np.zeros(logs.shape, bool)
    np.put_along_axis(named, np.argsort(-logs, axis=1)[:, :k], True, axis=1)
    named[range(len(logs)), targets] = True
    ids = np.argsort(-np.where(named, logs, -np.inf), axis=1)[:, : k + 1]
    kept = np.take_along_axis(np.where(named, logs, -np.inf), ids, axis=1)
    return Tops.made(np.where(np.isfinite(kept), ids, 0), kept.astype(np.float32), 1 - np.exp(kept).sum(axis=1), logs.shape[1])


@pytest.mark.parametrize("k", [1, 5, 39, 40])
def test_beside_a_top_a_divergence_is_a_lower_bound_and_all_else_is_the_same(k):
    teacher, student, targets = RNG.normal(0, 3, (200, 40)), RNG.normal(0, 3, (200, 40)), RNG.integers(0, 40, 200)
    exact, found = measured(student, targets, teacher), beside_top(student, targets, told(teacher, targets, k))
    np.testing.assert_allclose(found[:, [0, 2, 3]], exact[:, [0, 2, 3]])
    assert (found[:, 1] <= exact[:, 1] + 1e-5).all()
    assert (found[:, 1] > 0).all()
    if k >= 39:
        np.testing.assert_allclose(found[:, 1], exact[:, 1], rtol=1e-4)
    own = measured(teacher, targets, teacher)
    np.testing.assert_allclose(of_top(told(teacher, targets, k), targets), own, rtol=1e-5, atol=1e-6)


def test_beside_its_own_top_a_model_is_no_way_off():
    teacher, targets = RNG.normal(0, 3, (100, 40)), RNG.integers(0, 40, 100)
    found = beside_top(teacher, targets, told(teacher, targets, 5))
    np.testing.assert_allclose(found[:, 1], 0, atol=1e-6)
    assert found[:, 2].all()


def test_rows_of_a_head_that_pad_the_vocabulary_have_no_part_in_it():
    teacher, student, targets = RNG.normal(0, 3, (50, 40)), RNG.normal(0, 3, (50, 48)), RNG.integers(0, 40, 50)
    found = beside_top(student, targets, told(teacher, targets, 5))
    np.testing.assert_allclose(found, beside_top(student[:, :40], targets, told(teacher, targets, 5)))


def test_where_a_teacher_does_not_tell_of_the_token_that_stands_there_its_own_nats_are_not_known():
    found = of_top(Tops.made(np.array([[3, 0]]), np.array([[-0.1, -np.inf]], np.float32), np.array([0.0951626]), 40), np.array([7]))
    assert np.isnan(found[0, 0])
    assert found[0, 3] == 0


def test_a_student_that_is_certain_of_what_is_left_over_has_a_finite_divergence():
    logits = np.zeros((1, 40))
    logits[0, 0] = 2000.0
    found = beside_top(logits, np.array([0]), Tops.made(np.array([[0]]), np.log(np.array([[0.9]], np.float32)), np.array([0.1]), 40))
    assert 100 < found[0, 1] < np.inf
