"""How many rows in a call, how many threads, and what a call costs by itself: measured on the machine that serves, on the rows that came with
the bundle."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

BATCHES = (1, 4, 8, 32)
SECONDS, TURNS = 0.25, 2  # of measurement for each way; in so many turns, the better one counts: what else the machine does must not decide
SAMPLE = 64  # rows, of all lengths, that each way is measured on
MOST = 0.95  # of a single row's time, taken to be its call's: more is not told apart from all
STEP = 0.618  # of what is measured, the next lies so far on: wherever time ends, all lengths had their share
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

    @property
    def worth(self) -> float:
        """How much padding a call that is saved is worth, by the length of a middling row: what a call costs by itself over what a row costs."""
        alone = next((way for way in self.tried if (way.threads, way.batch) == (self.chosen.threads, 1)), self.chosen)
        if self.chosen.rows_per_s <= alone.rows_per_s:
            return 0.0
        fixed = (1 - alone.rows_per_s / self.chosen.rows_per_s) / (1 - 1 / self.chosen.batch)  # of the time of a row alone
        return min(fixed, MOST) / (1 - min(fixed, MOST))

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

    ``rows``, the shortest first, share calls with their neighbors. ``batch`` given: it is taken, and only it and single rows are measured.
    """
    tried, rows = [], [rows[place * len(rows) // SAMPLE] for place in range(SAMPLE)]
    for count in threads:
        predictor = open_with(count)
        sizes = tuple(dict.fromkeys((1, batch))) if batch else tuple(size for size in BATCHES if size <= (predictor.max_batch or size))
        workers = max(1, slots // count)
        turns = [[_rate(predictor, rows, size, workers, seconds / TURNS) for size in sizes or (1,)] for _ in range(TURNS)]
        tried += [Way(count, size, workers, max(rates)) for size, rates in zip(sizes or (1,), zip(*turns))]
    chosen, *others = [way for way in tried if way.batch == (batch or way.batch)]
    for way in others:
        if way.rows_per_s > WORTH * chosen.rows_per_s:
            chosen = way
    return Tuned(chosen, tuple(tried))


def _rate(predictor: Answers, rows: Sequence[Mapping[str, str]], size: int, workers: int, seconds: float) -> float:
    """Return the rows a second of so many workers together."""
    starts = range(0, max(1, len(rows) - size + 1), size)
    step = round(STEP * len(starts)) or 1
    while math.gcd(step, len(starts)) > 1:
        step += 1

    def work(first: int) -> int:
        calls = 0
        while calls < 2 or time.perf_counter() < end:
            begin = starts[(first + calls * step) % len(starts)]
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
