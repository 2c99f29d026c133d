"""TRAPS.md A, where a classifier's loss can fall into it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr

from potstill.objectives import attention
from potstill.objectives.build import LOGPROBS, build
from potstill.objectives.divergences import kl, mse
from potstill.objectives.hard import cross_entropy
from potstill.objectives.hidden import Projection
from potstill.students.protocol import Attention, Output

RANDOM = np.random.default_rng(0)
STUDENT, TEACHER = (torch.from_numpy(RANDOM.normal(size=(6, 5))) for _ in range(2))


def oracle(student, teacher, temperature):
    p, q = (np.exp(log_softmax(scores.numpy() / temperature, axis=-1)) for scores in (teacher, student))
    return temperature**2 * rel_entr(p, q).sum()


def term(**spec):
    sizes = {"student_layers": 1, "student_width": 4, "teacher_layers": 1, "teacher_width": 4, "seed": 0}
    return build([{"weight": 1.0, **spec}], head_width=5, **sizes)[0][0]


def test_trap_01_low_precision_logits_keep_the_divergence_true():
    random = torch.Generator().manual_seed(0)
    student = (3 * torch.randn(4, 49_152, generator=random)).bfloat16()
    teacher = (student.float() + 0.01 * torch.randn(4, 49_152, generator=random)).bfloat16()  # near-equal: a few last bits differ
    truth = oracle(student.double(), teacher.double(), 1.0)
    total = kl(student, teacher)[0].item()
    assert 0 <= total == pytest.approx(truth, rel=0.03)


def test_trap_01_rounding_in_the_normalizers_does_not_show():
    """Without the added zero, float32 gives 1.4 times the truth here, and less than nothing at a third of the distance."""
    random = torch.Generator().manual_seed(0)
    student = 3 * torch.randn(4, 49_152, generator=random)
    for distance in (1e-3, 5e-4):
        teacher = student + distance * torch.randn(4, 49_152, generator=random)
        assert 0 <= kl(student, teacher)[0].item() == pytest.approx(oracle(student.double(), teacher.double(), 1.0), rel=0.03)


def test_trap_01_a_term_computes_in_float32_under_autocast():
    made = term(kind="logits", kd_temperature=2.0)
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = made(Output(STUDENT.float()), {LOGPROBS: TEACHER.float().log_softmax(-1)}, torch.zeros(6))
    assert total.item() == pytest.approx(oracle(STUDENT, TEACHER, 2.0), rel=1e-5)


def test_trap_02_the_gradient_keeps_its_size_when_the_temperature_changes():
    norms = []
    for temperature in (1.0, 2.0, 4.0):
        student = STUDENT.clone().requires_grad_(True)
        total = term(kind="logits", kd_temperature=temperature)(Output(student), {LOGPROBS: TEACHER.log_softmax(-1)}, torch.zeros(6))[0]
        torch.testing.assert_close(total, kl(student, TEACHER, kd_temperature=temperature)[0])  # the recipe's way and the function's
        norms.append(torch.autograd.grad(total, student)[0].norm().item())
    assert max(norms) / min(norms) < 2


def test_trap_04_the_teacher_is_softened_too():
    assert kl(STUDENT, TEACHER.log_softmax(-1), kd_temperature=2.0)[0].item() == pytest.approx(oracle(STUDENT, TEACHER, 2.0))


def test_trap_05_kl_is_the_forward_one():
    broad, narrow = torch.tensor([[5.0, 5.0, -5.0]], dtype=torch.float64), torch.tensor([[9.0, -9.0, -9.0]], dtype=torch.float64)
    forward = kl(narrow, broad.log_softmax(-1))[0].item()  # a student that misses a mode of its teacher
    assert forward == pytest.approx(oracle(narrow, broad, 1.0))
    assert forward > 5 * oracle(broad, narrow, 1.0)
    recipe = build([{"kind": "logits", "weight": 1.0, "kd_temperature": 1.0}], head_width=3, student_layers=0, student_width=0,
                   teacher_layers=0, teacher_width=0, seed=0)[0][0]  # fmt: skip
    assert recipe(Output(narrow), {LOGPROBS: broad.log_softmax(-1)}, torch.zeros(1))[0].item() == pytest.approx(forward)


def test_trap_08_units_without_gold_stay_out_of_the_loss():
    gold = torch.tensor([0, -1, 2, -1, 4, 1])
    wild = STUDENT.clone()
    wild[gold < 0] = 1e4
    (total, count), (other, other_count) = cross_entropy(STUDENT, gold), cross_entropy(wild, gold)
    assert torch.equal(total, other)
    assert count == other_count == 4


def test_trap_09_a_batch_without_gold_is_nothing_with_a_gradient():
    student = STUDENT.clone().requires_grad_(True)
    total, count = cross_entropy(student, torch.full((6,), -1))
    assert (total.item(), count.item(), total.requires_grad) == (0, 0, True)
    total.backward()
    assert torch.equal(student.grad, torch.zeros_like(student))


@pytest.mark.parametrize("loss", [kl, mse, lambda student, teacher: cross_entropy(student, teacher.argmax(-1))])
def test_trap_11_the_loss_does_not_grow_with_rows(loss):
    (one, n), (three, m) = loss(STUDENT, TEACHER), loss(STUDENT.repeat(3, 1), TEACHER.repeat(3, 1))
    assert (one / n).item() == pytest.approx((three / m).item())
    assert m == 3 * n


def test_trap_11_classes_of_no_probability_change_nothing():
    pad = torch.full((6, 3), -1e4, dtype=torch.float64)
    wide, wider = torch.cat([STUDENT, pad], -1), torch.cat([TEACHER, pad], -1)
    assert kl(wide, wider)[0].item() == pytest.approx(kl(STUDENT, TEACHER)[0].item())
    gold = TEACHER.argmax(-1)
    assert cross_entropy(wide, gold)[0].item() == pytest.approx(cross_entropy(STUDENT, gold)[0].item())


@pytest.mark.parametrize("tokens", [64, 512])
def test_trap_12_tokens_are_counted_once(tokens):
    student, teacher = torch.zeros(tokens, 4), torch.full((tokens, 4), 3.0)
    total, count = Projection([(0, 0)], 4, 4, seed=0)([student], [teacher])
    assert (total.item(), count.item()) == (9 * tokens, tokens)


@pytest.mark.parametrize("loss", [kl, mse])
def test_trap_17_a_constant_on_all_logits_changes_nothing(loss):
    assert loss(STUDENT + 7, TEACHER - 3)[0].item() == pytest.approx(loss(STUDENT, TEACHER)[0].item())


def test_trap_25_kl_of_a_distribution_with_itself_is_zero():
    assert kl(STUDENT, STUDENT.log_softmax(-1))[0].abs() < 1e-14
    assert kl(STUDENT, TEACHER.log_softmax(-1))[0] > 0.1


def test_trap_26_loss_and_gradient_are_the_oracle_s():
    student = STUDENT.clone().requires_grad_(True)
    total, count = kl(student, TEACHER.log_softmax(-1), kd_temperature=1.0)
    (total / count).backward()
    assert (total / count).item() == pytest.approx(oracle(STUDENT, TEACHER, 1.0) / 6)
    torch.testing.assert_close(student.grad, (STUDENT.softmax(-1) - TEACHER.softmax(-1)) / 6)


@pytest.mark.parametrize("loss", [kl, mse])
def test_trap_30_all_axes_but_the_last_are_units(loss):
    student, teacher = STUDENT.reshape(2, 3, 5), TEACHER.reshape(2, 3, 5)
    for flat, deep in zip(loss(STUDENT, TEACHER), loss(student, teacher)):
        torch.testing.assert_close(deep, flat)


def test_trap_30_padding_without_gold_changes_nothing():
    gold = torch.tensor([[0, 1, 2], [3, 4, 0]])
    padded, padded_gold = torch.cat([STUDENT.reshape(2, 3, 5), torch.randn(2, 2, 5)], 1), torch.cat([gold, torch.full((2, 2), -1)], 1)
    for flat, deep in zip(cross_entropy(STUDENT, gold.flatten()), cross_entropy(padded, padded_gold)):
        torch.testing.assert_close(deep, flat)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0])
def test_trap_31_extreme_logits_stay_finite(kind, temperature):
    student = torch.tensor([[6e4, -6e4, 0.0], [-6e4, 6e4, 1.0]], dtype=kind, requires_grad=True)
    total, _ = kl(student, student.detach().flip(-1), kd_temperature=temperature)
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(student.grad).all()
    assert student.grad.abs().max() > 0


# ------------------------------------------------------------------------------------- relations and maps, token by token
LENGTHS = (3, 1, 5)


def vectors(lengths=LENGTHS, *, pad=0, inside=0.0, seed=0, scale=1.0):
    """Return a student's layer of width 12, its padding full of ``inside``, and a teacher's of width 8."""
    random = np.random.default_rng(seed)
    longest = max(lengths) + pad
    mask = torch.tensor([[i < n for i in range(longest)] for n in lengths])
    parts = [torch.full((len(lengths), longest, 12), inside, dtype=torch.float64) for _ in range(3)]
    for part in parts:
        part[mask] = torch.from_numpy(scale * random.normal(size=(sum(lengths), 12)))
    told = torch.from_numpy(scale * random.normal(size=(sum(lengths), 24)))
    return Attention({1: [part.requires_grad_(True) for part in parts]}, mask), told


def relations(own, told):
    return attention.relations(own, 1, told, 4)


def maps(own, told):
    return attention.maps(own, [(1, 1)], {1: told}, student_heads=3, teacher_heads=2)


@pytest.mark.parametrize("loss", [relations, maps])
def test_trap_08_what_stands_in_padding_changes_nothing(loss):
    found = []
    for pad, inside in ((0, 0.0), (2, 0.0), (2, 1e4)):
        own, told = vectors(pad=pad, inside=inside)
        total, count = loss(own, told)
        total.backward()
        found.append([total.item(), count.item(), own.vectors[1][0].grad[own.mask].sum().item()])
        assert own.vectors[1][0].grad[~own.mask].abs().sum() == 0
    assert found[1] == pytest.approx(found[0], rel=1e-9)
    assert found[2] == pytest.approx(found[0], rel=1e-9)


@pytest.mark.parametrize("loss", [relations, maps])
def test_trap_09_a_batch_of_no_tokens_is_nothing_with_a_gradient(loss):
    own, told = vectors()
    empty = Attention(own.vectors, torch.zeros_like(own.mask))
    total, count = loss(empty, told[:0])
    total.backward()
    assert (total.item(), count.item()) == (0, 0)
    assert all(part.grad is None or (part.grad == 0).all() for part in own.vectors[1])


@pytest.mark.parametrize("loss", [relations, maps])
def test_trap_11_relations_do_not_grow_with_rows_or_padding(loss):
    means = []
    for copies in (1, 4):
        own, told = vectors()
        more = Attention({1: [part.repeat(copies, 1, 1) for part in own.vectors[1]]}, own.mask.repeat(copies, 1))
        total, count = loss(more, told.repeat(copies, 1))
        means.append(total.item() / count.item())
    assert means[0] == pytest.approx(means[1], rel=1e-9)


@pytest.mark.parametrize("loss", [relations, maps])
def test_trap_13_relations_of_rows_together_are_those_of_each_alone(loss):
    own, told = vectors(pad=1)
    alone, at = 0.0, 0
    for row, length in enumerate(LENGTHS):
        part = Attention({1: [vector[row : row + 1] for vector in own.vectors[1]]}, own.mask[row : row + 1])
        alone += loss(part, told[at : at + length])[0].item()
        at += length
    assert loss(own, told)[0].item() == pytest.approx(alone, rel=1e-9)


def test_trap_30_relations_are_softmaxed_over_what_is_related_to():
    own, told = vectors((4,))
    total = 0.0
    for part, theirs in zip(own.vectors[1], told.numpy().reshape(4, 3, 8).swapaxes(0, 1)):
        for head in range(4):
            a, b = part.detach().numpy()[0, :, 3 * head : 3 * head + 3], theirs[:, 2 * head : 2 * head + 2]
            q, p = np.exp(log_softmax(a @ a.T / 3**0.5, axis=1)), np.exp(log_softmax(b @ b.T / 2**0.5, axis=1))
            total += rel_entr(p, q).sum() / 4
    assert relations(own, told)[0].item() == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("loss", [relations, maps])
def test_trap_31_loud_vectors_stay_finite(loss):
    own, told = vectors(scale=100.0)
    loud = Attention({1: [part.detach().float().requires_grad_(True) for part in own.vectors[1]]}, own.mask)
    total, _ = loss(loud, told.half())
    total.backward()
    assert torch.isfinite(total)
    assert all(part.grad is None or torch.isfinite(part.grad).all() for part in loud.vectors[1])


def test_trap_01_relations_are_computed_in_float32_under_autocast():
    own, told = vectors()
    single = Attention({1: [part.detach().float() for part in own.vectors[1]]}, own.mask)
    for loss in (relations, maps):
        plain = loss(single, told.float())[0]
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(loss(single, told.float())[0], plain)
