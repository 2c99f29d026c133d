"""TRAPS.md A, where a language model's loss can fall into it."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax

from potstill.objectives.tokens import divergences, heads, tiles
from potstill.objectives.tokens.heads import Adapter, Head
from potstill.objectives.tokens.loss import token_loss
from potstill.objectives.tokens.positions import next_tokens
from potstill.objectives.tokens.targets import Full, Hidden, Sampled, Sparse

N, V, H = 13, 40, 6
NAMES = tuple(divergences.NAMES)


def models(seed=0, dtype=torch.float64, positions=N):
    random = torch.Generator().manual_seed(seed)
    hidden, weight, teacher = (torch.randn(*shape, generator=random, dtype=torch.float64) for shape in ((positions, H), (V, H), (positions, V)))
    return hidden.to(dtype).requires_grad_(True), weight.to(dtype).requires_grad_(True), (2 * teacher).to(dtype)


def top(logits, k):
    kept = logits.log_softmax(-1).topk(k)
    return Sparse(kept.indices, kept.values, (1 - kept.values.exp().sum(-1)).clamp(min=0))


def targets(teacher):
    """One teacher in every shape that tells a whole distribution."""
    states = torch.linalg.lstsq(torch.eye(V, dtype=teacher.dtype), teacher.T).solution.T
    return {"full": Full(teacher), "hidden": Hidden(states, Head(torch.eye(V, dtype=teacher.dtype))), "sparse": top(teacher, V)}


def loss_of(hidden, head, target, name="forward_kl", temperature=1.0, **more):
    options = {key: more.pop(key) for key in ("beta", "alpha", "normalized") if key in more}
    return token_loss(hidden, head, target, divergence=divergences.NAMES[name](**options), kd_temperature=temperature, **more)


def gradients(loss, *at):
    return torch.autograd.grad(loss, at)


def identity(logits):
    """States and a head that give just these logits: what the loss makes of them alone is looked at."""
    return logits.detach().clone().requires_grad_(True), Head(torch.eye(logits.shape[-1], dtype=logits.dtype))


def jsd_oracle(p, q):
    m = (p + q) / 2
    return (rel_entr(p, m).sum() + rel_entr(q, m).sum()) / 2


def test_trap_01_in_halves_a_divergence_is_not_negative_and_true():
    random = torch.Generator().manual_seed(0)
    states, head = (torch.randn(*shape, generator=random) for shape in ((4, 8), (49_152, 8)))
    near = (states + 0.01 * torch.randn(4, 8, generator=random)).bfloat16()
    student, weight = states.bfloat16(), head.bfloat16()
    p, q = (softmax(side.double().numpy() @ weight.double().numpy().T, axis=-1) for side in (near, student))
    value = loss_of(student, Head(weight), Hidden(near, Head(weight)), "jsd").total.item()
    assert 0 <= value == pytest.approx(jsd_oracle(p, q), rel=0.03)


@pytest.mark.parametrize("name", NAMES)
def test_trap_01_rounding_in_the_normalizers_does_not_show(name):
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, 49_152, generator=random)
    near = logits + 1e-3 * torch.randn(4, 49_152, generator=random)
    p, q = (softmax(side.double().numpy(), axis=-1) for side in (near, logits))
    wanted = {
        "forward_kl": lambda: rel_entr(p, q).sum(), "reverse_kl": lambda: rel_entr(q, p).sum(), "jsd": lambda: jsd_oracle(p, q),
        "skew_kl": lambda: rel_entr(p, 0.1 * p + 0.9 * q).sum(), "skew_reverse_kl": lambda: rel_entr(q, 0.9 * p + 0.1 * q).sum(),
        "total_variation": lambda: np.abs(p - q).sum() / 2,
    }[name]()  # fmt: skip
    assert tiles.dense(logits, near, divergences.NAMES[name](), 1.0).sum().item() == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize("kind", ["full", "hidden", "sparse"])
@pytest.mark.parametrize("name", NAMES[:5])
def test_trap_02_the_gradient_keeps_its_size_when_the_temperature_changes(kind, name):
    _, _, teacher = models()
    norms = []
    for temperature in (2.0, 4.0, 8.0):
        hidden, head = identity(0.5 * torch.randn(N, V, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
        loss = loss_of(hidden, head, targets(0.3 * teacher)[kind], name, temperature).total
        norms.append(gradients(loss, hidden)[0].norm().item())
        assert loss.item() == pytest.approx(loss_of(hidden, head, Full(0.3 * teacher), name, temperature).total.item(), rel=1e-6)  # all ways one value
    assert max(norms) / min(norms) < 2


@pytest.mark.parametrize("kind", ["full", "hidden", "sparse"])
def test_trap_04_the_teacher_is_softened_too(kind):
    hidden, weight, teacher = models()
    p, q = (softmax(side.detach().numpy() / 2, axis=-1) for side in (teacher, hidden @ weight.T))
    assert loss_of(hidden, Head(weight), targets(teacher)[kind], temperature=2.0).total.item() == pytest.approx(4 * rel_entr(p, q).sum(), rel=1e-6)


@pytest.mark.parametrize("kind", ["full", "hidden", "sparse"])
def test_trap_05_directions_and_the_ends_of_beta(kind):
    """The student knows one of the teacher's two tokens: forward KL is large, reverse KL small."""
    told = torch.tensor([[0.0, 0.0, -30.0, -30.0]], dtype=torch.float64)
    student, head = identity(torch.tensor([[0.0, -30.0, -30.0, -30.0]], dtype=torch.float64))
    target = {"full": Full(told), "hidden": Hidden(told, Head(torch.eye(4, dtype=torch.float64))), "sparse": top(told, 4)}[kind]
    forward, reverse = (loss_of(student, head, target, name).total.item() for name in ("forward_kl", "reverse_kl"))
    assert forward > 10 > 1 > reverse > 0
    assert loss_of(student, head, target, "jsd", beta=0.0).total.item() == forward
    assert loss_of(student, head, target, "jsd", beta=1.0).total.item() == reverse
    assert loss_of(student, head, target, "jsd", beta=1e-6, normalized=True).total.item() > 5  # near its own end
    assert loss_of(student, head, target, "jsd", beta=1 - 1e-9, normalized=True).total.item() == pytest.approx(reverse, rel=1e-4)
    assert loss_of(student, head, target, "skew_kl", alpha=1e-9).total.item() > 5
    assert loss_of(student, head, target, "skew_reverse_kl", alpha=1e-9).total.item() == pytest.approx(reverse, rel=1e-4)


