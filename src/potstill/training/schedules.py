"""Learning rates as functions of the step."""

from __future__ import annotations


def linear(step: int, *, steps: int, warmup: float) -> float:
    """Return the share of the learning rate at ``step`` (from 0): up to 1 over the ``warmup`` share of ``steps``, then down to 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (steps - step) / max(1, steps - rise))
