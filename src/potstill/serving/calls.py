"""Short calls: what runs them, what waits, what comes of it; and the work itself, in whoever's thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Row = Mapping[str, str]


class Runs(Protocol):
    """What the scheduler runs: rows in, scores out, in two steps that are timed apart."""

    @property
    def batch(self) -> int:
        """How many rows may share a call."""

    @property
    def threads(self) -> int:
        """How many threads a call keeps busy: so many workers' room it takes."""

    @property
    def row_seconds(self) -> float:
        """How long a row takes a worker, about: measured at the start."""

    def encode(self, rows: Sequence[Row]) -> list[Any]: ...

    def run(self, items: Sequence[Any]) -> np.ndarray: ...


class Busy(Exception):
    """The queue is full, or the wait would be too long; ``retry_after`` in whole seconds."""

    def __init__(self, retry_after: int, why: str) -> None:
        self.retry_after, self.why = retry_after, why
        super().__init__(why)


@dataclass(frozen=True)
class Scored:
    """Scores *Shape:* (rows, width) float32, and where the time went, in seconds."""

    scores: np.ndarray
    queue_s: float
    tokenize_s: float
    infer_s: float


@dataclass(eq=False)
class Job:
    """A request's rows, waiting. ``gone``: nobody waits for the answer any more; a worker looks at it between batches."""

    model: Runs
    rows: Sequence[Row]
    answer: asyncio.Future[Scored]
    since: float
    gone: bool = False


def here(jobs: list[Job], found: asyncio.Future[Any]) -> asyncio.Future[Any]:
    """Do the jobs' work now, and return ``found`` with what came of it."""
    try:
        found.set_result(work(jobs))
    except Exception as error:  # whatever it is, it is those jobs' answer
        found.set_exception(error)
    return found


def work(jobs: list[Job]) -> tuple[np.ndarray | None, float, float]:
    """Return the jobs' scores one after the other, and the seconds of both steps; None where everyone has left. In a worker's thread."""
    model = jobs[0].model
    began = time.perf_counter()
    if all(job.gone for job in jobs):
        return None, 0.0, 0.0
    items = model.encode([row for job in jobs for row in job.rows])
    encoded = time.perf_counter()
    parts = []
    for start in range(0, len(items), model.batch):
        if all(job.gone for job in jobs):
            return None, 0.0, 0.0
        parts.append(model.run(items[start : start + model.batch]))
    return np.concatenate(parts), encoded - began, time.perf_counter() - encoded