def test_trap_06_normalized_the_divergence_has_no_step_at_beta_0():
    hidden, weight, teacher = models()
    kl = loss_of(hidden, Head(weight), Full(teacher)).total.item()
    near = [loss_of(hidden, Head(weight), Full(teacher), "jsd", beta=1e-9, normalized=normalized).total.item() for normalized in (True, False)]
    assert near[0] == pytest.approx(kl, rel=1e-4)
    assert near[1] == pytest.approx(1e-9 * kl, rel=1e-4)  # the documented step of the field's own convention


def test_trap_07_a_label_is_learnt_from_the_state_before_it():
    labels = torch.full((2, 5), -100)
    labels[1, 3] = 7  # the one supervised token
    hidden = torch.randn(2, 5, H).requires_grad_(True)
    loss = token_loss(hidden, Head(torch.randn(V, H)), labels=next_tokens(labels))
    there = gradients(loss.total, hidden)[0].abs().sum(-1) > 0
    assert there.nonzero().tolist() == [[1, 2]]
    assert loss.hard_count.item() == 1


@pytest.mark.parametrize("kind", ["full", "sparse", "sampled"])
def test_trap_08_masked_positions_stay_out_of_the_soft_loss(kind):
    hidden, weight, teacher = models()
    mask = torch.arange(N) % 3 > 0
    spoilt = torch.where(mask[:, None], teacher, 1e4 * torch.arange(V))

    def said(logits):
        drawn = logits.log_softmax(-1).topk(3)
        sampled = Sampled(drawn.indices, drawn.values.exp(), drawn.values)
        return {"full": Full(logits), "sparse": top(logits, 3), "sampled": sampled}[kind]

    one, other = (loss_of(hidden, Head(weight), said(logits), mask=mask) for logits in (teacher, spoilt))
    assert one.total.item() == other.total.item() > 0
    assert one.count.item() == mask.sum()
    assert gradients(other.total, hidden)[0][~mask].abs().max() == 0


