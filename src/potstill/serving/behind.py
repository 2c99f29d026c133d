"""The teacher behind the student: asked for the rows that a policy passes on, within its limits, and given up on when it does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..cascade.policy import Limits
from ..errors import UserError

HOUR = 3600.0
FAILURES, PAUSE_S, LONGEST_S = 5, 5.0, 60.0  # so many failures in a row, and it is left alone for a while; twice as long each time
LINE = 64_000_000  # bytes that an answer may have
MOST_OWED = 64  # questions that a teacher may have before it: whoever gave up on one has not taken it back


class Unanswered(Exception):
    """The teacher gave no answer; the argument is the reason, one of few."""


class Teacher(Protocol):
    """Whoever answers: rows in, for each its scores in the order of the labels, or None where it gave none."""

    async def ask(self, rows: Sequence[Mapping[str, str]]) -> list[np.ndarray | None]: ...

    async def close(self) -> None: ...


@dataclass
class Allowance:
    """How many rows may be passed on now: a bucket that fills by ``per_second``, and the dollars of the last hour."""

    clock: Callable[[], float] = time.monotonic
    tokens: float = math.inf
    filled: float = 0.0
    spent: deque[tuple[float, float]] = field(default_factory=deque)  # time, dollars
    spent_usd: float = 0.0  # their sum

    def take(self, rows: int, limits: Limits) -> tuple[int, str]:
        """Return how many of ``rows`` may be passed on, and why not more. What is taken is spent, answered or not: it may have been paid."""
        now = self.clock()
        allowed, why = rows, ""
        if limits.per_second is not None:
            most = max(1.0, limits.per_second)  # a second's worth may come at once
            self.tokens = min(most, self.tokens + (now - self.filled) * limits.per_second)
            allowed, why = _less(allowed, int(self.tokens + 1e-9), "rate_limit", why)
        self.filled = now
        price = limits.usd_per_1000 / 1000
        if limits.usd_per_hour is not None and price:
            while self.spent and self.spent[0][0] <= now - HOUR:
                self.spent_usd -= self.spent.popleft()[1]
            allowed, why = _less(allowed, int((limits.usd_per_hour - self.spent_usd) / price + 1e-9), "budget", why)
            self.spent.append((now, allowed * price))
            self.spent_usd += allowed * price
        self.tokens -= allowed
        return allowed, why


def _less(allowed: int, most: int, reason: str, why: str) -> tuple[int, str]:
    return (max(0, most), reason) if most < allowed else (allowed, why)


@dataclass
class Breaker:
    """Leaves a teacher alone that fails again and again."""

    clock: Callable[[], float] = time.monotonic
    failed: int = 0
    until: float = 0.0
    pause_s: float = PAUSE_S

    @property
    def open(self) -> bool:
        return self.clock() < self.until

    def told(self, ok: bool) -> None:
        if ok:
            self.failed, self.pause_s = 0, PAUSE_S
            return
        self.failed += 1
        if self.failed >= FAILURES:
            self.until, self.pause_s = self.clock() + self.pause_s, min(LONGEST_S, 2 * self.pause_s)


@dataclass
class Behind:
    """A teacher under limits: one for each name that is served, whatever models stand under it."""

    teacher: Teacher | None
    breaker: Breaker = field(default_factory=Breaker)
    allowance: Allowance = field(default_factory=Allowance)

    async def ask(
        self, rows: Sequence[Mapping[str, str]], width: int, within_s: float, limits: Limits
    ) -> tuple[list[np.ndarray | None], list[str]]:  # fmt: skip
        """Return for each row the teacher's scores, or None and the reason: no_teacher, rate_limit, budget, timeout,
        unreachable, busy, no_answer."""
        if self.teacher is None:
            return [None] * len(rows), ["no_teacher"] * len(rows)
        if self.breaker.open:
            return [None] * len(rows), ["unreachable"] * len(rows)
        allowed, why = self.allowance.take(len(rows), limits)
        found: list[np.ndarray | None] = []
        if allowed:
            try:
                found = await self._within(rows[:allowed], min(within_s, limits.timeout_s))
            except Unanswered as error:
                return [None] * len(rows), [str(error)] * allowed + [why] * (len(rows) - allowed)
        sound = [None if scores is None or scores.shape != (width,) or not np.isfinite(scores).all() else scores for scores in found]
        reasons = ["no_answer" if scores is None else "" for scores in sound]
        return sound + [None] * (len(rows) - allowed), reasons + [why] * (len(rows) - allowed)

    async def _within(self, rows: Sequence[Mapping[str, str]], seconds: float) -> list[np.ndarray | None]:
        assert self.teacher is not None
        try:
            async with asyncio.timeout(seconds):
                found = await self.teacher.ask(rows)
        except TimeoutError as error:
            self.breaker.told(False)
            raise Unanswered("timeout") from error
        except Unanswered:
            self.breaker.told(False)
            raise
        self.breaker.told(True)
        return found if len(found) == len(rows) else [None] * len(rows)


# ------------------------------------------------------------------------------------------- a teacher in a process of its own
@dataclass
class Aside:
    """A teacher that runs in a process of its own, so that what it needs (torch, say) is not in the server's.

    It is spoken to by lines of JSON: {"id", "rows"} goes in, {"id", "scores"} or {"id", "error"} comes out; its first line is
    {"ready": true}. When it ends, it is started again with the next question, and what it was asked stays unanswered.
    """

    command: Sequence[str]
    env: Mapping[str, str] | None = None
    process: asyncio.subprocess.Process | None = None
    waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    numbers: Any = field(default_factory=itertools.count)
    beginning: asyncio.Task[None] | None = None
    reader: asyncio.Task[None] | None = None
    owed: int = 0

    async def start(self) -> None:
        """Start the process, where it does not run, and wait until it is ready; whoever stops waiting does not stop it.

        Raises :class:`UserError` where it ends instead: what it said last stands on standard error.
        """
        if self.beginning is None or (self.beginning.done() and not self._runs()):
            self.beginning = asyncio.create_task(self._begin())
            self.beginning.add_done_callback(lambda task: task.cancelled() or task.exception())  # it is told to whoever waits, if anyone does
        await asyncio.shield(self.beginning)

    def _runs(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def _begin(self) -> None:
        pipe = asyncio.subprocess.PIPE
        # A session of its own: Ctrl-C is the server's to hear, and requests that it drains may still need their teacher.
        self.process = process = await asyncio.create_subprocess_exec(
            *self.command, stdin=pipe, stdout=pipe, limit=LINE, env=self.env, start_new_session=True
        )  # fmt: skip
        self.owed = 0
        assert process.stdout is not None
        if not await process.stdout.readline():
            await process.wait()
            raise UserError("the teacher's process ended before it was ready", remedy="what it said last stands above")
        self.reader = asyncio.create_task(self._read(process))

    async def ask(self, rows: Sequence[Mapping[str, str]]) -> list[np.ndarray | None]:
        try:
            await self.start()
        except (UserError, OSError) as error:
            raise Unanswered("unreachable") from error
        assert self.process is not None
        assert self.process.stdin is not None
        if self.owed >= MOST_OWED:
            raise Unanswered("busy")
        number = next(self.numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting[number] = answer
        self.owed += 1
        try:
            self.process.stdin.write(json.dumps({"id": number, "rows": [dict(row) for row in rows]}).encode() + b"\n")
            await self.process.stdin.drain()
            found = await answer
        except (ConnectionError, RuntimeError) as error:
            raise Unanswered("unreachable") from error
        finally:
            self.waiting.pop(number, None)
        if "error" in found:
            raise Unanswered("unreachable")
        return [None if scores is None else np.asarray(scores, np.float32) for scores in found["scores"]]

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):  # a line beyond all bounds, or no JSON: it is not to be trusted further
            while line := await process.stdout.readline():
                found = json.loads(line)
                self.owed = max(0, self.owed - 1)
                answer = self.waiting.get(found.get("id"))
                if answer is not None and not answer.done():
                    answer.set_result(found)
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_result({"error": "ended"})

    async def close(self) -> None:
        if self.beginning is not None:
            self.beginning.cancel()
        if self.process is None or self.process.returncode is not None:
            return
        with contextlib.suppress(ConnectionError, RuntimeError, ProcessLookupError):
            if self.process.stdin is not None:
                self.process.stdin.close()
            try:
                await asyncio.wait_for(self.process.wait(), 3.0)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
