"""Where the answer is known without a reference: equality, limits, expectations, extremes, nothing at all."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.special import log_softmax, rel_entr

from potstill.objectives.tokens import divergences
from potstill.objectives.tokens.heads import Head
from potstill.objectives.tokens.loss import token_loss
from potstill.objectives.tokens.targets import Full, Hidden, Sampled, Sparse

SAID = [(name, {}) for name in divergences.NAMES] + [("jsd", {"beta": 0.1, "normalized": True})]
N, V, H = 6, 50, 8


def made(seed=0, dtype=torch.float64, size=1.0):
    random = torch.Generator().manual_seed(seed)
    hidden, weight = (torch.randn(rows, H, generator=random, dtype=torch.float64).to(dtype) * size for rows in (N, V))
    return hidden.requires_grad_(True), weight.requires_grad_(True), random


def learn(hidden, weight, target, name="forward_kl", temperature=1.0, **options):
    loss = token_loss(hidden, Head(weight), target, divergence=divergences.NAMES[name](**options), kd_temperature=temperature)
    found = torch.autograd.grad(loss.total, (hidden, weight)) if loss.total.requires_grad else ()
    return loss.total.detach(), found


def top(logits, k):
    kept = logits.log_softmax(-1).topk(k)
    return Sparse(kept.indices, kept.values, (1 - kept.values.exp().sum(-1)).clamp(min=0))


def drawn(logits, m, random, *, logprobs):
    """Importance sampling from p^0.7, as a store would draw."""
    log_p = logits.log_softmax(-1)
    log_r = (0.7 * log_p).log_softmax(-1)
    ids = torch.multinomial(log_r.exp(), m, replacement=True, generator=random)
    weights = (log_p - log_r).gather(-1, ids).exp() / m
    return Sampled(ids, weights, log_p.gather(-1, ids) if logprobs else None)


@pytest.mark.parametrize("said", SAID, ids=str)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_equal_models_lose_nothing_and_have_no_gradient(said, temperature):
    for dtype, least in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        hidden, weight, _ = made(dtype=dtype)
        logits = (hidden @ weight.T).detach()
        for target in (Full(logits), Full(logits.log_softmax(-1)), Hidden(hidden.detach(), Head(weight.detach())), top(logits, 7), top(logits, V)):
            value, found = learn(hidden, weight, target, said[0], temperature, **said[1])
            assert value <= N * least
            assert max(float(gradient.abs().max()) for gradient in found) <= 10 * least


def test_equal_models_have_no_gradient_in_any_draw_with_its_logprobs():
    hidden, weight, random = made()
    value, found = learn(hidden, weight, drawn((hidden @ weight.T).detach(), 12, random, logprobs=True))
    assert value <= 1e-12
    assert max(float(gradient.abs().max()) for gradient in found) <= 1e-12


@pytest.mark.parametrize("said", SAID, ids=str)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_top_k_of_the_whole_vocabulary_is_the_full_divergence(said, temperature):
    hidden, weight, random = made()
    teacher = 3 * torch.randn(N, V, generator=random, dtype=torch.float64)
    whole, wanted = learn(hidden, weight, Full(teacher), said[0], temperature, **said[1])
    value, found = learn(hidden, weight, top(teacher, V), said[0], temperature, **said[1])
    torch.testing.assert_close(value, whole)
    for ours, theirs in zip(found, wanted):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("said", SAID, ids=str)
def test_what_is_added_up_tells_models_apart_no_better_than_the_whole(said):
    """The data processing inequality; it grows with k."""
    hidden, weight, random = made()
    teacher = 3 * torch.randn(N, V, generator=random, dtype=torch.float64)
    values = [float(learn(hidden, weight, top(teacher, k), said[0], **said[1])[0]) for k in (1, 4, 16, 49)]
    assert values == sorted(values)
    assert values[-1] <= float(learn(hidden, weight, Full(teacher), said[0], **said[1])[0]) * (1 + 1e-9)


@pytest.mark.parametrize(("near", "end"), [(1e-9, "forward_kl"), (1 - 1e-9, "reverse_kl")])
def test_the_ends_of_beta(near, end):
    """By the field's convention 0 and 1 are the two KLs, which jsd approaches only when it is normalized: else it goes to zero."""
    hidden, weight, random = made()
    target = Full(torch.randn(N, V, generator=random, dtype=torch.float64))
    kl, wanted = learn(hidden, weight, target, end)
    assert learn(hidden, weight, target, "jsd", beta=round(near))[0] == kl
    assert learn(hidden, weight, target, "jsd", beta=round(near), normalized=True)[0] == kl
    value, found = learn(hidden, weight, target, "jsd", beta=near, normalized=True)
    assert value.item() == pytest.approx(kl.item(), rel=1e-4)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-3, atol=1e-4)
    assert learn(hidden, weight, target, "jsd", beta=near)[0].item() == pytest.approx(1e-9 * kl.item(), rel=1e-4)


@pytest.mark.parametrize(("name", "end"), [("skew_kl", "forward_kl"), ("skew_reverse_kl", "reverse_kl")])
def test_without_skew_it_is_kl(name, end):
    hidden, weight, random = made()
    target = Full(torch.randn(N, V, generator=random, dtype=torch.float64))
    kl, wanted = learn(hidden, weight, target, end)
    assert learn(hidden, weight, target, name, alpha=0.0)[0] == kl
    value, found = learn(hidden, weight, target, name, alpha=1e-9)
    assert value.item() == pytest.approx(kl.item(), rel=1e-5)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("logprobs", [False, True])
