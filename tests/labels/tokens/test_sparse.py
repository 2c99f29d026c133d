"""Rows of the likeliest tokens: exact ids, bounded errors, mass of at most 1, one by one or together, and no garbage out of damaged bytes."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.errors import StoreError
from potstill.labels.tokens import Codebook, Keep, Levels, fit, select, sparse
from tests.labels.tokens.made import INF, KEEP, VOCABULARY, adversarial, book, zipf

FINE, EVEN, LONE = Levels(step=0.05, growth=0.0), Levels(step=0.5, growth=0.0), Keep(mass=0.5, floor=0.0, k_max=1)


def pairs(ids: np.ndarray, values: np.ndarray) -> list[dict[int, float]]:
    return [dict(zip(row[there].tolist(), value[there].tolist())) for row, value, there in zip(ids, values, np.isfinite(values))]


def agrees(scores: np.ndarray, keep: Keep, codebook: Codebook, lengths: list[int]) -> sparse.Rows:
    """Encode, decode and check all that is promised of each row."""
    top = select(scores, keep)
    rows = sparse.decode(sparse.encode(top, lengths, codebook), codebook)
    assert rows.lengths.tolist() == lengths
    ends = np.cumsum(top.k)
    limits = sparse.bound(top, codebook)
    for i, decoded in enumerate(pairs(rows.ids, rows.logprobs)):
        mine = slice(ends[i] - top.k[i], ends[i])
        assert set(decoded) == set(top.ids[mine].tolist())
        for token, logprob, limit in zip(top.ids[mine].tolist(), top.logprobs[mine], limits[mine]):
            assert abs(decoded[token] - logprob) <= limit
        assert (np.exp(rows.logprobs[i].astype(np.float64)).sum() + rows.tail[i].astype(np.float64)) <= 1
    return rows


@pytest.mark.parametrize("keep", [KEEP, LONE, Keep(mass=1.0, floor=0.0, k_max=VOCABULARY)], ids=["some", "one", "all"])
@pytest.mark.parametrize("levels", [Levels(), FINE, EVEN], ids=["widening", "fine", "even"])
def test_ids_exactly_log_probabilities_within_their_bound_mass_within_1(keep, levels):
    codebook = book(keep, levels)
    agrees(zipf(300, seed=2), keep, codebook, [100, 0, 1, 199])
    rows = agrees(adversarial(), keep, codebook, [8])
    assert np.isfinite(rows.logprobs).any(1).all()


@settings(max_examples=40, deadline=None)
@given(
    positions=st.integers(0, 40), seed=st.integers(0, 2**32 - 1), temper=st.floats(0.01, 30), vocabulary=st.integers(1, 700),
    mass=st.floats(0.01, 1), floor=st.sampled_from([0.0, 1e-6, 1e-2, 0.9]), k_max=st.integers(1, 800), step=st.floats(0.02, 2), growth=st.floats(0, 1),
    out=st.floats(0, 0.99),
)  # fmt: skip
def test_anything_comes_back(positions, seed, temper, vocabulary, mass, floor, k_max, step, growth, out):
    keep, rng = Keep(mass, floor, k_max), np.random.default_rng(seed)
    codebook = fit(zipf(5, seed, vocabulary), keep, Levels(step, growth, max(step, 1.0)))
    scores = zipf(positions, seed + 1, vocabulary, temper + 0.5)
    scores[:, 1:][rng.random((positions, vocabulary - 1)) < out] = -INF
    cut = sorted(rng.integers(0, positions + 1, 3).tolist())
    agrees(scores, keep, codebook, np.diff([0, *cut, positions]).tolist())


def test_a_row_alone_is_as_among_others_and_its_bytes_are_always_the_same():
    scores, lengths = zipf(400, seed=3), [150, 1, 0, 249]
    values = sparse.encode(select(scores, KEEP), lengths, book())
    together, at = sparse.decode(values, book()), 0
    for value, length in zip(values, lengths):
        alone = sparse.decode([value], book())
        assert pairs(alone.ids, alone.logprobs) == pairs(together.ids[at : at + length], together.logprobs[at : at + length])
        assert alone.tail.tolist() == together.tail[at : at + length].tolist()
        assert sparse.encode(select(scores[at : at + length], KEEP), [length], book()) == [value]
        at += length
    backwards = sparse.decode(values[::-1], book())
    assert backwards.lengths.tolist() == lengths[::-1]


def test_another_process_writes_the_same_bytes():
    script = (
        "import hashlib; from tests.labels.tokens.made import *; from potstill.labels.tokens import select, sparse\n"
        "print(hashlib.sha256(book().data + b''.join(sparse.encode(select(zipf(50, 4), KEEP), [20, 30], book()))).hexdigest())"
    )
    told = {subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(told) == 1


def test_damaged_bytes_are_refused():
    value, chance = sparse.encode(select(zipf(60, seed=5), KEEP), [60], book())[0], random.Random(0)
    for size in [*range(0, 40), *chance.sample(range(len(value)), 60)]:
        with pytest.raises(StoreError):
            sparse.decode([value[:size]], book())
    for _ in range(400):
        spoilt = bytearray(value)
        for _ in range(chance.randint(1, 4)):
            spoilt[chance.randrange(len(spoilt))] ^= chance.randint(1, 255)
        if spoilt != value:
            with pytest.raises(StoreError):
                sparse.decode([bytes(spoilt)], book())
    with pytest.raises(StoreError):
        sparse.decode([value + b"\0"], book())


def test_bytes_that_pass_their_check_and_are_not_ours_are_refused_or_in_range():
    from potstill.labels.tokens import frame

    chance = random.Random(1)
    value = sparse.encode(select(zipf(60, seed=5), KEEP), [60], book())[0]
    refused = 0
    for _ in range(300):
        body = bytearray(value[frame.HEADER.size :])
        body[chance.randrange(len(body))] ^= chance.randint(1, 255)
        try:
            rows = sparse.decode([frame.close(b"s", book().id, chance.choice([60, 60, 61, 1000]), bytes(body))], book())
        except StoreError:
            refused += 1
        else:
            assert rows.ids.min() >= 0
            assert rows.ids.max() < VOCABULARY
    assert refused > 290


def test_a_codebook_is_read_back_and_another_is_refused():
    again = Codebook.read(book().data)
    assert again.data == book().data
    assert again.id == book().id
    value = sparse.encode(select(zipf(20, seed=6), KEEP), [20], book())[0]
    assert sparse.decode([value], again).ids.tolist() == sparse.decode([value], book()).ids.tolist()
    with pytest.raises(StoreError, match="codebook"):
        sparse.decode([value], book(KEEP, FINE))
    spoilt = bytearray(book().data)
    spoilt[50] ^= 1
    with pytest.raises(StoreError):
        Codebook.read(bytes(spoilt))


def test_what_is_not_in_the_codebook_is_refused():
    with pytest.raises(StoreError, match="not in the codebook"):
        sparse.encode(select(np.zeros((1, VOCABULARY)), Keep(1.0, 0.0, VOCABULARY)), [1], book())


@pytest.mark.parametrize("scores", [np.full((1, 5), np.nan), np.array([[0.0, INF]]), np.full((1, 5), -INF), np.zeros((2, 0)), np.zeros(3)])
def test_scores_that_say_nothing_are_refused(scores):
    with pytest.raises(StoreError):
        select(scores, KEEP)


def test_fewer_bytes_than_plain_and_the_error_is_the_tails():
    from potstill.labels.tokens.error import full_kl

    scores = zipf(1000, seed=7)
    top = select(scores, KEEP)
    rows = sparse.decode(sparse.encode(top, [1000], book()), book())
    plain, ids = np.full(rows.ids.shape, -INF), np.zeros_like(rows.ids)
    inside = np.arange(plain.shape[1]) < top.k[:, None]
    plain[inside], ids[inside] = top.logprobs, top.ids
    assert sum(map(len, sparse.encode(top, [1000], book()))) < 2 * len(top.ids)  # plain: two bytes of id, two of log-probability
    ours, exact = full_kl(scores, rows.ids, rows.logprobs, rows.tail).mean(), full_kl(scores, ids, plain, top.tail).mean()
    assert exact <= ours < exact + 0.01
