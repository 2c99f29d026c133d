"""Two arms turn by turn in one process, by CPU time: whatever else the machine does falls on both alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from potstill.measuring.quantiles import T975

Arm = Callable[[int], object]  # takes its turn number k


def alternate(arms: Mapping[str, Arm], turns: int, *, warm: int = 2) -> dict[str, list[float]]:
    """Return each arm's CPU seconds, turn by turn; the first ``warm`` turns are not counted, who begins changes with every turn."""
    spent: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(turns + warm):
        for name in arms if number % 2 else reversed(arms):
            began = time.process_time()
            arms[name](number)
            if number >= warm:
                spent[name].append(time.process_time() - began)
    return spent


def ratio(slow: Sequence[float], fast: Sequence[float]) -> dict[str, Any]:
    """Return how many times ``slow`` takes what ``fast`` does: the geometric mean over pairs, its 95 % t interval, and the quartiles."""
    logs = [math.log(a / b) for a, b in zip(slow, fast, strict=True)]
    n, center = len(logs), statistics.mean(logs)
    reach = (T975[n - 2] if n - 2 < len(T975) else 2.0) * statistics.stdev(logs) / math.sqrt(n)
    return {
        "value": round(math.exp(center), 4), "low": round(math.exp(center - reach), 4), "high": round(math.exp(center + reach), 4),
        "quartiles": [round(math.exp(value), 4) for value in statistics.quantiles(logs, n=4)], "pairs": n,
        "of_sums": round(sum(slow) / sum(fast), 4),
    }  # fmt: skip


def milliseconds(seconds: Sequence[float], units: int = 1) -> float:
    """Return the median of a turn in milliseconds a unit."""
    return round(1e3 * statistics.median(seconds) / units, 2)