def test_trap_09_a_batch_without_supervision_is_nothing_with_a_gradient():
    hidden, weight, teacher = models()
    loss = loss_of(hidden, Head(weight), Full(teacher), mask=torch.zeros(N, dtype=torch.bool), labels=torch.full((N,), -100))
    assert loss.mean.item() == 0
    assert all(gradient.abs().max() == 0 for gradient in gradients(loss.mean, hidden, weight))


def test_trap_10_masked_positions_are_not_paid_for():
    random = torch.Generator().manual_seed(0)
    hidden, weight, states = (torch.randn(*shape, generator=random) for shape in ((1000, 64), (8000, 64), (1000, 64)))
    target = Hidden(states, Head(weight))

    def seconds(mask):
        began = time.process_time()
        loss_of(hidden.requires_grad_(True), Head(weight), target, mask=mask)
        return time.process_time() - began

    masks = [torch.arange(1000) < count for count in (100, 1000)]
    few, all_of_them = (min(seconds(mask) for _ in range(4)) for mask in masks)
    assert few <= 0.25 * all_of_them


@pytest.mark.parametrize("kind", ["full", "hidden", "sparse"])
def test_trap_11_the_mean_does_not_know_of_length_padding_or_vocabulary(kind):
    one, told = torch.randn(1, 5), torch.randn(1, 5)
    values = []
    for positions, padding, vocabulary in ((1, 0, 5), (8, 0, 5), (8, 24, 5), (8, 24, 9)):
        logits, teacher = (torch.full((positions + padding, vocabulary), -60.0) for _ in range(2))
        logits[:, :5], teacher[:, :5] = one, told
        target = {"full": Full(teacher), "hidden": Hidden(teacher, Head(torch.eye(vocabulary))), "sparse": top(teacher, 3)}[kind]
        student, head = identity(logits)
        loss = loss_of(student, head, target, mask=torch.arange(positions + padding) < positions)
        values.append((loss.mean.item(), gradients(loss.mean, student)[0].abs().sum().item()))
    for value, size in values[1:]:
        assert value == pytest.approx(values[0][0], rel=1e-5)
        assert size == pytest.approx(values[0][1], rel=1e-4)


def test_trap_12_tokens_are_counted_once():
    values = []
    for length in (64, 512):
        student, head = identity(torch.zeros(length, 2))
        told = torch.tensor([[2.0, -2.0]]).expand(length, 2)
        loss = loss_of(student, head, Full(told), labels=torch.zeros(length, dtype=torch.long), hard_weight=0.5)
        values.append(loss.mean.item())
        assert loss.soft.item() == pytest.approx(length * rel_entr(softmax([2.0, -2.0]), [0.5, 0.5]).sum(), rel=1e-5)
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_trap_13_micro_batches_give_the_gradient_of_the_whole():
    hidden, weight, teacher = models(positions=40)
    random = torch.Generator().manual_seed(1)
    mask = torch.rand(40, generator=random) < torch.linspace(0.1, 0.9, 40)  # pieces of very unequal numbers
    labels, weights = torch.randint(V, (40,), generator=random), torch.rand(40, generator=random, dtype=torch.float64)
    found = {}
    for pieces in (1, 2, 8):
        totals, counts = [], []
        for rows in torch.arange(40).chunk(pieces):
            part = loss_of(hidden[rows], Head(weight), Full(teacher[rows]), "jsd", mask=mask[rows], labels=labels[rows], weights=weights[rows])
            totals.append(part.total)
            counts.append(part.count)
        found[pieces] = gradients(sum(totals) / sum(counts), hidden, weight)
    for pieces in (2, 8):
        for one, other in zip(found[pieces], found[1]):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_trap_15_top_k_has_no_gradient_at_student_equal_teacher(name, temperature):
    hidden, weight, _ = models()
    logits = (hidden @ weight.T).detach()
    for target in (top(logits, 3), top(logits, 20), Hidden(hidden.detach(), Head(weight.detach())), Full(logits)):
        assert max(part.abs().max() for part in gradients(loss_of(hidden, Head(weight), target, name, temperature).total, hidden, weight)) <= 1e-6


