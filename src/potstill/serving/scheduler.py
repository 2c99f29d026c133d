"""Rows that wait for a worker: bounded by count and by time, joined into batches of like length, dropped where nobody waits for them any more.

Calls of many steps (answers that are written) share the workers in shifts (:mod:`shifts`): where both wait, calls and shifts get as long as each other.
All state belongs to the event loop's thread; workers are threads that ONNX Runtime keeps busy outside of Python's lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from . import calls, shifts
from .calls import Busy, Job, Row, Runs, Scored
from .shifts import Long, Shifts, Steps

SMOOTH = 0.1  # the weight of the last call in the running mean of seconds a row
AT_ONCE_S = 0.005  # a call this short may run in the event loop's own thread: to hand it to another and back takes a good part of it
CREDIT_S = 0.25  # by which calls may be ahead of shifts, or these of them, where both wait
SLICE_S = 0.05  # such calls may hold the loop together for as long as it had for all else, at most this
LOOKED = 64  # jobs, the oldest, among which the first one's company is sought
STRETCHED = 20.0  # the most that the time beside calls is taken to stretch a wait by


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
    lead: float = 0.0  # seconds that shifts had of the workers more than calls, while both waited

    def __post_init__(self) -> None:
        self.shifts = Shifts(shifts.GOING * self.workers)
        self.pool = ThreadPoolExecutor(self.workers, thread_name_prefix="infer")

    def check(self, rows: int = 1, unread_s: float = 0.0) -> None:
        """Raise :class:`Busy` where so many rows can't wait, or would wait too long; ``unread_s``: how long they may have waited to be read."""
        self._let_in(rows, self._expected_wait() + 2 * unread_s if self.busy >= self.workers else 0.0)

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

    def begin(self, model: Steps, rows: int, row_s: float, begin: Callable[[], Iterator[Any]]) -> Long:
        """Let a call of many steps in, see :class:`shifts.Long`; whoever has it must :meth:`leave` it in the end. ``row_s``: how long a row takes at
        most; lately its model's may have taken less. Raises :class:`Busy` at once, or later through its news."""
        self._let_in(rows, self.shifts.expected_wait(self.workers))
        long = Long(model, rows, rows * min(row_s, self.row_seconds.get(id(model), row_s)), begin, self.clock())
        self.shifts.waiting.append(long)
        self._start()
        asyncio.get_running_loop().call_later(self.max_wait_s, self._too_late_to_begin, long)
        return long

    def leave(self, long: Long) -> None:
        """End a call of many steps after the step that it is in; no-op for one that has ended."""
        self.shifts.leave(long)
        self._start()

    def _let_in(self, rows: int, wait: float) -> None:
        """Raise :class:`Busy` where so many rows more can't wait, or would have to for too long."""
        waiting = self.all_waiting
        if waiting and waiting + rows > self.max_queue:
            raise Busy(max(1, math.ceil(wait)), f"{waiting:,} rows wait, {self.max_queue:,} may")
        if wait > self.max_wait_s:
            raise Busy(max(1, math.ceil(wait - self.max_wait_s)), f"the wait is about {wait:.1f} s, {self.max_wait_s:g} s is the most")

    @property
    def all_waiting(self) -> int:
        return self.waiting_rows + self.shifts.waiting_rows

    @property
    def all_running(self) -> int:
        return self.running_rows + self.shifts.running_rows

    def _too_late_to_begin(self, long: Long) -> None:
        if self.shifts.withdraw(long):
            again = max(1, math.ceil(self.shifts.expected_wait(self.workers)))
            long.news.put_nowait(Busy(again, f"waited {self.max_wait_s:g} s, the most that may be"))

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
        return max(self.stretch, 2.0 if self.shifts.going else 1.0) * ahead / self.workers  # every other moment is the shifts'

    def _room(self, model: Runs | Steps) -> int:
        return min(model.threads, self.workers)

    def _pace(self, model: Runs) -> float:
        return self.row_seconds.get(id(model), model.row_seconds)

    def _start(self) -> None:
        self.shifts.admit()
        while self.busy < self.workers and self._take():
            pass

    def _take(self) -> bool:
        """Begin a call or a shift, of the two what had less of the workers; return whether there was one, and room for it."""
        ready = self.shifts.ready
        call = bool(self.waiting) and (self.lead >= 0 or not ready)
        if not (call or ready) or self.busy + self._room(self.waiting[0].model if call else ready[0].model) > self.workers:
            return False
        if call:
            self._run(self._next())
        else:
            self._shift(ready.popleft())
        return True

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
        calls.encode([job for job in near if job.items is None])
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
            self.due.append(lambda: done(calls.here(jobs, loop.create_future())))
            if len(self.due) == 1 and not self.slicing:
                loop.call_soon(self._slice)
        else:
            loop.run_in_executor(self.pool, calls.work, jobs).add_done_callback(done)

    def _shift(self, long: Long) -> None:
        room = self._room(long.model)
        self.busy += room
        self.calls += 1
        if long.steps is None:
            long.queue_s = self.clock() - long.since

        def done(finished: asyncio.Future[Any]) -> None:
            self.calls -= 1
            self.busy -= room
            self._settle_shift(long, finished)
            self._start()

        asyncio.get_running_loop().run_in_executor(self.pool, shifts.work, long).add_done_callback(done)

    def _settle_shift(self, long: Long, finished: asyncio.Future[Any]) -> None:
        """Tell what a shift brought; let it wait for the next one, or end it."""
        error = asyncio.CancelledError() if finished.cancelled() else finished.exception()
        if error is None:
            found, ended, took = finished.result()
            long.worked_s += took
            self._spent(took * self._room(long.model))
            if found:
                long.news.put_nowait(found)
            if not ended and not long.gone:
                self.shifts.ready.append(long)
                return
            if not long.gone:
                took = long.worked_s / long.rows
                self.row_seconds[id(long.model)] = (1 - SMOOTH) * self.row_seconds.get(id(long.model), took) + SMOOTH * took
        long.news.put_nowait(error)
        self.shifts.going.remove(long)

    def _spent(self, seconds: float) -> None:
        """Count what shifts had of the workers (calls: a negative number); where one side alone wants them, nobody is ahead."""
        both = self.waiting and self.shifts.going
        self.lead = min(CREDIT_S, max(-CREDIT_S, self.lead + seconds)) if both else 0.0

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
        self._spent(-(tokenize_s + infer_s) * self._room(model))
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

    async def drained(self) -> None:
        """Return when nothing waits and nothing runs."""
        while self.waiting or self.calls or self.shifts.waiting or self.shifts.going:
            await asyncio.sleep(0.01)

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
