"""Losses of any number of labels against float64 oracles written with scipy and scikit-learn, and what rows weigh by their gold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import expit, rel_entr
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from potstill.errors import UserError
from potstill.objectives import hard
from potstill.objectives.balance import weights
from potstill.objectives.build import LOGODDS, LOGPROBS, build
from potstill.objectives.labels import cross_entropy, kl, mse
from potstill.students.protocol import Output

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(*(arrays.arrays(np.float64, st.just(shape), elements=st.floats(-20, 20)) for _ in range(2))))
SIZES = {"student_layers": 0, "student_width": 0, "teacher_layers": 0, "teacher_width": 0, "seed": 0}


def oracle(student, teacher, temperature):
    """T² KL of each label's yes and no; 1 - p as the sigmoid of minus the log-odds, so that the oracle too keeps its digits."""
    total = sum(rel_entr(expit(sign * teacher / temperature), expit(sign * student / temperature)) for sign in (1, -1))
    return temperature**2 * total.sum()


@settings(deadline=None, max_examples=60)
@given(PAIRS, st.sampled_from([0.5, 1.0, 2.0, 4.0]))
def test_kl_is_the_oracle_s_in_both_precisions(pair, temperature):
    student, teacher = (torch.from_numpy(side) for side in pair)
    total, count = kl(student, teacher, kd_temperature=temperature)
    assert total.item() == pytest.approx(oracle(*pair, temperature), rel=1e-9, abs=1e-12)
    assert count.item() == len(student)
    single, _ = kl(student.float(), teacher.float(), kd_temperature=temperature)
    assert single.item() == pytest.approx(total.item(), rel=1e-3, abs=1e-4)
    assert single.item() >= 0


@settings(deadline=None, max_examples=40)
@given(PAIRS)
def test_mse_is_the_limit_of_kl_at_high_temperature(pair):
    student, teacher = (torch.from_numpy(side) for side in pair)
    assert mse(student, teacher)[0].item() == pytest.approx(((pair[0] - pair[1]) ** 2).sum() / 8)
    assert kl(student, teacher, kd_temperature=1e3)[0].item() == pytest.approx(mse(student, teacher)[0].item(), rel=1e-3, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(PAIRS)
def test_cross_entropy_is_scikit_learn_s_log_loss(pair):
    student, gold = pair[0], (pair[1] > 0).astype(int)
    total, count = cross_entropy(torch.from_numpy(student), torch.from_numpy(gold))
    each = sum(log_loss(gold[:, label], expit(student[:, label]), labels=[0, 1], normalize=False) for label in range(gold.shape[1]))
    assert total.item() == pytest.approx(each, rel=1e-6)
    assert count == len(student)


def test_one_label_of_two_is_worth_what_two_classes_are():
    """A sigmoid is a softmax over yes and no: the loss of one label is that of two classes with a logit of 0 for no."""
    logodds, gold = torch.tensor([[0.7], [-1.3]]), torch.tensor([[1], [0]])
    classes = torch.cat([torch.zeros(2, 1), logodds], -1)
    torch.testing.assert_close(cross_entropy(logodds, gold), hard.cross_entropy(classes, gold[:, 0]))


# -------------------------------------------------------------------------------------------------------------- weights
def test_balanced_is_scikit_learn_s():
    gold = np.array([0, 0, 0, 1, 2, 2, -1])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=gold[:-1])
    np.testing.assert_allclose(weights("balanced", gold, "abc"), expected, rtol=1e-6)
    many = np.array([[1, 0], [0, 0], [0, 1], [0, 1], [-1, -1]])
    found = weights("balanced", many, "ab")
    for label in (0, 1):
        np.testing.assert_allclose(found[:, label], compute_class_weight("balanced", classes=np.arange(2), y=many[:4, label]), rtol=1e-6)


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=40), st.dictionaries(st.sampled_from("abcd"), st.floats(0.1, 50)))
def test_the_rows_mean_weight_is_1(gold, given_weights):
    gold = np.array(gold)
    known = gold[gold >= 0]
    for given_ in ("balanced", given_weights):
        found = weights(given_, gold, "abcd")
        assert not len(known) or found[known].mean() == pytest.approx(1, rel=1e-5)
        many = np.where(gold[:, None] < 0, -1, np.eye(4, dtype=int)[gold])
        of = weights(given_, many, "abcd")
        for label in range(4):
            yes = (many[many[:, 0] >= 0, label] > 0).astype(int)
            assert not len(yes) or of[yes, label].mean() == pytest.approx(1, rel=1e-5)


def test_named_weights_keep_their_ratio():
    found = weights({"b": 5.0}, np.array([0, 0, 1, 2]), "abc")
    assert found[1] / found[0] == pytest.approx(5)
    assert found[0] == found[2]


def test_a_class_without_a_row_weighs_1_and_none_is_none():
    assert weights("balanced", np.array([0, 0]), "ab").tolist() == [1, 1]
    assert weights("none", np.array([0, 1]), "ab") is None


def test_a_label_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="no label 'spma'") as error:
        weights({"spma": 2.0}, np.array([0, 1]), ("ham", "spam"))
    assert "spam" in error.value.remedy


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_weights_move_the_loss_between_rows_and_leave_its_scale(kind):
    random = np.random.default_rng(0)
    gold = random.choice(3, 400, p=[0.8, 0.15, 0.05])
    gold = gold if kind == "classes" else np.eye(3, dtype=np.int8)[gold]
    made = {
        name: build([{"kind": "hard", "weight": 1.0, "class_weights": name}], head_width=3, head_kind=kind, labels="abc", gold=gold, **SIZES)[0][0]
        for name in ("none", "balanced")
    }
    flat = Output(torch.zeros(400, 3))  # every row costs the same: the mean weight shows
    totals = {name: term(flat, {}, torch.from_numpy(gold)) for name, term in made.items()}
    assert totals["balanced"][0].item() == pytest.approx(totals["none"][0].item(), rel=1e-4)
    assert totals["balanced"][1] == totals["none"][1] == 400
    rare = Output(torch.zeros(400, 3).index_fill(1, torch.tensor([2]), -2.0))  # it denies the rare label
    assert made["balanced"](rare, {}, torch.from_numpy(gold))[0] > made["none"](rare, {}, torch.from_numpy(gold))[0]


def test_terms_of_labels_need_log_odds():
    terms, _ = build([{"kind": "logits", "weight": 1.0}, {"kind": "hard", "weight": 1.0}], head_width=3, head_kind="labels", **SIZES)
    assert terms[0].needs == {LOGODDS}
    assert build([{"kind": "logits", "weight": 1.0}], head_width=3, **SIZES)[0][0].needs == {LOGPROBS}
    with pytest.raises(UserError, match=r"log-probabilities are \(2, 4\)"):
        terms[0](Output(torch.zeros(2, 3)), {LOGODDS: torch.zeros(2, 4)}, torch.zeros(2, 3))
