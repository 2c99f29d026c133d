"""Long work in shifts: a call of many steps (an answer, token by token) has a worker's thread for some of them, then whoever waits has it.

Between two steps it can end: its client has left, or its time is over.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

SHIFT_S = 0.01  # a shift takes steps for so long, one at least: what a short call may have to wait for it
GOING = 4  # for each worker: more would make each of them slower, and each holds what its model has read in memory


class Steps(Protocol):
    """Whose steps they are: a model."""

    @property
    def threads(self) -> int:
        """How many threads a step keeps busy."""


@dataclass(eq=False)
class Long:
    """A call of many steps. ``begin`` makes them, in a worker's thread; ``seconds``: how long they keep a worker, about, all together.

    ``news``: what each shift brought, a list; at the end None, or what went wrong. ``gone``: nobody waits for it any more.
    """

    model: Steps
    rows: int
    seconds: float
    begin: Callable[[], Iterator[Any]]
    since: float
    news: asyncio.Queue[list[Any] | BaseException | None] = field(default_factory=asyncio.Queue)
    steps: Iterator[Any] | None = None
    gone: bool = False
    worked_s: float = 0.0
    queue_s: float = 0.0  # that it waited before its first shift

    @property
    def left_s(self) -> float:
        """Return how much of its work is left, about."""
        return max(0.0, self.seconds - self.worked_s)

    async def next(self) -> list[Any] | None:
        """Return what the next shift brings, None behind the last one. Raises what a step raised, and :class:`scheduler.Busy`."""
        found = await self.news.get()
        if isinstance(found, BaseException):
            raise found
        return found


@dataclass
class Shifts:
    """Those that wait to begin, and those that go on, ``most`` at a time; of these, ``ready`` wait for their next shift."""

    most: int
    waiting: deque[Long] = field(default_factory=deque)
    going: list[Long] = field(default_factory=list)
    ready: deque[Long] = field(default_factory=deque)

    @property
    def waiting_rows(self) -> int:
        return sum(long.rows for long in self.waiting)

    @property
    def running_rows(self) -> int:
        return sum(long.rows for long in self.going)

    def admit(self) -> None:
        """Let as many begin as may be going."""
        while self.waiting and len(self.going) < self.most:
            long = self.waiting.popleft()
            self.going.append(long)
            self.ready.append(long)

    def withdraw(self, long: Long) -> bool:
        """Take one out that has not begun; return whether it stood there."""
        if long not in self.waiting:
            return False
        self.waiting.remove(long)
        return True

    def leave(self, long: Long) -> None:
        """Forget one that nobody waits for; one that is in a shift ends with its step. No-op for one that has ended."""
        long.gone = True
        if not self.withdraw(long) and long in self.ready:
            self.ready.remove(long)
            self.going.remove(long)

    def expected_wait(self, workers: int) -> float:
        """Return how long a new one would wait before it begins, about: places are left at the pace of what is inside."""
        if len(self.going) < self.most:
            return 0.0
        inside = [*self.going, *self.waiting]
        each = sum(long.left_s * min(long.model.threads, workers) for long in inside) / len(inside)
        return (len(self.waiting) + 1) * each / workers


def work(long: Long) -> tuple[list[Any], bool, float]:
    """Take steps for a shift; return what they brought, whether that is all, and the seconds. In a worker's thread."""
    began = time.perf_counter()
    found: list[Any] = []
    if long.gone:
        return found, True, 0.0
    if long.steps is None:
        long.steps = long.begin()
    for step in long.steps:
        if step is not None:
            found.append(step)
        took = time.perf_counter() - began
        if long.gone or took >= SHIFT_S:
            return found, long.gone, took
    return found, True, time.perf_counter() - began
