"""Value and every gradient of the fused loss against the plain one in float64: all divergences, targets and options, any chunk."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from potstill.errors import UserError
from potstill.objectives.tokens import divergences, fused
from potstill.objectives.tokens.heads import Adapter, Head
from potstill.objectives.tokens.loss import token_loss
from potstill.objectives.tokens.targets import Full, Hidden, Sampled, Sparse

from . import plain

LEARNT = ("hidden", "weight", "bias", "down", "up", "scale")
SAID = [
    ("forward_kl", {}), ("reverse_kl", {}), ("jsd", {"beta": 0.5}), ("jsd", {"beta": 0.1}), ("jsd", {"beta": 0.9, "normalized": True}), ("jsd", {"beta": 0.0}),
    ("jsd", {"beta": 1.0}), ("skew_kl", {"alpha": 0.1}), ("skew_kl", {"alpha": 0.7}), ("skew_reverse_kl", {"alpha": 0.1}),
    ("skew_reverse_kl", {"alpha": 0.7}), ("total_variation", {}),
]  # fmt: skip
KINDS = ("full", "hidden", "sparse", "sampled", "sampled with logprobs", "labels")


class Case:
    """Random inputs of one loss, in float64; ``own`` narrows them and asks our code, ``plain`` asks the reference."""

    def __init__(self, seed, positions, width, vocabulary, kind, options):
        self.random = torch.Generator().manual_seed(seed)
        self.kind, self.options, self.positions, self.vocabulary = kind, options, positions, vocabulary
        made = {"hidden": self.normal(positions, width), "weight": 2 * self.normal(vocabulary, width)}
        if options["bias"]:
            made["bias"] = self.normal(vocabulary)
        if options["adapter"]:
            made |= {"down": self.normal(2, width), "up": self.normal(vocabulary, 2)}
        if options["scale"]:
            made["scale"] = torch.tensor(0.7, dtype=torch.float64)
        self.learnt = {name: tensor.float().double() for name, tensor in made.items()}  # of which float32 loses nothing
        self.mask = torch.rand(positions, generator=self.random) < 0.6 if options["mask"] else None
        self.weights = torch.rand(positions, generator=self.random).double() if options["weights"] else None
        self.labels = None
        if options["labels"] or kind == "labels":
            self.labels = torch.randint(vocabulary, (positions,), generator=self.random)
            self.labels[torch.rand(positions, generator=self.random) < 0.3] = -100
        self.told, self.tied = self.answers(width), False

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.random, dtype=torch.float64)

    def answers(self, width):
        vocabulary = self.vocabulary + self.options["padding"]
        teacher = (3 * self.normal(self.positions, vocabulary)).float().double()
        if self.kind == "full":
            return {"logits": teacher}
        if self.kind == "hidden":
            return {"states": self.normal(self.positions, width + 1).float().double(), "weight": (2 * self.normal(vocabulary, width + 1)).float().double()}
        logprobs = teacher[:, : self.vocabulary].log_softmax(-1)
        if self.kind == "sparse":
            top = logprobs.topk(self.options["k"])
            kept, ids = top.values.float().double(), top.indices
            if self.options["k"] > 1:  # rows keep different numbers
                kept[::2, -1] = -torch.inf
            some_left = (kept > -torch.inf).sum(-1) < self.vocabulary
            return {"ids": ids, "logprobs": kept, "tail": (some_left * (1 - kept.exp().sum(-1)).clamp(min=1e-3)).float().double()}
        ids = torch.multinomial(logprobs.exp().float(), 5, replacement=True, generator=self.random)
        weights = torch.rand(ids.shape, generator=self.random).double().float().double()
        drawn = {"logprobs": logprobs.gather(-1, ids).float().double()} if self.kind.endswith("logprobs") else {}
        return {"ids": ids, "weights": weights, **drawn}

    def target(self, dtype, rows):
        told = {name: (value.to(dtype) if value.is_floating_point() else value) for name, value in self.told.items()}
        told = {name: value if rows is None or name == "weight" else value[rows] for name, value in told.items()}
        match self.kind:
            case "full":
                return Full(**told)
            case "hidden":
                return Hidden(told["states"], Head(told["weight"]))
            case "sparse":
                return Sparse(**told)
            case "labels":
                return None
        return Sampled(**told)

    def own(self, dtype, name, options, temperature, chunk_bytes, *, gathered=False):
        at = {key: value.to(dtype).requires_grad_(True) for key, value in self.learnt.items()}
        adapter = Adapter(at["down"], at["up"], 0.5) if "down" in at else None
        head = Head(at["weight"], at.get("bias"), adapter, at.get("scale", 1.0), self.options["softcap"])
        rows = self.mask if gathered else None
        loss = token_loss(
            at["hidden"], head, self.target(dtype, rows), divergence=divergences.NAMES[name](**options), kd_temperature=temperature, labels=self.labels,
            mask=self.mask, weights=None if self.weights is None else self.weights.to(dtype), soft_weight=0.7, hard_weight=0.4, chunk_bytes=chunk_bytes,
        )  # fmt: skip
        loss.total.backward()
        return loss, {key: value.grad for key, value in at.items()}

    def plain(self, name, options, temperature):
        at = {key: value.clone().requires_grad_(True) for key, value in self.learnt.items()}
        scaling = {"scaling": 0.5} if "down" in at else {}
        logits = plain.logits(**at, **scaling, softcap=self.options["softcap"])
        soft, told = torch.zeros(self.positions, dtype=torch.float64), self.told
        if self.kind in ("full", "hidden", "sparse"):
            teacher = told.get("logits", None) if "states" not in told else told["states"] @ told["weight"].T
            p, q = plain.sparse(logits, **told, temperature=temperature) if self.kind == "sparse" else plain.full(logits, teacher, temperature)
            self.tied = bool(((p - q).abs() <= 2e-5 * (p + q))[p > 1e-30].any())
            soft = temperature**2 * plain.divergence(name, p, q, **options)
        elif self.kind.startswith("sampled"):
            soft = plain.sampled(logits, **told)
        hard = torch.zeros_like(soft) if self.labels is None else plain.cross_entropy(logits, self.labels)
        weights = torch.ones(self.positions, dtype=torch.float64) if self.weights is None else self.weights
        mask = self.labels != -100 if self.mask is None and self.labels is not None else self.mask
        weights = weights if mask is None else weights * mask
        soft, hard = (soft * weights).sum(), (hard * weights).sum()
        total = 0.7 * soft + 0.4 * hard
        found = torch.autograd.grad(total, list(at.values()), allow_unused=True, materialize_grads=True)
        return [value.detach() for value in (total, soft, hard)], dict(zip(at, found))


@st.composite
def cases(draw, kinds=KINDS):
    vocabulary = draw(st.integers(2, 9))
    kind = draw(st.sampled_from(kinds))
    options = {key: draw(st.booleans()) for key in ("bias", "adapter", "scale", "mask", "weights", "labels")}
    options |= {
        "softcap": draw(st.sampled_from([None, 3.0])), "k": draw(st.integers(1, vocabulary)),
        "padding": draw(st.sampled_from([0, 0, 2, -1])) if kind in ("full", "hidden") else 0,
    }  # fmt: skip
    if vocabulary + options["padding"] < 2:
        options["padding"] = 0
    case = Case(draw(st.integers(0, 10_000)), draw(st.integers(0, 7)), draw(st.integers(1, 4)), vocabulary, kind, options)
    said, temperature = draw(st.sampled_from(SAID)), draw(st.sampled_from([1.0, 0.5, 2.0]))
    if kind.startswith("sampled"):
        said, temperature = ("forward_kl", {}), 1.0
    return case, said, temperature, draw(st.sampled_from([1, 150, 1 << 20])), draw(st.sampled_from([1, 100, 1 << 20]))


def close(found, wanted, tolerance):
    torch.testing.assert_close(found.double(), wanted.detach(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-5)])
@settings(max_examples=200, deadline=None)
@given(made=cases())
def test_value_and_gradients_are_those_of_the_plain_loss(dtype, tolerance, made):
    case, (name, options), temperature, chunk, tile = made
    wanted, gradients = case.plain(name, options, temperature)
    assume(name != "total_variation" or not case.tied)  # near its corner it takes the gradient 0
    with patch.dict(fused.TILE_BYTES, cpu=tile):
        loss, found = case.own(dtype, name, options, temperature, chunk)
    size = max(1.0, max(float(abs(value)) for value in wanted))
    for ours, theirs in zip((loss.total, loss.soft, loss.hard), wanted):
        close(ours / size, theirs / size, tolerance)
    for key in found:
        scale = max(1.0, float(gradients[key].abs().max()) if gradients[key].numel() else 1.0)
        close(found[key] / scale, gradients[key] / scale, tolerance)


@pytest.mark.parametrize("said", SAID, ids=lambda said: f"{said[0]}-{said[1]}")
@pytest.mark.parametrize("kind", ["full", "hidden", "sparse"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_every_divergence_from_every_target_with_every_option(kind, said, temperature):
    """The pairs one by one, so that none depends on what hypothesis draws."""
    options = {**dict.fromkeys(("bias", "adapter", "scale", "mask", "weights", "labels"), True), "softcap": 3.0, "k": 3, "padding": 0}
    case = Case(1, 9, 4, 8, kind, options)
    wanted, gradients = case.plain(*said, temperature)
    loss, found = case.own(torch.float64, *said, temperature, 1)
    close(loss.total, wanted[0], 1e-9)
    for key in LEARNT:
        close(found[key], gradients[key], 1e-9)


@settings(max_examples=50, deadline=None)
@given(made=cases(kinds=("full", "hidden", "sparse", "sampled")))
def test_a_target_of_supervised_rows_alone_is_the_same(made):
    case, (name, options), temperature, chunk, _ = made
    if case.mask is None:
        case.mask = torch.ones(case.positions, dtype=torch.bool)
    whole, gradients = case.own(torch.float64, name, options, temperature, chunk)
    rows, found = case.own(torch.float64, name, options, temperature, chunk, gathered=True)
    close(rows.total, whole.total, 0)
    for key in found:
        close(found[key], gradients[key], 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_lose_no_more_than_their_own_digits(dtype):
    """What comes in is rounded; nothing else is: neither logits, which a model in bf16 rounds, nor sums over chunks."""
    random = torch.Generator().manual_seed(0)
    hidden, weight, states = (torch.randn(*shape, generator=random).to(dtype).requires_grad_(True) for shape in ((40, 8), (300, 8), (40, 8)))
    bias = torch.randn(300, generator=random).to(dtype).requires_grad_(True)
    with patch.object(fused.heads, "BLOCK_BYTES", 64 * 8 * 4):  # widened in five blocks
        loss = token_loss(
            hidden, Head(weight, bias), Hidden(states.detach(), Head(weight.detach(), bias.detach())), divergence=divergences.jsd(), chunk_bytes=1
        )
        loss.total.backward()
    wide = [tensor.detach().double().requires_grad_(True) for tensor in (hidden, weight, bias)]
    told = states.detach().double() @ weight.detach().double().T + bias.detach().double()
    wanted = plain.divergence("jsd", *plain.full(plain.logits(*wide), told, 1.0)).sum()
    wanted.backward()
    close(loss.total, wanted, 1e-5)
    for half, whole in zip((hidden, weight, bias), wide):
        assert half.grad.dtype == dtype
        torch.testing.assert_close(half.grad.double(), whole.grad, rtol=2 * torch.finfo(dtype).eps, atol=1e-3)


def test_states_of_any_rank_and_frozen_parts():
    random = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(2, 3, 4, generator=random), torch.randn(5, 4, generator=random)
    teacher = torch.randn(6, 5, generator=random)
    flat = token_loss(hidden.reshape(6, 4), Head(weight), Full(teacher))
    learnt = hidden.clone().requires_grad_(True)
    deep = token_loss(learnt, Head(weight), Full(teacher))
    assert deep.total.item() == flat.total.item()
    assert not flat.total.requires_grad
    deep.mean.backward()
    assert learnt.grad.shape == hidden.shape
    assert weight.grad is None
    frozen = hidden.clone()
    weight.requires_grad_(True)
    token_loss(frozen, Head(weight), Full(teacher)).mean.backward()
    assert frozen.grad is None
    assert weight.grad.abs().sum() > 0


def test_nothing_but_the_value_is_made_under_no_grad():
    hidden, weight = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    learnt = token_loss(hidden, Head(weight), Full(torch.zeros(3, 5)))
    with torch.no_grad(), patch.object(torch.Tensor, "addmm_", side_effect=AssertionError("a gradient was made")):
        looked = token_loss(hidden, Head(weight), Full(torch.zeros(3, 5)))
    assert looked.total.item() == learnt.total.item()
    assert not looked.total.requires_grad


def test_autocast_changes_nothing():
    hidden, weight = torch.randn(3, 4), torch.randn(5, 4)
    plainly = token_loss(hidden, Head(weight), Full(torch.zeros(3, 5))).total
    with torch.autocast("cpu", torch.bfloat16):
        assert token_loss(hidden, Head(weight), Full(torch.zeros(3, 5))).total == plainly


def test_a_second_derivative_and_a_second_backward_are_refused():
    hidden = torch.randn(3, 4, requires_grad=True)
    loss = token_loss(hidden, Head(torch.randn(5, 4)), Full(torch.zeros(3, 5)))
    with pytest.raises(UserError, match="no second derivative"):
        torch.autograd.grad(loss.total, hidden, create_graph=True)
    loss.total.backward(retain_graph=True)
    with pytest.raises(UserError, match="already differentiated"):
        loss.total.backward()


@pytest.mark.parametrize("name", [name for name in divergences.NAMES if name != "forward_kl"])
def test_what_samples_cannot_tell_is_refused_with_a_remedy(name):
    told = Sampled(torch.zeros(3, 2, dtype=torch.long), torch.full((3, 2), 0.5))
    with pytest.raises(UserError, match="take forward_kl, or keep the top"):
        token_loss(torch.zeros(3, 4), Head(torch.zeros(5, 4)), told, divergence=divergences.NAMES[name]())
    with pytest.raises(UserError, match="drawn at temperature 1"):
        token_loss(torch.zeros(3, 4), Head(torch.zeros(5, 4)), told, kd_temperature=2.0)


REFUSED = {
    "nothing to learn from": lambda: token_loss(torch.zeros(3, 4), Head(torch.zeros(5, 4))),
    "hidden states are 3 wide": lambda: token_loss(torch.zeros(3, 3), Head(torch.zeros(5, 4)), Full(torch.zeros(3, 5))),
    "the target has 2 rows": lambda: token_loss(torch.zeros(3, 4), Head(torch.zeros(5, 4)), Full(torch.zeros(2, 5))),
    "mask has shape": lambda: token_loss(torch.zeros(3, 4), Head(torch.zeros(5, 4)), Full(torch.zeros(3, 5)), mask=torch.ones(2)),
    "weights have shape": lambda: token_loss(torch.zeros(3, 4), Head(torch.zeros(5, 4)), Full(torch.zeros(3, 5)), weights=torch.ones(2)),
    "labels go from 0 to 5": lambda: token_loss(torch.zeros(3, 4), Head(torch.zeros(5, 4)), labels=torch.tensor([0, 5, -100])),
    "ids go from 0 to 5": lambda: token_loss(torch.zeros(1, 4), Head(torch.zeros(5, 4)), Sparse(torch.tensor([[0, 5]]), torch.zeros(1, 2), torch.zeros(1))),
    "kd_temperature is 0": lambda: token_loss(torch.zeros(3, 4), Head(torch.zeros(5, 4)), Full(torch.zeros(3, 5)), kd_temperature=0.0),
    "beta is 2": lambda: divergences.jsd(2.0),
    "alpha is 1": lambda: divergences.skew_kl(1.0),
    "bias has shape": lambda: Head(torch.zeros(5, 4), torch.zeros(4)),
    "adapter.up has shape": lambda: Head(torch.zeros(5, 4), adapter=Adapter(torch.zeros(2, 4), torch.zeros(4, 2))),
    "softcap is 0": lambda: Head(torch.zeros(5, 4), softcap=0.0),
    "states are 3 wide": lambda: Hidden(torch.zeros(2, 3), Head(torch.zeros(5, 4))),
    "logprobs has shape": lambda: Sparse(torch.zeros(2, 3), torch.zeros(2, 2), torch.zeros(2)),
    "tail has shape": lambda: Sparse(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3)),
    "ids has shape": lambda: Sampled(torch.zeros(2), torch.zeros(2)),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_fit_is_refused_in_words(words):
    with pytest.raises(UserError, match=words) as caught:
        REFUSED[words]()
    assert caught.value.remedy
