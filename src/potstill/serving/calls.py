"""Short calls: what runs them, what waits, what comes of it; and the work itself, in whoever's thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Row = Mapping[str, str]
SHORT = 2_000  # characters of a job that may have company: to read them takes the event loop's thread well below a millisecond


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

    @property
    def worth(self) -> float:
        """How much padding a call that is saved is worth, in units of length: see :func:`tuning.worth`."""

    def length(self, item: Any) -> int:
        """What an item's cost grows with."""

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
    """A request's rows, waiting. ``gone``: nobody waits for the answer any more; a worker looks at it between batches.

    ``items``: the rows, encoded, where that was needed before their turn; ``length`` is then the longest's. ``apart``: no company is sought for it.
    """

    model: Runs
    rows: Sequence[Row]
    answer: asyncio.Future[Scored]
    since: float
    gone: bool = False
    apart: bool = False
    items: list[Any] | None = None
    length: int = 0
    tokenize_s: float = 0.0

    def short(self) -> bool:
        return sum(len(text) for row in self.rows for text in row.values()) <= SHORT


def encode(jobs: Sequence[Job]) -> None:
    """Encode short jobs of one model, together; the others, and what can't be read, stay ``apart``: their own call says what is wrong."""
    for job in jobs:
        job.apart = not job.short()
    jobs = [job for job in jobs if not job.apart]
    if not jobs:
        return
    model, began = jobs[0].model, time.perf_counter()
    try:
        items = model.encode([row for job in jobs for row in job.rows])
    except Exception:
        for job in jobs:
            job.apart = len(jobs) == 1
            if not job.apart:
                encode([job])
        return
    took, start = time.perf_counter() - began, 0
    for job in jobs:
        job.items = items[start : start + len(job.rows)]
        start += len(job.rows)
        job.length, job.tokenize_s = max(map(model.length, job.items)), took * len(job.rows) / len(items)


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
    before = sum(job.tokenize_s for job in jobs)
    items = [item for job in jobs for item in (model.encode(job.rows) if job.items is None else job.items)]
    encoded = time.perf_counter()
    parts = []
    for start in range(0, len(items), model.batch):
        if all(job.gone for job in jobs):
            return None, 0.0, 0.0
        parts.append(model.run(items[start : start + model.batch]))
    return np.concatenate(parts), before + encoded - began, time.perf_counter() - encoded
