"""Calibration against a plain loop and scipy's minimiser."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from potstill.evaluation.calibration import BINS, as_json, ece, fit_temperature, reliability, saturated, scaled


def made(seed: int, n: int, temperature: float, classes: int = 3):
    """Gold drawn from the softmax of logits; the log-probabilities told are those at another temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, size=(n, classes))
    gold = np.array([random.choice(classes, p=p) for p in special.softmax(logits, axis=1)])
    return gold, special.log_softmax(logits / temperature, axis=1).astype(np.float32)


def test_the_fitted_temperature_is_scipys_and_undoes_what_was_done():
    gold, logprobs = made(0, 3000, 0.5)
    found = fit_temperature(logprobs, gold, rows_in_all=6000)

    def loss(t):
        return -special.log_softmax(logprobs.astype(float) / t, axis=1)[np.arange(len(gold)), gold].mean()

    oracle = optimize.minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9}).x
    assert found.temperature == pytest.approx(oracle, rel=1e-4)
    assert found.temperature == pytest.approx(2.0, rel=0.1)
    assert ece(gold, scaled(logprobs, found.temperature)) < ece(gold, logprobs) / 2


@pytest.mark.parametrize(("rows_in_all", "n"), [(199, 100), (400, 0)])
def test_with_few_rows_the_temperature_stays_1_and_says_why(rows_in_all, n):
    gold, logprobs = made(1, 100, 0.5)
    found = fit_temperature(logprobs[:n], gold[:n], rows_in_all=rows_in_all)
    assert found.temperature == 1
    assert f"{rows_in_all} calibration rows" in found.reason


def test_without_a_mistake_the_temperature_stays_1():
    logprobs = np.log(np.tile([[0.8, 0.2]], (150, 1)))
    found = fit_temperature(logprobs, np.zeros(150, int), rows_in_all=300)
    assert found.temperature == 1
    assert "no mistake" in found.reason


def test_a_probability_of_none_can_be_fitted():
    gold, logprobs = made(2, 300, 1.0)
    logprobs[0] = [0.0, -np.inf, -np.inf]
    gold[0] = 2
    assert np.isfinite(fit_temperature(logprobs, gold, rows_in_all=600).temperature)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_scaling_keeps_decisions_and_normalizes(seed, temperature):
    _, logprobs = made(seed, 20, 1.0)
    found = scaled(logprobs, temperature)
    assert found.dtype == np.float32
    assert (found.argmax(axis=1) == logprobs.argmax(axis=1)).all()
    assert np.exp(found).sum(axis=1) == pytest.approx(np.ones(20), abs=1e-5)
    assert scaled(found, 1 / temperature) == pytest.approx(logprobs, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 200))
def test_ece_is_the_plain_loop_over_bins_of_equal_mass(seed, n):
    gold, logprobs = made(seed, n, 0.7) if n else (np.zeros(0, int), np.zeros((0, 3)))
    bins = reliability(gold, logprobs)
    assert sum(b["n"] for b in bins) == n
    assert len(bins) == min(BINS, n)
    assert max((b["n"] for b in bins), default=0) - min((b["n"] for b in bins), default=0) <= 1
    confidence, right = (np.exp(logprobs.max(axis=1)), logprobs.argmax(axis=1) == gold) if n else (np.zeros(0), np.zeros(0))
    order, start, total = np.argsort(confidence, kind="stable"), 0, 0.0
    for b in bins:
        part = order[start : start + b["n"]]
        total += abs(confidence[part].sum() - right[part].sum())
        start += b["n"]
    assert ece(gold, logprobs) == pytest.approx(total / max(n, 1), abs=1e-6)
    assert set(as_json(gold, logprobs)) == {"ece", "reliability"}


def test_saturated_answers_are_counted_among_those_that_were_given():
    answers = np.log(np.array([[1 - 1e-6, 1e-6], [0.7, 0.3], [1 - 1e-7, 1e-7], [np.nan, np.nan]]))
    assert saturated(answers) == pytest.approx(2 / 3)
    assert saturated(answers[:0]) == 0
