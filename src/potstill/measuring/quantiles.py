"""Quantiles of times with order-statistic intervals: no assumption about their distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

LEAST = {"p50": 200, "p95": 200, "p99": 1000}  # calls under which a quantile is not given
Z = 1.959964  # two-sided 95 %


def quantile(times: Sequence[float], share: float) -> dict[str, float]:
    """Return {value, low, high, n}: the bounds are the order statistics that hold the quantile with 95 % (normal approximation of the binomial ranks)."""
    ordered, n = sorted(times), len(times)
    reach = Z * math.sqrt(n * share * (1 - share))
    low, high = (min(n - 1, max(0, rank)) for rank in (math.floor(n * share - reach), math.ceil(n * share + reach)))
    return {"value": ordered[min(n - 1, math.ceil(n * share) - 1)], "low": ordered[low], "high": ordered[high], "n": n}


def latency(times_ms: Sequence[float]) -> dict[str, Any]:
    """Return p50, p95, p99 of single calls; None for those that so few calls can't tell."""
    return {name: quantile(times_ms, int(name[1:]) / 100) if len(times_ms) >= least else None for name, least in LEAST.items()}


def ratio(firsts: Sequence[float], seconds: Sequence[float]) -> dict[str, float]:
    """Return {value, low, high, n} of the geometric mean of paired ratios first / second: two-sided 95 % t interval of their logarithms."""
    logs = [math.log(a / b) for a, b in zip(firsts, seconds)]
    n = len(logs)
    mean = sum(logs) / n
    error = math.sqrt(sum((x - mean) ** 2 for x in logs) / max(1, n - 1) / n)
    reach = T975.get(n - 1, 2.0) * error
    return {"value": math.exp(mean), "low": math.exp(mean - reach), "high": math.exp(mean + reach), "n": n}


T975 = {
    1: 12.706,
    2: 4.303,
    3: 3.182,
    4: 2.776,
    5: 2.571,
    6: 2.447,
    7: 2.365,
    8: 2.306,
    9: 2.262,
    10: 2.228,
    11: 2.201,
    12: 2.179,
    15: 2.131,
    20: 2.086,
}
