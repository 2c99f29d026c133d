"""The learning rate rises in a line, falls in a line, and ends at nothing."""

from __future__ import annotations

import pytest

from potstill.training.schedules import linear


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.06), (100, 0.0), (10, 0.5), (1, 0.06), (3, 1.0)])
def test_it_rises_then_falls_and_is_never_nothing_while_there_is_a_step_to_take(steps, warmup):
    rates = [linear(step, steps=steps, warmup=warmup) for step in range(steps)]
    top = rates.index(max(rates))
    assert max(rates) == 1
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert min(rates) > 0
    assert top == max(0, round(warmup * steps) - 1)
