"""Relations and attention maps against float64 numpy; padding, micro-batches, heads and widths that differ, batches of nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, rel_entr

from potstill.errors import UserError
from potstill.objectives import attention
from potstill.objectives.build import build
from potstill.records import Want
from potstill.students.protocol import Attention, Output

LOGITS = {"kind": "logits", "weight": 1.0}
SIZES = {"head_width": 3, "student_layers": 2, "student_width": 12, "teacher_layers": 6, "teacher_width": 8, "seed": 0, "student_heads": 6, "teacher_heads": 4}


def drawn(lengths, *, student=12, teacher=8, seed=0, pad=0, layers=(2,), dtype=torch.float64):
    """Return a student's padded vectors, whatever the padding holds, and a teacher's, end to end."""
    random = np.random.default_rng(seed)
    longest = max(lengths, default=0) + pad
    mask = torch.tensor([[i < n for i in range(longest)] for n in lengths], dtype=torch.bool).reshape(len(lengths), longest)
    real = {layer: [random.normal(size=(sum(lengths), student)) for _ in range(3)] for layer in layers}
    vectors = {}
    for layer, parts in real.items():
        made = [torch.from_numpy(1e3 * np.random.default_rng(pad).normal(size=(len(lengths), longest, student))) for _ in range(3)]
        for padded, part in zip(made, parts):
            padded[mask] = torch.from_numpy(part)
        vectors[layer] = [padded.to(dtype).requires_grad_(True) for padded in made]
    told = torch.from_numpy(random.normal(size=(sum(lengths), 3 * teacher))).to(dtype)
    return Attention(vectors, mask), told


def cut(flat, lengths):
    return np.split(flat, np.cumsum(lengths)[:-1])


def flat(own, layer, part):
    return own.vectors[layer][part][own.mask].detach().double().numpy()


def relations_by_hand(own, told, lengths, heads, layer=2):
    total = 0.0
    for part, theirs in enumerate(np.split(told.double().numpy(), 3, axis=1)):
        for ours, given_ in zip(cut(flat(own, layer, part), lengths), cut(theirs, lengths)):
            for a, b in zip(np.split(ours, heads, axis=1), np.split(given_, heads, axis=1)):
                q, p = (np.exp(log_softmax(x @ x.T / np.sqrt(x.shape[1]), axis=-1)) for x in (a, b))
                total += rel_entr(p, q).sum() / heads
    return total


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4), heads=st.sampled_from([1, 2, 4]), pad=st.integers(0, 3), seed=st.integers(0, 99))
def test_relations_are_the_oracle_s_whatever_the_heads_widths_and_padding(lengths, heads, pad, seed):
    own, told = drawn(lengths, pad=pad, seed=seed)
    total, count = attention.relations(own, 2, told, heads)
    assert total.item() == pytest.approx(relations_by_hand(own, told, lengths, heads), rel=1e-9, abs=1e-12)
    assert count.item() == sum(lengths)


def test_the_gradient_by_hand_is_the_numeric_one():
    own, told = drawn([3, 1, 4], pad=1)

    def total(*parts):
        return attention.relations(Attention({2: parts}, own.mask), 2, told, 4)[0]

    torch.autograd.gradcheck(total, tuple(part.detach().clamp(-3, 3).requires_grad_(True) for part in own.vectors[2]))


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), heads=st.sampled_from([1, 3, 6]), seed=st.integers(0, 99))
def test_equal_relations_have_no_divergence_and_no_gradient(lengths, heads, seed):
    own, _ = drawn(lengths, seed=seed, dtype=torch.float32)
    same = torch.cat([part[own.mask].detach() for part in own.vectors[2]], dim=-1)
    total, _ = attention.relations(own, 2, same, heads)
    total.backward()
    assert total.item() == 0
    assert all(part.grad.abs().max() == 0 for part in own.vectors[2])


@settings(max_examples=20, deadline=None)
@given(scale=st.sampled_from([0.1, 1.0, 30.0, 6e4]), seed=st.integers(0, 99))
def test_divergences_are_never_negative_and_always_finite(scale, seed):
    own, told = drawn([5, 2], seed=seed, dtype=torch.float32)
    loud = Attention({2: [(part.detach() * scale).requires_grad_(True) for part in own.vectors[2]]}, own.mask)
    total, _ = attention.relations(loud, 2, told * scale, 4)
    total.backward()
    assert 0 <= total.item() < float("inf")
    assert all(torch.isfinite(part.grad).all() for part in loud.vectors[2])


def maps_by_hand(own, told, lengths, layer, student_heads, teacher_heads):
    heads = np.gcd(student_heads, teacher_heads)
    query, key, _ = np.split(told.double().numpy(), 3, axis=1)
    total = 0.0
    for sq, sk, tq, tk in zip(*(cut(x, lengths) for x in (flat(own, layer, 0), flat(own, layer, 1), query, key))):
        for group in range(heads):
            sides = []
            for left, right, count in ((sq, sk, student_heads), (tq, tk, teacher_heads)):
                width, joined = left.shape[1] // count, count // heads
                each = [left[:, h * width : (h + 1) * width] @ right[:, h * width : (h + 1) * width].T / np.sqrt(width) for h in range(count)]
                mean = np.mean(each[group * joined : (group + 1) * joined], axis=0)
                sides.append(mean - mean.mean(axis=1, keepdims=True))
            total += ((sides[0] - sides[1]) ** 2).mean(axis=1).sum() / heads
    return total


@pytest.mark.parametrize(("student_heads", "teacher_heads"), [(4, 4), (6, 4), (3, 1), (2, 8)])
def test_maps_are_the_oracle_s_whatever_the_heads(student_heads, teacher_heads):
    lengths = [4, 1, 6]
    own, told = drawn(lengths, pad=2, layers=(1, 2))
    other = drawn(lengths, seed=5)[1]
    total, count = attention.maps(own, [(3, 1), (6, 2)], {3: told, 6: other}, student_heads=student_heads, teacher_heads=teacher_heads)
    by_hand = [maps_by_hand(own, t, lengths, layer, student_heads, teacher_heads) for t, layer in ((told, 1), (other, 2))]
    assert total.item() == pytest.approx(np.mean(by_hand), rel=1e-9)
    assert count.item() == 11


def made(*specs, **more):
    terms, left_out = build([LOGITS, *specs], **{**SIZES, **more})
    return terms[1:], left_out


def test_terms_say_what_they_need_of_both():
    (maps, relations), _ = made({"kind": "attention", "weight": 2.0}, {"kind": "relations", "weight": 1.0})
    assert maps.needs == {Want("qkv", layer=3), Want("qkv", layer=6)}
    assert maps.attends == {1, 2}
    assert relations.needs == {Want("qkv", layer=6)}
    assert relations.attends == {2}
    ((given_layer,), _) = made({"kind": "relations", "weight": 1.0, "layer": 4})
    assert given_layer.needs == {Want("qkv", layer=4)}
    ((embedding,), _) = made({"kind": "embedding", "weight": 1.0})
    assert (embedding.name, embedding.needs, embedding.hidden) == ("embedding", {Want("hidden", layer=0)}, True)


@pytest.mark.parametrize("none", [{"student_layers": 0}, {"teacher_layers": 0}, {"student_heads": 0}, {"teacher_heads": 0}])
def test_who_has_no_queries_and_keys_leaves_them_out(none):
    assert made({"kind": "attention", "weight": 1.0}, {"kind": "relations", "weight": 1.0}, **none) == ([], ["attention", "relations"])


def test_layers_and_heads_that_are_not_there_are_refused():
    with pytest.raises(UserError, match=r"names a layer that is not there[\s\S]*layers 1 to 6"):
        made({"kind": "attention", "weight": 1.0, "layers": [[0, 1]]})
    with pytest.raises(UserError, match="no layer 7"):
        made({"kind": "relations", "weight": 1.0, "layer": 7})
    with pytest.raises(UserError, match=r"cut into 3 relation heads[\s\S]*divisor of 4"):
        made({"kind": "relations", "weight": 1.0, "heads": 3})


@pytest.mark.parametrize(
    ("student", "teacher", "heads", "found"), [(384, 384, 12, 12), (312, 384, 12, 12), (312, 768, 12, 12), (64, 48, 12, 8), (7, 48, 12, 1)]
)
def test_as_many_relation_heads_as_both_widths_allow(student, teacher, heads, found):
    assert attention.relation_heads(student, teacher, heads) == found


@pytest.mark.parametrize(("layers", "usual"), [(3, 3), (6, 6), (12, 12), (24, 21)])
def test_the_usual_layer(layers, usual):
    assert attention.usual_layer(layers) == usual


@pytest.mark.parametrize("kind", ["attention", "relations"])
def test_counts_from_data_are_the_counts_of_the_terms_and_padding_changes_nothing(kind):
    ((term,), _) = made({"kind": kind, "weight": 1.0})
    lengths, found = [2, 5, 3], []
    for pad in (0, 4):
        own, told = drawn(lengths, pad=pad, layers=(1, 2))
        total, count = term(Output(torch.zeros(3, 3), attention=own), dict.fromkeys(term.needs, told), torch.zeros(3))
        assert count == term.count(dict.fromkeys(term.needs, told), torch.zeros(3)) == 10
        found.append(total.item())
    assert found[0] == pytest.approx(found[1], rel=1e-12)
