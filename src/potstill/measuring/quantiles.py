"""Quantiles of times with order-statistic intervals: no assumption about their distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

LEAST = {"p50": 200, "p95": 200, "p99": 1000}  # calls under which a quantile is not given
TWO_SIDED = 0.025  # in each tail


def quantile(times: Sequence[float], share: float) -> dict[str, float]:
    """Return {value, low, high, n} of the ``share``-quantile: the bounds are the order statistics that hold it with at least 95 %.

    David and Nagaraja 2003, "Order Statistics", section 7.1. Where the sample has no such order statistic, its end stands in.
    """
    ordered, n = sorted(times), len(times)
    low, high = rank_below(n, share, TWO_SIDED), rank_above(n, share, TWO_SIDED)
    return {"value": ordered[math.ceil(n * share) - 1], "low": ordered[low - 1], "high": ordered[high - 1], "n": n}


def upper_bound(times: Sequence[float], share: float, alpha: float) -> float:
    """Return the order statistic that the ``share``-quantile exceeds with probability at most ``alpha``; infinite where there is none."""
    n = len(times)
    return math.inf if share**n > alpha else sorted(times)[rank_above(n, share, alpha) - 1]


def rank_above(n: int, share: float, alpha: float) -> int:
    """Return the least rank r in 1..n with P(quantile > X(r)) = P(Binomial(n, share) >= r) <= ``alpha``; n where there is none."""
    tail = 1 - _cumulative(n, share)  # tail[k] = P(more than k)
    found = np.flatnonzero(tail <= alpha + 1e-12)
    return min(n, int(found[0]) + 1)


def rank_below(n: int, share: float, alpha: float) -> int:
    """Return the greatest rank r in 1..n with P(quantile < X(r)) <= P(Binomial(n, share) < r) <= ``alpha``; 1 where there is none."""
    return max(1, int((_cumulative(n, share) <= alpha + 1e-12).sum()))


def _cumulative(n: int, share: float) -> np.ndarray:
    """Return P(Binomial(n, share) <= k) for k = 0..n."""
    k = np.arange(n + 1)
    choose = np.concatenate([[0.0], np.cumsum(np.log((n - k[1:] + 1) / k[1:]))])
    cumulative: np.ndarray = np.minimum(1.0, np.cumsum(np.exp(choose + k * math.log(share) + (n - k) * math.log1p(-share))))
    return cumulative


def latency(times_ms: Sequence[float]) -> dict[str, Any]:
    """Return p50, p95, p99 of single calls; None for those that so few calls can't tell."""
    return {name: quantile(times_ms, int(name[1:]) / 100) if len(times_ms) >= least else None for name, least in LEAST.items()}


def ratio(firsts: Sequence[float], seconds: Sequence[float]) -> dict[str, float]:
    """Return {value, low, high, n} of the geometric mean of paired ratios first / second: two-sided 95 % t interval of their logarithms."""
    logs = np.log(np.asarray(firsts, float) / np.asarray(seconds, float))
    n = len(logs)
    mean, reach = float(logs.mean()), T975[n - 2] * float(logs.std(ddof=1)) / math.sqrt(n)
    return {"value": math.exp(mean), "low": math.exp(mean - reach), "high": math.exp(mean + reach), "n": n}


# 97.5 % points of Student's t for 1..30 degrees of freedom; rounds are never more.
T975 = (
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139,
    2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963,
    2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272,
)  # fmt: skip
