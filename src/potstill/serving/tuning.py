"""How many workers, and how many rows in a call: measured on the machine that serves, on the rows that came with the bundle."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .predictor import Predictor

BATCHES = (1, 8, 32)
SECONDS = 0.25  # of measurement for each size
WORTH = 1.10  # a batch must be so many times as fast as the smaller one before a row is made to share a call


@dataclass(frozen=True)
class Tuned:
    """``batch``: rows in a call; ``rows_per_s`` of one worker at each size that was tried; ``row_seconds``: at the one that was chosen."""

    batch: int
    rows_per_s: Mapping[int, float]

    @property
    def row_seconds(self) -> float:
        return 1 / self.rows_per_s[self.batch]

    def told(self) -> str:
        """Return the measurement in words."""
        return f"batches of {self.batch} (" + ", ".join(f"{size}: {rate:,.0f} rows/s" for size, rate in self.rows_per_s.items()) + ")"


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tune(predictor: Predictor, rows: Sequence[Mapping[str, str]], *, batch: int | None = None, seconds: float = SECONDS) -> Tuned:
    """Measure one worker, of one thread, at each size of batch; return the smallest that no larger one beats by ``WORTH``.

    ``batch`` given: only that is measured. One thread a worker: threads that share one small product cost more than they bring, and a
    core a request keeps the cores busy all the same (measured: docs/benchmarks.md, the bundle's throughput).
    """
    sizes = (batch,) if batch else tuple(size for size in BATCHES if size <= (predictor.max_batch or size))
    rates = {size: _rate(predictor, rows, size, seconds) for size in sizes or (1,)}
    chosen = min(rates)
    for size, rate in rates.items():
        if rate > WORTH * rates[chosen]:
            chosen = size
    return Tuned(chosen, rates)


def _rate(predictor: Predictor, rows: Sequence[Mapping[str, str]], size: int, seconds: float) -> float:
    batch = [rows[i % len(rows)] for i in range(size)]
    predictor.predict(batch, batch_size=size)  # warm: memory is taken at the first call of a shape
    began, calls = time.perf_counter(), 0
    while calls < 3 or time.perf_counter() - began < seconds:
        shift = calls * size
        predictor.predict([rows[(shift + i) % len(rows)] for i in range(size)], batch_size=size)
        calls += 1
    return calls * size / (time.perf_counter() - began)
