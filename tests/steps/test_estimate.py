"""The estimate of a bill: its interval holds what it promises."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.steps.estimate import in_words, predicted


def test_by_hand():
    found = predicted([1.0, 1.0, 1.0, 1.0], 100)
    assert (found.value, found.low, found.high, found.n) == (100.0, 100.0, 100.0, 4)
    found = predicted([1.0, 2.0, 3.0], 10)
    assert found.value == 20.0
    assert found.high - found.value == pytest.approx(4.3027 * 1.0 * np.sqrt(100 / 3 + 10), rel=1e-4)
    assert predicted([1.0, 9.0], 1000).low == 0.0  # never below nothing


@pytest.mark.parametrize("values", [[], [2.0]])
def test_too_few_calls_tell_next_to_nothing(values):
    found = predicted(values, 10)
    assert found.low == 0.0
    assert "too few" in found.method


def test_nineteen_of_twenty_bills_are_in_it():
    """Rows as long as texts are: lognormal; 500 probes of 20 rows, each against the bill of 1,000 others."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(500):
        prices = rng.lognormal(4, 0.5, size=1020)
        found = predicted(prices[:20].tolist(), 1000)
        inside += found.low <= prices[20:].sum() <= found.high
    assert inside / 500 > 0.9


def test_it_is_said_with_its_interval():
    usd, tokens = ({"value": v, "low": v / 2, "high": v * 2} for v in (4.2, 1e6))
    said = in_words({"rows": 1234, "usd": usd, "tokens": tokens, "probed": 20})
    assert "1,234 rows will cost about 4.2000 USD (2.1000 to 8.4000)" in said
