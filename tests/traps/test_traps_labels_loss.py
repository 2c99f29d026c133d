"""TRAPS.md A, where the loss of any number of labels a row can fall into it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr

from potstill.objectives.build import LOGODDS, build
from potstill.objectives.labels import cross_entropy, kl, mse
from potstill.students.protocol import Output

RANDOM = np.random.default_rng(0)
STUDENT, TEACHER = (torch.from_numpy(RANDOM.normal(size=(6, 5)) * 2) for _ in range(2))
GOLD = torch.from_numpy((RANDOM.random((6, 5)) < 0.4).astype(np.int8))


def oracle(student, teacher, temperature):
    """T² KL of each label's yes and no, by scipy."""
    p, q = (expit(scores.numpy() / temperature) for scores in (teacher, student))
    return temperature**2 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).sum()


def term(**spec):
    sizes = {"student_layers": 0, "student_width": 0, "teacher_layers": 0, "teacher_width": 0, "seed": 0}
    return build([{"weight": 1.0, **spec}], head_width=5, head_kind="labels", **sizes)[0][0]


def test_trap_01_a_term_computes_in_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = term(kind="logits", kd_temperature=2.0)(Output(STUDENT.float()), {LOGODDS: TEACHER.float()}, GOLD)
    assert total.item() == pytest.approx(oracle(STUDENT, TEACHER, 2.0), rel=1e-5)


def test_trap_02_the_gradient_keeps_its_size_when_the_temperature_changes():
    norms = []
    for temperature in (1.0, 2.0, 4.0):
        student = STUDENT.clone().requires_grad_(True)
        total = term(kind="logits", kd_temperature=temperature)(Output(student), {LOGODDS: TEACHER}, GOLD)[0]
        torch.testing.assert_close(total, kl(student, TEACHER, kd_temperature=temperature)[0])  # the recipe's way and the function's
        norms.append(torch.autograd.grad(total, student)[0].norm().item())
    assert max(norms) / min(norms) < 2


def test_trap_04_the_teacher_is_softened_too():
    assert kl(STUDENT, TEACHER, kd_temperature=2.0)[0].item() == pytest.approx(oracle(STUDENT, TEACHER, 2.0))


def test_trap_05_kl_is_the_forward_one():
    sure, unsure = torch.tensor([[6.0]], dtype=torch.float64), torch.tensor([[0.0]], dtype=torch.float64)
    made = term(kind="logits", kd_temperature=1.0)
    wide = [torch.cat([scores, torch.zeros(1, 4)], -1) for scores in (sure, unsure)]
    assert made(Output(wide[0]), {LOGODDS: wide[1]}, GOLD)[0].item() == pytest.approx(oracle(sure, unsure, 1.0))
    assert oracle(sure, unsure, 1.0) > 3 * oracle(unsure, sure, 1.0)


def test_trap_08_units_without_gold_stay_out_of_the_loss():
    gold, wild = GOLD.clone(), STUDENT.clone()
    gold[[1, 4]], wild[[1, 4]] = -1, 1e4
    (total, count), (other, other_count) = cross_entropy(STUDENT, gold), cross_entropy(wild, gold)
    assert torch.equal(total, other)
    assert count == other_count == 4


def test_trap_09_a_batch_without_gold_is_nothing_with_a_gradient():
    student = STUDENT.clone().requires_grad_(True)
    total, count = cross_entropy(student, torch.full((6, 5), -1))
    assert (total.item(), count.item(), total.requires_grad) == (0, 0, True)
    total.backward()
    assert torch.equal(student.grad, torch.zeros_like(student))


def gold_loss(student, teacher):
    return cross_entropy(student, (teacher > 0).long())


@pytest.mark.parametrize("loss", [kl, mse, gold_loss])
def test_trap_11_the_loss_does_not_grow_with_rows(loss):
    (one, n), (three, m) = loss(STUDENT, TEACHER), loss(STUDENT.repeat(3, 1), TEACHER.repeat(3, 1))
    assert (one / n).item() == pytest.approx((three / m).item())
    assert m == 3 * n == 18


