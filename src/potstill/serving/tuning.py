"""How many rows in a call, and how many threads: measured on the machine that serves, on the rows that came with the bundle."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

BATCHES = (1, 8, 32)
SECONDS = 0.25  # of measurement for each way
WORTH = 1.10  # a way must be so many times as fast as a plainer one: fewer rows in a call, and fewer threads, answer a single row sooner or cost less


class Answers(Protocol):
    """What is measured: a predictor."""

    @property
    def max_batch(self) -> int | None: ...

    def predict(self, rows: Sequence[Mapping[str, str]], *, batch_size: int) -> Any: ...


@dataclass(frozen=True)
class Way:
    """``threads`` for each call, ``batch`` rows in it, as many calls at a time as there is room for; ``rows_per_s`` in all."""

    threads: int
    batch: int
    workers: int
    rows_per_s: float

    def told(self) -> str:
        return f"{self.threads} x {self.batch}: {self.rows_per_s:,.0f}"


@dataclass(frozen=True)
class Tuned:
    """The way that was chosen, and all that were tried."""

    chosen: Way
    tried: tuple[Way, ...]

    @property
    def row_seconds(self) -> float:
        """How long a row takes one worker."""
        return self.chosen.workers / self.chosen.rows_per_s

    def told(self) -> str:
        """Return the measurement in words."""
        ways = ", ".join(way.told() for way in self.tried)
        return f"{self.chosen.threads} thread{'s' * (self.chosen.threads > 1)} a call, batches of {self.chosen.batch} (threads x rows, rows/s in all: {ways})"


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tune(
    open_with: Callable[[int], Answers], rows: Sequence[Mapping[str, str]], *, slots: int, threads: Sequence[int] = (1,), batch: int | None = None,
    seconds: float = SECONDS,
) -> Tuned:  # fmt: skip
    """Measure each number of ``threads`` at each size of batch, with ``slots`` threads busy in all; return the plainest that none beats by ``WORTH``.

    ``batch`` given: only that size is measured.
    """
    tried = []
    for count in threads:
        predictor = open_with(count)
        sizes = (batch,) if batch else tuple(size for size in BATCHES if size <= (predictor.max_batch or size))
        workers = max(1, slots // count)
        tried += [Way(count, size, workers, _rate(predictor, rows, size, workers, seconds)) for size in sizes or (1,)]
    chosen = tried[0]
    for way in tried[1:]:
        if way.rows_per_s > WORTH * chosen.rows_per_s:
            chosen = way
    return Tuned(chosen, tuple(tried))


def _rate(predictor: Answers, rows: Sequence[Mapping[str, str]], size: int, workers: int, seconds: float) -> float:
    """Return the rows a second of so many workers together."""

    def work(first: int) -> int:
        calls = 0
        while calls < 2 or time.perf_counter() < end:
            begin = first + calls * size
            predictor.predict([rows[(begin + i) % len(rows)] for i in range(size)], batch_size=size)
            calls += 1
        return calls * size

    end = 0.0
    work(0)  # warm: memory is taken at the first call of a shape
    began = time.perf_counter()
    end = began + seconds
    with ThreadPoolExecutor(workers) as pool:
        done = sum(pool.map(work, range(workers)))
    return done / (time.perf_counter() - began)
