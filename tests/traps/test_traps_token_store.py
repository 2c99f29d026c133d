"""Traps in keeping what a language model said of each token."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.errors import StoreError
from potstill.labels.tokens import Keep, given, sampled, select, sparse
from tests.labels.tokens.made import INF, KEEP, VOCABULARY, adversarial, book, zipf


def kept(rows: sparse.Rows, i: int) -> set[int]:
    return set(rows.ids[i][np.isfinite(rows.logprobs[i])].tolist())


def test_trap_43_each_row_meets_its_own_tokens_in_any_order():
    scores, order = zipf(90, seed=11), [2, 0, 1]
    spans = [slice(0, 20), slice(20, 23), slice(23, 90)]
    values = [sparse.encode(select(scores[span], KEEP), [span.stop - span.start], book())[0] for span in spans]
    rows, at = sparse.decode([values[i] for i in order], book()), 0
    for i in order:
        top, end = select(scores[spans[i]], KEEP), 0
        for j in range(spans[i].stop - spans[i].start):
            assert kept(rows, at + j) == set(top.ids[end : end + top.k[j]].tolist())
            end += top.k[j]
        at += spans[i].stop - spans[i].start


def test_trap_43_draws_hang_on_what_the_row_is_not_on_when_it_is_asked():
    assert (sampled.starts(b"row", 9) == sampled.starts(b"row", 9)).all()
    assert (sampled.starts(b"row", 9) != sampled.starts(b"other", 9)).all()


def test_trap_44_rows_are_read_with_the_codebook_that_wrote_them():
    other = book(KEEP, vocabulary=VOCABULARY - 1)
    value = sparse.encode(select(zipf(10, seed=12), KEEP), [10], book())
    with pytest.raises(StoreError, match="codebook"):
        sparse.decode(value, other)


def test_trap_45_positions_stand_where_they_stood():
    scores = np.full((300, VOCABULARY), -INF)
    said = np.random.default_rng(0).integers(0, VOCABULARY, 300)
    scores[np.arange(300), said] = 0.0  # each position names one token: a slice that is one off shows at once
    rows = sparse.decode(sparse.encode(select(scores, KEEP), [299, 1], book()), book())
    assert rows.ids[:, 0].tolist() == said.tolist()


def test_trap_46_fewer_than_k_and_minus_infinity():
    # a server fills up what it lacks with an id that is none
    top = given([[7, -1, 9], [4]], [[-0.5, -INF, -1.5], [-0.1]], VOCABULARY, KEEP)
    rows = sparse.decode(sparse.encode(top, [2], book()), book())
    assert kept(rows, 0) == {7, 9}
    assert kept(rows, 1) == {4}
    assert rows.ids.min() >= 0
    assert rows.ids.max() < VOCABULARY
    assert np.isfinite(rows.tail).all()
    assert rows.logprobs[0, :2].tolist() == pytest.approx([-0.5, -1.5], abs=0.25)
    assert rows.tail[0] == pytest.approx(1 - np.exp(-0.5) - np.exp(-1.5), abs=0.02)


@pytest.mark.parametrize("keep", [KEEP, Keep(1.0, 0.0, 64), Keep(0.5, 0.0, 1)])
def test_trap_47_kept_mass_is_at_most_1(keep):
    for scores in (zipf(500, seed=13), zipf(500, seed=14, temper=20.0), adversarial()):
        codebook = book(keep)
        rows = sparse.decode(sparse.encode(select(scores, keep), [len(scores)], codebook), codebook)
        mass = np.exp(rows.logprobs.astype(np.float64)).sum(1) + rows.tail.astype(np.float64)
        assert mass.max() <= 1
        assert mass.min() > 1 - 1e-5
