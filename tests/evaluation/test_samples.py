from __future__ import annotations

import numpy as np
import pytest

from potstill.evaluation.samples import agreement, in_words


def logs(shares):
    return np.log(np.maximum(np.array(shares, np.float64), 1e-6)).astype(np.float32)


def test_by_hand():
    found = agreement(logs([[1, 0, 0], [0.75, 0.25, 0], [0.5, 0.5, 0]]), 4)
    assert found["rows"] == 3
    assert found["agreement"] == pytest.approx((1 + 3 / 6 + 2 / 6) / 3)
    assert found["ceiling"] == pytest.approx((1 + 0.75 + 0.0) / 3)  # of two and two, the other three always vote against the one left out
    assert "61.1%" in in_words(found)


def test_against_drawing_samples():
    rng = np.random.default_rng(0)
    p, n = np.array([0.6, 0.3, 0.1]), 9
    shares = rng.multinomial(n, p, size=4000) / n
    found = agreement(logs(shares), n)
    assert found["agreement"] == pytest.approx((p**2).sum(), abs=0.01)
    others, fresh = rng.multinomial(n - 1, p, size=4000), rng.choice(3, size=4000, p=p)
    tied = others == others.max(axis=1, keepdims=True)
    assert found["ceiling"] == pytest.approx((tied[np.arange(4000), fresh] / tied.sum(axis=1)).mean(), abs=0.03)


def test_rows_that_are_no_shares_are_left_out():
    rows = logs([[0.5, 0.5], [1 / 3, 2 / 3]])
    assert agreement(rows, 2)["rows"] == 1
    assert agreement(np.full((2, 2), np.nan, np.float32), 2)["agreement"] is None
    assert "no validation row" in in_words(agreement(np.full((2, 2), np.nan, np.float32), 2))
