"""Rows that wait for a worker: bounded by count and by time, joined into batches of like length, dropped where nobody waits for them any more.

All state belongs to the event loop's thread; workers are threads that ONNX Runtime keeps busy outside of Python's lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np

Row = Mapping[str, str]
SMOOTH = 0.1  # the weight of the last call in the running mean of seconds a row
AT_ONCE_S = 0.005  # a call this short may run in the event loop's own thread: to hand it to another and back takes a good part of it
SLICE_S = 0.05  # such calls may hold the loop together for as long as it had for all else, at most this
LOOKED = 64  # jobs, the oldest, among which the first one's company is sought
SHORT = 2_000  # characters of a job that may have company: to read them takes the event loop's thread well below a millisecond
STRETCHED = 20.0  # the most that the time beside calls is taken to stretch a wait by


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
    ahead: Counter[Runs] = field(default_factory=Counter)  # rows that wait, by model
    row_seconds: dict[int, float] = field(default_factory=dict)  # by the model's id, a running mean
    stretch: float = 1.0  # while rows wait: the time from one call's end to the next one's by what the call took, a running mean
    ended: float | None = None  # when the last call ended, if rows waited then
    clock: Callable[[], float] = time.monotonic
    slicing: bool = False

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(self.workers, thread_name_prefix="infer")

    def check(self, rows: int = 1, unread_s: float = 0.0) -> None:
        """Raise :class:`Busy` where so many rows can't wait, or would wait too long; ``unread_s``: how long they may have waited to be read."""
        if self.waiting_rows and self.waiting_rows + rows > self.max_queue:
            raise Busy(max(1, math.ceil(self._expected_wait())), f"{self.waiting_rows:,} rows wait, {self.max_queue:,} may")
        if (wait := self._expected_wait() + 2 * unread_s if self.busy >= self.workers else 0.0) > self.max_wait_s:
            raise Busy(max(1, math.ceil(wait - self.max_wait_s)), f"the wait is about {wait:.1f} s, {self.max_wait_s:g} s is the most")

    async def submit(self, model: Runs, rows: Sequence[Row], unread_s: float = 0.0) -> Scored:
        """Return the rows' scores. Raises :class:`Busy` at once, or after the longest wait; cancelled, it takes its rows along.

        ``unread_s`` counts twice: as long as it took to read the request it may take until its answer is written.
        """
        self.check(len(rows), unread_s)
        loop = asyncio.get_running_loop()
        job = Job(model, rows, loop.create_future(), self.clock())
        self.waiting.append(job)
        self.waiting_rows += len(rows)
        self.ahead[model] += len(rows)
        self._start()
        late = loop.call_later(max(0.0, self.max_wait_s - 2 * unread_s), self._too_late, job)
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
        self.ahead[job.model] -= len(job.rows)
        if not self.ahead[job.model]:
            del self.ahead[job.model]
        return True

    def _expected_wait(self) -> float:
        """Return how long a new row would wait: what is before it, by what rows have taken lately."""
        if self.busy < self.workers:
            return 0.0
        ahead = sum(rows * self._pace(model) * self._room(model) for model, rows in self.ahead.items())
        return self.stretch * ahead / self.workers

    def _room(self, model: Runs) -> int:
        return min(model.threads, self.workers)

    def _pace(self, model: Runs) -> float:
        return self.row_seconds.get(id(model), model.row_seconds)

    def _start(self) -> None:
        while self.waiting and self.busy + self._room(self.waiting[0].model) <= self.workers:
            self._run(self._next())

    def _next(self) -> list[Job]:
        """Take the first job, so that none is left behind, and its company."""
        first = self.waiting[0]
        taken = [first, *self._company(first)]
        for job in taken:
            self._forget(job)
        return taken

    def _company(self, first: Job) -> list[Job]:
        """Return the jobs whose rows share a call with the first one's: of its model, those nearest in length, as long as all fit one batch
        and none costs more in padding than the call that it saves."""
        model, size = first.model, len(first.rows)
        if size >= model.batch or len(self.waiting) < 2:
            return []
        near = [job for job in islice(self.waiting, LOOKED) if job.model is model and len(job.rows) < model.batch and not job.apart]
        _encode([job for job in near if job.items is None])
        if first.items is None:
            return []
        others, taken, longest = [job for job in near if job is not first and job.items is not None], [], first.length
        for job in sorted(others, key=lambda job: abs(job.length - first.length)):  # of equals the one that came first
            rows, together = len(job.rows), max(longest, job.length)
            if size + rows <= model.batch and size * (together - longest) + rows * (together - job.length) <= model.worth:
                taken.append(job)
                size, longest = size + rows, together
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
            self.ended = self.clock() if self.waiting else None
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
        self._stretched(model, tokenize_s + infer_s)
        pace = (tokenize_s + infer_s) / rows
        self.row_seconds[id(model)] = (1 - SMOOTH) * self._pace(model) + SMOOTH * pace
        start = 0
        for job in jobs:
            if not job.answer.done():
                job.answer.set_result(Scored(found[start : start + len(job.rows)], began - job.since, tokenize_s, infer_s))
            start += len(job.rows)

    def _stretched(self, model: Runs, took: float) -> None:
        """Learn what else takes the time in which rows wait: to read requests and to refuse them, where cores are few."""
        between = took if self.ended is None else (self.clock() - self.ended) * self.workers / self._room(model)
        self.stretch = (1 - SMOOTH) * self.stretch + SMOOTH * min(STRETCHED, max(1.0, between / max(took, 1e-9)))

    def forget_model(self, model: Runs) -> None:
        self.row_seconds.pop(id(model), None)

    async def drained(self) -> None:
        """Return when nothing waits and nothing runs."""
        while self.waiting or self.calls:
            await asyncio.sleep(0.01)

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)


def _encode(jobs: Sequence[Job]) -> None:
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
                _encode([job])
        return
    took, start = time.perf_counter() - began, 0
    for job in jobs:
        job.items = items[start : start + len(job.rows)]
        start += len(job.rows)
        job.length, job.tokenize_s = max(map(model.length, job.items)), took * len(job.rows) / len(items)


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
    before = sum(job.tokenize_s for job in jobs)
    items = [item for job in jobs for item in (model.encode(job.rows) if job.items is None else job.items)]
    encoded = time.perf_counter()
    parts = []
    for start in range(0, len(items), model.batch):
        if all(job.gone for job in jobs):
            return None, 0.0, 0.0
        parts.append(model.run(items[start : start + model.batch]))
    return np.concatenate(parts), before + encoded - began, time.perf_counter() - encoded