def test_trap_15_sampled_tokens_have_no_gradient_at_student_equal_teacher():
    hidden, weight, _ = models()
    drawn = (hidden @ weight.T).detach().log_softmax(-1).topk(3)
    target = Sampled(drawn.indices, torch.full_like(drawn.values, 0.4), drawn.values)
    assert max(part.abs().max() for part in gradients(loss_of(hidden, Head(weight), target).total, hidden, weight)) <= 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_trap_16_a_student_below_the_teacher_on_the_top_k_learns(name):
    """Its top-k are all less likely than the teacher's; the log-ratio of each is clamped to 0 by a known loss, and nothing is learnt."""
    told = torch.tensor([[3.0, 2.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    student, head = identity(torch.zeros(1, 5, dtype=torch.float64))
    gradient = gradients(loss_of(student, head, top(told, 2), name).total, student)[0]
    assert gradient[0, 0] < -1e-3
    assert gradient[0, 4] > 1e-3


@pytest.mark.parametrize("sizes", [(5, 8), (8, 5)])
@pytest.mark.parametrize("name", NAMES)
def test_trap_17_padded_vocabularies_and_a_constant_on_all_logits(sizes, name):
    random = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(4, size, generator=random, dtype=torch.float64) for size in sizes)
    wanted = loss_of(*identity(student[:, :5]), Full(teacher[:, :5]), name).total.item()
    for shift in (0.0, -8.0, 100.0):
        for own, told in ((student + shift, teacher), (student, teacher + shift)):
            hidden, head = identity(own)
            loss = loss_of(hidden, head, Full(told), name)
            assert loss.total.item() == pytest.approx(wanted)
            assert gradients(loss.total, hidden)[0][:, 5:].abs().sum() == 0


@pytest.mark.parametrize("option", ["bias", "scale", "softcap", "adapter"])
def test_trap_22_the_fused_head_leaves_nothing_out(option):
    """Against the same head unfused: its logits through an identity."""
    hidden, weight, teacher = models()
    random = torch.Generator().manual_seed(3)
    bias, down, up = (torch.randn(*shape, generator=random, dtype=torch.float64) for shape in ((V,), (2, H), (V, 2)))
    head = {"bias": Head(weight, bias), "scale": Head(weight, scale=0.25), "softcap": Head(weight, softcap=2.0), "adapter": Head(weight, adapter=Adapter(down, up, 2.0))}[option]  # fmt: skip
    raw = hidden @ weight.T
    logits = {"bias": raw + bias, "scale": 0.25 * raw, "softcap": 2 * torch.tanh(raw / 2), "adapter": raw + 2 * hidden @ down.T @ up.T}[option]
    fused, unfused = loss_of(hidden, head, Full(teacher)), loss_of(logits, Head(torch.eye(V, dtype=torch.float64)), Full(teacher))
    assert fused.total.item() == pytest.approx(unfused.total.item())
    for one, other in zip(gradients(fused.total, hidden, weight), gradients(unfused.total, hidden, weight)):
        torch.testing.assert_close(one, other)
    for target in (Hidden(hidden.detach(), head), Full(logits.detach())):  # the teacher's head neither
        assert loss_of(hidden, head, target).total.item() <= 1e-12


def test_trap_23_a_batch_of_any_rank_is_cut_into_chunks():
    hidden, weight, teacher = models(positions=24)
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        whole = heads.scores
        patch.setattr(heads, "scores", lambda head, states, out: seen.append(len(states)) or whole(head, states, out))
        loss_of(hidden.reshape(2, 3, 4, H), Head(weight), Full(teacher), chunk_bytes=2 * V * 8 * 5)
    assert seen == [5, 5, 5, 5, 4]


@pytest.mark.parametrize("positions", [1, 7, 13, 6])
def test_trap_24_a_ragged_last_chunk_counts(positions):
    hidden, weight, teacher = models(positions=positions)
    chunked = loss_of(hidden, Head(weight), Full(teacher), chunk_bytes=2 * V * 8 * 5)  # five rows a chunk
    p, q = (softmax(side.detach().numpy(), axis=-1) for side in (teacher, hidden @ weight.T))
    assert chunked.total.item() == pytest.approx(rel_entr(p, q).sum())
    torch.testing.assert_close(gradients(chunked.total, hidden)[0], torch.from_numpy(q - p) @ weight.detach())


@pytest.mark.parametrize("name", NAMES)
def test_trap_25_a_distribution_is_at_no_distance_from_itself(name):
    hidden, weight, _ = models()
    for target in (Full((hidden @ weight.T).detach()), top((hidden @ weight.T).detach(), 4)):
        assert loss_of(hidden, Head(weight), target, name).total.item() <= 1e-12


def test_trap_25_samples_with_their_logprobs_tell_a_divergence_too():
    hidden, weight, _ = models()
    drawn = (hidden @ weight.T).detach().log_softmax(-1).topk(3)
    assert loss_of(hidden, Head(weight), Sampled(drawn.indices, drawn.values.exp(), drawn.values)).total.item() <= 1e-12


def test_trap_26_value_and_gradient_are_the_float64_oracles():
    logits, told = (torch.from_numpy(np.random.default_rng(seed).normal(size=(N, V))) for seed in (0, 1))
    student, head = identity(logits)
    p, q = (softmax(side.numpy(), axis=-1) for side in (told, logits))
    loss = loss_of(student, head, Full(torch.from_numpy(log_softmax(told.numpy(), axis=-1))))
    assert loss.total.item() == pytest.approx(rel_entr(p, q).sum(), rel=1e-12)
    np.testing.assert_allclose(gradients(loss.total, student)[0].numpy(), q - p, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["full", "hidden", "sparse"])
def test_trap_27_more_apart_is_never_less_loss(name, kind):
    told = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
    target = {"full": Full(told), "hidden": Hidden(told, Head(torch.eye(4))), "sparse": top(told, 2)}[kind]
    values = [loss_of(*identity(torch.tensor([[2.0 - apart, 0.0, 0.0, 0.0]])), target, name).total.item() for apart in (0.0, 0.1, 1.0, 10.0, 100.0, 1e4)]
    assert values == sorted(values)
    assert values[3] > values[2] > values[1] > values[0]
    if name == "forward_kl":  # which knows no bound
        assert values[5] > 50 * values[4] > 1000


def test_trap_29_evaluation_and_training_are_on_one_scale():
    hidden, weight, teacher = models()
    trained = loss_of(hidden, Head(weight), Full(teacher), "jsd", mask=torch.arange(N) % 2 == 0)
    with torch.no_grad():
        evaluated = loss_of(hidden, Head(weight), Full(teacher), "jsd", mask=torch.arange(N) % 2 == 0)
    assert evaluated.mean.item() == trained.mean.item()


def test_trap_30_positions_are_not_a_distribution():
    hidden, weight, teacher = models(positions=12)
    flat = loss_of(hidden, Head(weight), Full(teacher))
    deep = loss_of(hidden.reshape(3, 4, H), Head(weight), Full(teacher))
    padded = torch.cat([hidden.reshape(3, 4, H), 50 * torch.ones(3, 2, H, dtype=torch.float64)], dim=1)
    mask = torch.arange(6).expand(3, 6) < 4
    longer = loss_of(padded, Head(weight), Full(teacher), mask=mask)
    assert deep.total.item() == longer.total.item() == flat.total.item()
    p, q = (softmax(side.detach().numpy(), axis=-1) for side in (teacher, hidden @ weight.T))
    assert flat.total.item() == pytest.approx(rel_entr(p, q).sum())


@pytest.mark.parametrize(("name", "temperature"), [(name, 0.5) for name in NAMES] + [("reverse_kl", 0.05)])
@pytest.mark.parametrize("kind", ["full", "hidden", "sparse"])
def test_trap_31_large_logits_stay_finite(name, temperature, kind):
    random = torch.Generator().manual_seed(0)
    logits, told = (6e4 * torch.randn(4, 20, generator=random).sign() for _ in range(2))
    target = {"full": Full(told.half()), "hidden": Hidden(told.half(), Head(torch.eye(20).half())), "sparse": top(told, 20)}[kind]
    student, head = identity(logits.half())
    loss = loss_of(student, head, target, name, temperature)
    assert loss.total.isfinite()
    assert gradients(loss.total, student)[0].isfinite().all()