def test_sampled_tokens_are_unbiased(logprobs):
    """The mean of many draws lies within four standard errors of the full divergence, value and gradient."""
    hidden, weight, random = made(size=0.5)
    teacher = torch.randn(N, V, generator=random, dtype=torch.float64)
    full, wanted = learn(hidden, weight, Full(teacher))
    if not logprobs:  # the value is cross-entropy then: more by the teacher's entropy
        full = full - (teacher.softmax(-1) * teacher.log_softmax(-1)).sum()
    draws = [learn(hidden, weight, drawn(teacher, 12, random, logprobs=logprobs)) for _ in range(600)]
    for ours, truth in ((torch.stack([value for value, _ in draws]), full), (torch.stack([found[0] for _, found in draws]), wanted[0])):
        error = ours.std(dim=0) / math.sqrt(len(draws))
        assert ((ours.mean(dim=0) - truth).abs() <= 4 * error).all()
        assert ((ours.mean(dim=0) - truth).abs() <= 0.05 * (1 + truth.abs())).all()


EXTREMES = [(name, options, temperature) for name, options in SAID for temperature in (1.0, 0.5, 0.05)]


@pytest.mark.parametrize(("name", "options", "temperature"), EXTREMES, ids=str)
def test_extreme_logits_and_what_the_teacher_rules_out_stay_finite(name, options, temperature):
    for size in (1e4, 6e4):
        hidden, weight, random = made(dtype=torch.float32)
        logits = size * torch.randn(N, V, generator=random).sign() * torch.rand(N, V, generator=random)
        ruled = logits.clone()
        ruled[:, ::3] = -torch.inf
        ruled[0, 2:] = -torch.inf  # one token is left
        head = (hidden * math.sqrt(size)).detach().requires_grad_(True), (weight * math.sqrt(size)).detach().requires_grad_(True)
        targets = [Full(logits), Full(ruled), Hidden(hidden.detach() * size, Head(weight.detach())), top(logits, 4), top(ruled, 20)]
        targets.append(Sparse(torch.zeros(N, 1, dtype=torch.long), torch.zeros(N, 1), torch.zeros(N)))  # all mass on one, the tail 0
        targets.append(Sparse(torch.zeros(N, 1, dtype=torch.long), torch.full((N, 1), -torch.inf), torch.ones(N)))  # nothing kept
        for target in targets:
            value, found = learn(*head, target, name, temperature, **options)
            assert 0 <= value < math.inf
            assert all(gradient.isfinite().all() for gradient in found)


def test_extreme_samples_stay_finite():
    hidden, weight, random = made(dtype=torch.float32)
    for size in (1.0, 1e4):
        told = drawn(size * torch.randn(N, V, generator=random), 3, random, logprobs=True)
        told = Sampled(told.ids, told.weights.nan_to_num(0.0), told.logprobs)
        value, found = learn(hidden * size, weight, told)
        assert value.isfinite()
        assert all(gradient.isfinite().all() for gradient in found)


@pytest.mark.parametrize("name", list(divergences.NAMES))
def test_a_student_that_rules_a_token_out_costs_much_and_a_number(name):
    hidden, weight, random = made(dtype=torch.float32)
    bias = torch.zeros(V)
    bias[3] = -torch.inf
    teacher = torch.randn(N, V, generator=random)
    for target in (Full(teacher), top(teacher, V)):
        loss = token_loss(hidden, Head(weight, bias), target, divergence=divergences.NAMES[name]())
        assert loss.total.isfinite()


def test_a_tail_that_is_tiny_beside_the_kept_is_not_lost():
    """From 1 - sum(kept) float32 would leave nothing of it: 1e-12. Its gradient is that of float64."""
    hidden = torch.zeros(1, 1).add_(1.0).requires_grad_(True)
    weight = torch.tensor([[28.0], [0.0], [0.5]]).requires_grad_(True)
    told = Sparse(torch.tensor([[0]]), torch.tensor([[math.log(0.5)]]), torch.tensor([0.5]))
    value, found = learn(hidden, weight, told)
    log_q = log_softmax([28.0, 0.0, 0.5])
    q = [math.exp(log_q[0]), math.exp(log_q[1]) + math.exp(log_q[2])]
    assert value.item() == pytest.approx(float(rel_entr([0.5, 0.5], q).sum()), rel=1e-5)
    inner = (math.exp(log_q[2]) * 0.5) / q[1]  # the mean weight within the tail
    assert found[0].item() == pytest.approx((q[0] - 0.5) * 28.0 + (q[1] - 0.5) * inner, rel=1e-5)


@pytest.mark.parametrize("kind", ["full", "hidden", "sparse", "sampled", "labels"])
def test_nothing_supervised_is_nothing_with_a_gradient(kind):
    hidden, weight, random = made(dtype=torch.float32)
    logits = torch.randn(N, V, generator=random)
    target = {"full": Full(logits), "hidden": Hidden(logits[:, :3], Head(torch.zeros(V, 3))), "sparse": top(logits, 3),
              "sampled": drawn(logits, 3, random, logprobs=True), "labels": None}[kind]  # fmt: skip
    loss = token_loss(hidden, Head(weight), target, labels=torch.full((N,), -100), mask=torch.zeros(N))
    loss.mean.backward()
    assert loss.total.item() == loss.mean.item() == loss.count.item() == loss.hard_count.item() == 0
    assert hidden.grad.abs().max() == weight.grad.abs().max() == 0
