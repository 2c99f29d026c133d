"""Rows that wait for a worker: bounded by count and by time, joined into batches, dropped where nobody waits for them any more.

All state belongs to the event loop's thread; workers are threads that ONNX Runtime keeps busy outside of Python's lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

Row = Mapping[str, str]
SMOOTH = 0.1  # the weight of the last call in the running mean of seconds a row
AT_ONCE_S = 0.005  # a call this short may run in the event loop's own thread: to hand it to another and back takes a good part of it
SLICE_S = 0.05  # such calls may hold the loop together for as long as it had for all else, at most this


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


@dataclass
class Scheduler:
    """``workers`` threads' worth of calls at a time. See :class:`Settings` for the bounds.

    ``alone``: there is one core for all of this, so that short calls gain nothing from a thread of their own. They run in slices, between
    which the loop reads what has come in, and tells who comes too late so. Each side gets as long as the other took: to refuse thousands
    must not starve those who were let in.
    """

    workers: int
    max_queue: int
    max_wait_s: float
    alone: bool = False
    waiting: deque[Job] = field(default_factory=deque)
    calls: int = 0  # that run
    due: deque[Callable[[], None]] = field(default_factory=deque)  # short calls, for the next slice
    rested: float = 0.0  # when the last slice ended
    busy: int = 0  # threads
    waiting_rows: int = 0
    running_rows: int = 0
    row_seconds: dict[int, float] = field(default_factory=dict)  # by the model's id, a running mean
    clock: Callable[[], float] = time.monotonic
    slicing: bool = False

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(self.workers, thread_name_prefix="infer")

    async def submit(self, model: Runs, rows: Sequence[Row]) -> Scored:
        """Return the rows' scores. Raises :class:`Busy` at once, or after the longest wait; cancelled, it takes its rows along."""
        wait = self._expected_wait()
        if self.waiting_rows and self.waiting_rows + len(rows) > self.max_queue:
            raise Busy(max(1, math.ceil(wait)), f"{self.waiting_rows:,} rows wait, {self.max_queue:,} may")
        if wait > self.max_wait_s:
            raise Busy(max(1, math.ceil(wait - self.max_wait_s)), f"the wait is about {wait:.1f} s, {self.max_wait_s:g} s is the most")
        loop = asyncio.get_running_loop()
        job = Job(model, rows, loop.create_future(), self.clock())
        self.waiting.append(job)
        self.waiting_rows += len(rows)
        self._start()
        late = loop.call_later(self.max_wait_s, self._too_late, job)
        try:
            return await job.answer
        except asyncio.CancelledError:
            job.gone = True
            self._forget(job)
            raise
        finally:
            late.cancel()

    def _too_late(self, job: Job) -> None:
        """Tell a job that still waits that it waited long enough; no-op for one that runs."""
        if self._forget(job) and not job.answer.done():
            job.answer.set_exception(Busy(max(1, math.ceil(self._expected_wait())), f"waited {self.max_wait_s:g} s, the most that may be"))

    def _forget(self, job: Job) -> bool:
        """Take a job out of the queue; return whether it stood there."""
        try:
            self.waiting.remove(job)
        except ValueError:  # it runs, or has run
            return False
        self.waiting_rows -= len(job.rows)
        return True

    def _expected_wait(self) -> float:
        """Return how long a new row would wait: what is before it, by what rows have taken lately."""
        if self.busy < self.workers:
            return 0.0
        ahead = sum(len(job.rows) * self._pace(job.model) * self._room(job.model) for job in self.waiting)
        return ahead / self.workers

    def _room(self, model: Runs) -> int:
        return min(model.threads, self.workers)

    def _pace(self, model: Runs) -> float:
        return self.row_seconds.get(id(model), model.row_seconds)

    def _start(self) -> None:
        while self.waiting and self.busy + self._room(self.waiting[0].model) <= self.workers:
            self._run(self._next())

    def _next(self) -> list[Job]:
        """Take the first job, and later ones of its model as long as all fit one batch."""
        first = self.waiting[0]
        taken, size = [first], len(first.rows)
        for job in list(self.waiting)[1:]:
            if size >= first.model.batch:
                break
            if job.model is first.model and size + len(job.rows) <= first.model.batch:
                taken.append(job)
                size += len(job.rows)
        for job in taken:
            self._forget(job)
        return taken

    def _run(self, jobs: list[Job]) -> None:
        rows = sum(len(job.rows) for job in jobs)
        began = self.clock()
        self.running_rows += rows
        room, loop = self._room(jobs[0].model), asyncio.get_running_loop()
        self.busy += room
        self.calls += 1

        def done(finished: asyncio.Future[Any]) -> None:
            self.calls -= 1
            self.running_rows -= rows
            self.busy -= room
            self._settle(jobs, finished, began)
            self._start()

        if self.alone and rows * self._pace(jobs[0].model) <= AT_ONCE_S:
            self.due.append(lambda: done(_here(jobs, loop.create_future())))
            if len(self.due) == 1 and not self.slicing:
                loop.call_soon(self._slice)
        else:
            loop.run_in_executor(self.pool, _work, jobs).add_done_callback(done)

    def _slice(self) -> None:
        """Make short calls, one after the other, for as long as the loop had for all else."""
        began, self.slicing = self.clock(), True
        until = began + min(max(AT_ONCE_S, began - self.rested), SLICE_S)
        try:
            while self.due:
                self.due.popleft()()  # which lets the next that waits be due
                if self.clock() >= until:
                    break
        finally:
            self.slicing, self.rested = False, self.clock()
        if self.due:
            asyncio.get_running_loop().call_soon(self._slice)

    def _settle(self, jobs: list[Job], finished: asyncio.Future[Any], began: float) -> None:
        error = asyncio.CancelledError() if finished.cancelled() else finished.exception()
        if error is not None and len(jobs) > 1:  # one of them is to blame, and the others must not suffer from its company
            for job in jobs:
                if not job.answer.done():
                    self._run([job])
            return
        if error is not None:
            for job in jobs:
                if not job.answer.done():
                    job.answer.set_exception(error)
            return
        found, tokenize_s, infer_s = finished.result()
        if found is None:  # all of them are gone
            return
        model, rows = jobs[0].model, sum(len(job.rows) for job in jobs)
        pace = (tokenize_s + infer_s) / rows
        self.row_seconds[id(model)] = (1 - SMOOTH) * self._pace(model) + SMOOTH * pace
        start = 0
        for job in jobs:
            if not job.answer.done():
                job.answer.set_result(Scored(found[start : start + len(job.rows)], began - job.since, tokenize_s, infer_s))
            start += len(job.rows)

    def forget_model(self, model: Runs) -> None:
        self.row_seconds.pop(id(model), None)

    async def drained(self) -> None:
        """Return when nothing waits and nothing runs."""
        while self.waiting or self.calls:
            await asyncio.sleep(0.01)

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)


def _here(jobs: list[Job], found: asyncio.Future[Any]) -> asyncio.Future[Any]:
    """Do the jobs' work now, and return ``found`` with what came of it."""
    try:
        found.set_result(_work(jobs))
    except Exception as error:  # whatever it is, it is those jobs' answer
        found.set_exception(error)
    return found


def _work(jobs: list[Job]) -> tuple[np.ndarray | None, float, float]:
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
