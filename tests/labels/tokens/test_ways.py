"""Drawn rows are unbiased and reproducible, hidden ones near, and the choice is the smallest within the error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as drawn_by
from hypothesis import settings
from hypothesis import strategies as st

from potstill.errors import StoreError
from potstill.labels.tokens import Keep, choose, given, hidden, sampled
from potstill.labels.tokens.codebook import DRAWN
from potstill.labels.tokens.error import between, full_kl, normal
from potstill.labels.tokens.numbers import Numbers
from tests.labels.tokens.made import INF, KEEP, VOCABULARY, adversarial, book, zipf


def weights_of(rows: sampled.Rows, vocabulary: int = VOCABULARY) -> np.ndarray:
    dense = np.zeros((len(rows.ids), vocabulary))
    np.add.at(dense, (np.arange(len(rows.ids))[:, None], rows.ids), rows.weights)
    return dense


def test_the_mean_over_seeds_is_the_distribution():
    scores, seeds = zipf(6, seed=1), 3000
    p = np.exp(normal(scores))
    common = p > 1e-3  # rarer ones come too seldom for an error to be a normal one: all of a row together
    found = []
    for seed in range(seeds):
        draws = sampled.draw(scores, sampled.starts(b"row", 6, seed), 12)
        one = np.zeros((6, VOCABULARY))
        one[np.repeat(np.arange(6), draws.k), draws.ids] = draws.counts / 12
        found.append(np.concatenate([one[common], (one * ~common).sum(1)]))
    truth, spread = np.concatenate([p[common], (p * ~common).sum(1)]), np.std(found, axis=0)
    away = np.abs(np.mean(found, axis=0) - truth) / np.maximum(spread, 1e-9) * seeds**0.5
    assert away.max() < 5
    assert (away < 2).mean() > 0.9
    held = np.arange(len(truth)) < common.sum()
    assert (spread <= 1 / 12)[held].all()  # m p_i times and never more than one off


def test_draws_come_back_exactly_and_hang_on_the_rows_content_alone():
    scores = zipf(200, seed=2)
    u = sampled.starts(b"a row's content", 200)
    assert (u == sampled.starts(b"a row's content", 200)).all()
    assert (u != sampled.starts(b"another's", 200)).all()
    assert (u != sampled.starts(b"a row's content", 200, seed=1)).all()
    assert 0 <= u.min()
    assert u.max() < 1
    draws = sampled.draw(scores, u)
    values = sampled.encode(draws, [0, 50, 1, 149], book())
    rows = sampled.decode(values, book())
    dense = np.zeros((200, VOCABULARY))
    dense[np.repeat(np.arange(200), draws.k), draws.ids] = draws.counts / 12
    assert np.allclose(weights_of(rows), dense, atol=1e-7)
    there = rows.weights > 0
    told = np.take_along_axis(normal(scores), rows.ids, 1)
    assert np.abs(told - rows.logprobs)[there].max() <= DRAWN.widest / 2
    assert (rows.logprobs[there] <= 0).all()
    alone = sampled.decode([values[1]], book())
    assert np.allclose(weights_of(alone), weights_of(rows)[:50])
    assert sum(map(len, values)) / 200 <= 40


def test_draws_of_hard_rows_leave_out_what_is_ruled_out():
    scores = adversarial()
    rows = sampled.decode(sampled.encode(sampled.draw(scores, sampled.starts(b"x", len(scores))), [len(scores)], book()), book())
    assert np.allclose(rows.weights.sum(1), 1)
    assert np.isfinite(np.take_along_axis(scores, rows.ids, 1)[rows.weights > 0]).all()
    for bad in (np.full((1, 5), np.nan), np.full((1, 5), -INF)):
        with pytest.raises(StoreError):
            sampled.draw(bad, np.zeros(1))


def test_hidden_states_come_back_near_and_only_for_their_head():
    rng = np.random.default_rng(0)
    states, head = rng.normal(0, 3, (30, 64)).astype(np.float32), b"0123456789abcdef"
    states[3] = 0
    for precision, limit, size in (("int8", 1 / 254, 68), ("bf16", 1 / 256, 128)):
        values = hidden.encode(states, [10, 0, 20], head, precision)
        lengths, back = hidden.decode(values, head, precision)
        assert lengths.tolist() == [10, 0, 20]
        assert sum(map(len, values)) == 30 * size + 3 * 24
        assert (np.abs(back - states) <= limit * 1.01 * np.abs(states).max(1, keepdims=True)).all()
        assert hidden.decode(values[2:], head, precision)[1].tolist() == back[10:].tolist()
        with pytest.raises(StoreError, match="head"):
            hidden.decode(values, b"another head, surely", precision)
        with pytest.raises(StoreError):
            hidden.decode([values[0][:-1]], head, precision)
    with pytest.raises(StoreError, match="not finite"):
        hidden.encode(np.full((1, 4), np.nan), [1], head)


def test_the_choice_is_the_smallest_within_the_error_and_says_so():
    rng = np.random.default_rng(1)
    states, head = rng.normal(0, 1, (60, 16)).astype(np.float32), rng.normal(0, 1, (VOCABULARY, 16)).astype(np.float32)
    scores = states @ head.T
    keeps = (KEEP, Keep(0.9, 0.0, 32))
    loose = choose(scores, [20, 40], book(), limit=10.0, keeps=keeps, states=states, head=head)
    assert loose.chosen.bytes == min(way.bytes for way in loose.ways if not way.unbiased)
    tight = choose(scores, [20, 40], book(), limit=0.01, keeps=keeps, states=states, head=head)
    assert tight.chosen.name.startswith("hidden")
    assert tight.chosen.kl <= 0.01
    assert "the smallest within 0.01 nats" in str(tight)
    never = choose(scores, [20, 40], book(), limit=0.0, keeps=keeps)
    assert never.chosen.kl == min(way.kl for way in never.ways if not way.unbiased)
    assert "none is within" in str(never)
    with pytest.raises(StoreError):
        choose(scores[:0], [], book(), limit=1.0)


def test_the_error_is_0_for_all_that_is_kept_and_the_dense_one_otherwise():
    scores = zipf(3, seed=4).astype(np.float64)
    ids, p = np.tile(np.arange(VOCABULARY), (3, 1)), normal(scores)
    assert full_kl(scores, ids, p, np.zeros(3)) == pytest.approx(0, abs=1e-12)
    k = 40
    tail = 1 - np.exp(p[:, :k]).sum(1)
    dense = np.concatenate([p[:, :k], np.repeat(np.log(tail / (VOCABULARY - k))[:, None], VOCABULARY - k, 1)], 1)
    assert full_kl(scores, ids[:, :k], p[:, :k], tail) == pytest.approx(between(scores, dense))


def test_given_rows_that_can_not_be_are_refused():
    for ids, logprobs in (([1, 1], [-1, -2]), ([5], [-1]), ([1], [float("nan")]), ([1], [-INF]), ([], []), ([1, 2], [-0.1, -0.1]), ([1], [0.5])):
        with pytest.raises(StoreError, match=r"position 0"):
            given([ids], [logprobs], 5, KEEP)


@settings(max_examples=200, deadline=None)
@drawn_by(m=st.integers(1, 7), values=st.lists(st.integers(0, 2**18 - 1), max_size=50))
def test_numbers_are_split_and_put_together(m, values):
    numbers = Numbers(2**18 - 1, m)
    if numbers.symbols <= 256:
        symbols, widths, bits = numbers.split(np.array(values, np.int64))
        assert (numbers.bases[symbols] + bits).tolist() == values
        assert (numbers.widths[symbols] == widths).all()
        assert (widths <= 16).all()
        assert (symbols < numbers.symbols).all()