@pytest.mark.parametrize("loss", [kl, mse, gold_loss])
def test_trap_11_labels_that_never_apply_change_nothing(loss):
    """A mean over labels would be thinned by them."""
    never = torch.full((6, 3), -1e3, dtype=torch.float64)
    (total, count), (wider, other) = loss(STUDENT, TEACHER), loss(torch.cat([STUDENT, never], -1), torch.cat([TEACHER, never], -1))
    assert wider.item() == pytest.approx(total.item())
    assert other == count


@pytest.mark.parametrize("spec", [{"kind": "logits", "kd_temperature": 2.0}, {"kind": "hard"}, {"kind": "hard", "class_weights": "balanced"}])
def test_trap_13_micro_batches_change_nothing(spec):
    """Sums and counts add up: accumulated over 1, 2 and 6 parts the mean's gradient is one."""
    gold = GOLD.clone()
    gold[3] = -1
    made = build([{"weight": 1.0, **spec}], head_width=5, head_kind="labels", student_layers=0, student_width=0, teacher_layers=0,
                 teacher_width=0, seed=0, labels=list("abcde"), gold=gold.numpy())[0][0]  # fmt: skip
    gradients = []
    for parts in (1, 2, 6):
        student = STUDENT.clone().requires_grad_(True)
        count = sum(made.count({LOGODDS: TEACHER[rows]}, gold[rows]) for rows in torch.arange(6).tensor_split(parts))
        for rows in torch.arange(6).tensor_split(parts):
            total, own = made(Output(student[rows]), {LOGODDS: TEACHER[rows]}, gold[rows])
            assert own == made.count({LOGODDS: TEACHER[rows]}, gold[rows])
            (total / count).backward()
        gradients.append(student.grad)
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=0, atol=1e-6)


def test_trap_25_kl_of_an_answer_with_itself_is_zero():
    student = TEACHER.clone().requires_grad_(True)
    total = kl(student, TEACHER, kd_temperature=2.0)[0]
    total.backward()
    assert total.abs() < 1e-14
    assert student.grad.abs().max() < 1e-12
    assert kl(STUDENT, TEACHER)[0] > 0.1


def test_trap_26_loss_and_gradient_are_the_oracle_s():
    student = STUDENT.clone().requires_grad_(True)
    total, count = kl(student, TEACHER, kd_temperature=1.0)
    (total / count).backward()
    assert (total / count).item() == pytest.approx(oracle(STUDENT, TEACHER, 1.0) / 6)
    torch.testing.assert_close(student.grad, (STUDENT.sigmoid() - TEACHER.sigmoid()) / 6)
    other = STUDENT.clone().requires_grad_(True)
    cross_entropy(other, GOLD)[0].backward()
    torch.testing.assert_close(other.grad, STUDENT.sigmoid() - GOLD)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0])
def test_trap_31_extreme_log_odds_stay_finite(kind, temperature):
    student = torch.tensor([[6e4, -6e4, 0.0], [-6e4, 6e4, 1.0]], dtype=kind, requires_grad=True)
    for total in (kl(student, student.detach().flip(-1), kd_temperature=temperature)[0], cross_entropy(student, torch.tensor([[0, 1, 1], [0, 0, 1]]))[0]):
        (gradient,) = torch.autograd.grad(total, student)
        assert torch.isfinite(total)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0


def test_trap_31_what_is_all_but_certain_keeps_its_digits():
    """1 - p of a log p in float32 would be 0 here, and the divergence infinite or none."""
    student, teacher = torch.tensor([[20.0]]), torch.tensor([[30.0]])
    assert kl(student, teacher)[0].item() == pytest.approx(oracle(student.double(), teacher.double(), 1.0), rel=1e-3)
    assert kl(-student, -teacher)[0].item() == pytest.approx(kl(student, teacher)[0].item(), rel=1e-6)
