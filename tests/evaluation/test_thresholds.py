"""Thresholds: they find what is best where rows are many, and lean on the shared one where they are few."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import expit

from potstill.evaluation.multilabel import HammingLoss, LabelMacroF1, MicroF1
from potstill.evaluation.thresholds import LEAST, PULL, choose

METRICS = {"micro_f1": MicroF1, "macro_f1": LabelMacroF1, "hamming_loss": HammingLoss}


def draws(n, base, seed=0, spread=2.0):
    """Gold and log-odds that mean what they say; ``base`` is each label's own level."""
    random = np.random.default_rng(seed)
    logodds = random.normal(size=(n, len(base))) * spread + np.asarray(base)
    return (random.random(logodds.shape) < expit(logodds)).astype(np.int8), logodds


def value(name, gold, scores):
    metric = METRICS[name](gold.shape[1])
    return float(metric.combine(metric.statistics(gold, scores).sum(axis=0)))


@pytest.mark.parametrize("name", METRICS)
def test_fresh_rows_are_decided_better_than_at_one_half(name):
    base = (-1.0, -2.0, -3.0, -3.5)
    chosen = choose(*draws(4000, base), name)
    gold, logodds = draws(20_000, base, seed=1)
    sign = -1 if name == "hamming_loss" else 1
    assert sign * value(name, gold, logodds - chosen.values) > sign * value(name, gold, logodds) - 0.002
    if name != "hamming_loss":
        assert value(name, gold, logodds - chosen.values) > value(name, gold, logodds) + 0.02


def test_micro_f1_s_threshold_is_half_the_best_f1():
    """Lipton et al. 2014: where probabilities mean what they say."""
    gold, logodds = draws(60_000, (-2.0, -2.0))
    chosen = choose(gold, logodds, "micro_f1")
    best = value("micro_f1", gold, logodds - chosen.values)
    assert expit(chosen.values) == pytest.approx(best / 2, abs=0.03)


def test_few_mistakes_call_for_one_half():
    assert expit(choose(*draws(60_000, (-1.0, 0.0)), "hamming_loss").values) == pytest.approx(0.5, abs=0.03)


def test_a_label_s_own_cut_is_the_best_of_all_cuts():
    """Against brute force over all pairs of cuts, without the pull: labels of so many positives hardly feel it."""
    gold, logodds = draws(30, (0.5, -0.5), seed=3)
    gold = np.tile(gold, (400, 1))
    logodds = np.tile(logodds, (400, 1))
    cuts = [np.concatenate([[at - 1e-6 for at in np.unique(logodds[:, label])], [logodds[:, label].max() + 1]]) for label in (0, 1)]
    for name in ("micro_f1", "macro_f1"):
        best = max(value(name, gold[:30], logodds[:30] - np.array(pair)) for pair in itertools.product(*cuts))
        assert value(name, gold, logodds - choose(gold, logodds, name).values) >= best - 0.01


def test_a_label_with_few_positives_has_the_shared_threshold():
    gold, logodds = draws(500, (-1.0, -1.0, -9.0))
    assert gold[:, 2].sum() < LEAST
    chosen = choose(gold, logodds, "macro_f1")
    assert chosen.alone == (2,)
    assert chosen.values[2] == np.float32(chosen.shared) != chosen.values[0]


def test_the_fewer_the_positives_the_nearer_to_the_shared_threshold():
    gold, logodds = draws(4000, (-1.0, -1.0))
    logodds[:, 1] += 4  # a label whose probabilities are far too high: its own best cut lies 4 further up
    few = gold.copy()
    drop = np.flatnonzero(few[:, 1])[int(PULL) :]  # PULL positives are left: half own, half shared
    kept = np.setdiff1d(np.arange(4000), drop)
    whole, part = choose(gold, logodds, "macro_f1"), choose(few[kept], logodds[kept], "macro_f1")
    assert few[kept][:, 1].sum() == PULL
    assert abs(part.values[1] - part.shared) < abs(whole.values[1] - whole.shared)


def test_noise_of_few_rows_is_damped():
    """Chosen label by label on 40 rows, F1 of fresh rows would fall below that of one threshold for all; pulled, it does not."""
    base = np.full(12, -2.0)
    fresh = draws(20_000, base, seed=99)
    gains = []
    for seed in range(12):
        gold, logodds = draws(60, base, seed=seed)
        chosen = choose(gold, logodds, "macro_f1")
        gains.append(value("macro_f1", *_off(fresh, chosen.values)) - value("macro_f1", *_off(fresh, np.full(12, chosen.shared))))
    assert np.mean(gains) > -0.02


def _off(rows, thresholds):
    return rows[0], rows[1] - thresholds


def test_rows_without_gold_or_answer_have_no_say():
    gold, logodds = draws(400, (-1.0, -2.0))
    more_gold, more = np.concatenate([gold, -np.ones((2, 2), np.int8), gold[:1]]), np.concatenate([logodds, np.full((2, 2), 1e3), np.full((1, 2), np.nan)])
    np.testing.assert_array_equal(choose(more_gold, more, "micro_f1").values, choose(gold, logodds, "micro_f1").values)


@pytest.mark.parametrize("gold", [np.full((5, 3), -1), np.zeros((5, 3), int), np.zeros((0, 3), int)])
def test_where_nothing_can_be_judged_one_half_decides(gold):
    chosen = choose(gold, np.random.default_rng(0).normal(size=gold.shape), "micro_f1")
    assert chosen.values.tolist() == [0, 0, 0]
    assert chosen.alone == (0, 1, 2)


def test_equal_scores_are_never_parted():
    """A constant scorer tells a label of all rows, or of none."""
    gold, _ = draws(200, (1.0, -3.0))
    constant = np.tile([0.3, -1.0], (200, 1))
    told = constant - choose(gold, constant, "micro_f1").values >= 0
    assert told.all(axis=0).tolist() == [True, False]
    assert not told[:, 1].any()


def test_it_is_the_same_for_the_same_rows_in_another_order():
    gold, logodds = draws(300, (-1.0, -2.0, -1.5))
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_allclose(choose(gold[order], logodds[order], "macro_f1").values, choose(gold, logodds, "macro_f1").values)


def test_thresholds_of_tempered_scores_decide_alike():
    gold, logodds = draws(300, (-1.0, -2.0))
    values = choose(gold, logodds, "micro_f1").values
    np.testing.assert_array_equal(logodds >= values, logodds / 2.5 >= values / 2.5)
