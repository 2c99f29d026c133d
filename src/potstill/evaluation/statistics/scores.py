"""A quality on validation rows with its standard error: what may choose between weights, and how surely."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...contracts import Metric
from .bootstrap import by_group


class Score(NamedTuple):
    """A quality, higher better, and its standard error."""

    value: float
    error: float = 0.0


def score(metric: Metric, gold: np.ndarray, logprobs: np.ndarray, groups: np.ndarray | None = None) -> Score:
    """Return the metric, a loss turned over, and its jackknife standard error over rows, or over groups where there are some.

    *Shapes:* gold (rows,), log-probabilities (rows, classes), groups integers (rows,). The error of a single unit is 0: it can't be told.
    """
    found = _jackknife(metric.statistics(gold, logprobs), metric.combine, groups)
    return found if metric.higher_is_better else found._replace(value=-found.value)


def share(hits: np.ndarray, groups: np.ndarray | None = None) -> Score:
    """Return the share of ``hits``, *Shape:* bool (rows,), as :func:`score` does a metric."""
    return _jackknife(np.stack([hits, np.ones(len(hits))], axis=1).astype(np.float64), lambda sums: sums[..., 0] / sums[..., 1], groups)


def _jackknife(statistics: np.ndarray, combine: Callable[[np.ndarray], np.ndarray], groups: np.ndarray | None) -> Score:
    units = by_group(statistics, groups)
    total, count = units.sum(axis=0), len(units)
    if count < 2:
        return Score(float(combine(total)))
    left = combine(total - units)
    return Score(float(combine(total)), math.sqrt((count - 1) / count * float(((left - left.mean()) ** 2).sum())))
