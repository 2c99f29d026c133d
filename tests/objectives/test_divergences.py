"""Divergences against float64 oracles written with scipy, and the properties that a divergence has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import log_softmax, rel_entr

from potstill.objectives.divergences import kl, mse
from potstill.objectives.hard import cross_entropy

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=9)
SCORES = arrays.arrays(np.float64, SHAPES, elements=st.floats(-20, 20))
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(*(arrays.arrays(np.float64, st.just(shape), elements=st.floats(-20, 20)) for _ in range(2))))
TEMPERATURES = st.sampled_from([0.5, 1.0, 2.0, 4.0])


def oracle_kl(student, teacher, temperature):
    """T² KL(teacher || student) of both softened classes, in float64, by scipy."""
    p, q = (np.exp(log_softmax(scores / temperature, axis=-1)) for scores in (teacher, student))
    return temperature**2 * rel_entr(p, q).sum()


def logprobs(scores):
    return torch.from_numpy(log_softmax(scores, axis=-1))


@settings(deadline=None, max_examples=60)
@given(PAIRS, TEMPERATURES)
def test_kl_is_the_oracle_s_in_both_precisions(pair, temperature):
    student, teacher = pair
    expected = oracle_kl(student, log_softmax(teacher, axis=-1), temperature)
    total, count = kl(torch.from_numpy(student), logprobs(teacher), kd_temperature=temperature)
    assert total.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert count.item() == len(student)
    single, _ = kl(torch.from_numpy(student).float(), logprobs(teacher).float(), kd_temperature=temperature)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(PAIRS, TEMPERATURES)
def test_kl_s_gradient_is_that_of_softened_classes(pair, temperature):
    student, teacher = (torch.from_numpy(scores) for scores in pair)
    student.requires_grad_(True)
    kl(student, teacher.log_softmax(-1), kd_temperature=temperature)[0].backward()
    expected = temperature * ((student.detach() / temperature).softmax(-1) - (teacher / temperature).softmax(-1))
    torch.testing.assert_close(student.grad, expected, rtol=1e-8, atol=1e-10)


@settings(deadline=None, max_examples=40)
@given(PAIRS, st.floats(-50, 50), st.floats(-50, 50))
@pytest.mark.parametrize("loss", [kl, mse])
def test_divergences_are_never_negative_and_blind_to_constants(loss, pair, one, other):
    student, teacher = (torch.from_numpy(scores) for scores in pair)
    total, _ = loss(student, teacher)
    assert total >= -1e-12
    torch.testing.assert_close(loss(student + one, teacher + other)[0], total, rtol=1e-6, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(SCORES)
def test_a_student_that_agrees_has_no_loss_and_no_gradient(scores):
    for loss in (kl, mse):
        student = torch.from_numpy(scores).requires_grad_(True)
        total, _ = loss(student, logprobs(scores))
        total.backward()
        assert total.item() == pytest.approx(0, abs=1e-12)
        assert student.grad.abs().max() <= 1e-12


@settings(deadline=None, max_examples=30)
@given(PAIRS)
def test_mse_is_kl_s_limit_at_high_temperature(pair):
    student, teacher = torch.from_numpy(pair[0]), logprobs(pair[1])
    hot, _ = kl(student, teacher, kd_temperature=1e5)
    torch.testing.assert_close(mse(student, teacher)[0], hot, rtol=2e-3, atol=1e-4)


def test_mse_takes_logprobs_for_logits():
    teacher = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mse(teacher, teacher.log_softmax(-1))[0], torch.zeros((), dtype=torch.float64))
    student = torch.zeros(5, 7, dtype=torch.float64)
    expected = 0.5 * (teacher.numpy() - teacher.numpy().mean(-1, keepdims=True)) ** 2
    assert mse(student, teacher.log_softmax(-1))[0].item() == pytest.approx(expected.mean(-1).sum())


def test_a_class_that_the_teacher_rules_out_adds_nothing():
    teacher = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    student = torch.tensor([[0.3, -0.2, 0.1]], requires_grad=True)
    for temperature in (1.0, 2.0):
        total, _ = kl(student, teacher, kd_temperature=temperature)
        expected = temperature**2 * -torch.log_softmax(student / temperature, -1)[0, 0]
        torch.testing.assert_close(total, expected)
        (gradient,) = torch.autograd.grad(total, student)
        assert torch.isfinite(gradient).all()


def test_cross_entropy_is_the_oracle_s_and_leaves_out_rows_without_gold():
    random = np.random.default_rng(0)
    scores, gold = random.normal(size=(9, 4)), random.integers(-1, 4, 9)
    total, count = cross_entropy(torch.from_numpy(scores), torch.from_numpy(gold))
    kept = gold >= 0
    assert total.item() == pytest.approx(-log_softmax(scores, axis=1)[kept, gold[kept]].sum())
    assert count.item() == kept.sum()
