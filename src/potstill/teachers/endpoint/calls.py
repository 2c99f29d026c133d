"""Many calls at once, none too fast, each tried again while that may help: one thread a call, one loop that decides.

Only the loop's thread takes rows, books and yields; the others send one request each. So whoever asks may keep a ledger without locks.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Any, Protocol

from ... import rng
from ...errors import TeacherError
from ...records import Answer, Failed, Usage
from .client import GO_ON, Again

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds before a call is tried again; doubled each time, up to the longest
# Rows given up one after another, no answer between them, or twice as many as are asked at once: then it is the server, not the rows. Of a
# server that has answered, and now stumbles over what may be rows of their own kind, ten times as many are borne.
IN_A_ROW, BORNE = 5, 10
BUSY = Usage(teacher_calls=1)


class Clock(Protocol):
    """What time it is, and how it passes: in tests without waiting."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...

    def wait(self, running: set[Future[Any]], seconds: float | None) -> set[Future[Any]]:
        """Return those that are done, once one is, or after ``seconds``."""


class WallClock:
    """The time that everybody has."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait(self, running: set[Future[Any]], seconds: float | None) -> set[Future[Any]]:
        return wait(running, seconds, FIRST_COMPLETED).done


@dataclass(frozen=True)
class Call:
    """A row to ask about: its id, the request, the most that it may cost; how often it failed, and how often it was put off, for whatever reason."""

    id: str
    body: Any
    reserve: Usage
    failed: int = 0
    put_off: int = 0


@dataclass(frozen=True)
class Done:
    """How a call ended, and what it cost."""

    answer: Answer
    usage: Usage
    end: TeacherError | None = None  # what it tells of all the others


@dataclass
class Rates:
    """When the next call may start: requests and tokens spread evenly, and not before a busy server said."""

    clock: Clock
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    next_request: float = 0.0
    next_token: float = 0.0
    not_before: float = 0.0

    def start(self) -> float:
        return max(self.next_request, self.next_token, self.not_before)

    def took(self, tokens: int) -> None:
        now = self.clock.now()
        if self.requests_per_minute:
            self.next_request = max(self.next_request, now) + 60 / self.requests_per_minute
        self._tokens(tokens, now)

    def settled(self, reserved: int, used: int) -> None:
        self._tokens(used - reserved, 0.0)

    def _tokens(self, count: int, now: float) -> None:
        if self.tokens_per_minute:
            self.next_token = max(self.next_token, now) + count * 60 / self.tokens_per_minute


def in_thread(send: Callable[[Call], Done | Again], call: Call) -> Future[Done | Again]:
    """Send a call in a thread that nobody waits for at the end: an interrupt must not take as long as a slow server."""
    future: Future[Done | Again] = Future()

    def work() -> None:
        try:
            future.set_result(send(call))
        except BaseException as error:
            future.set_exception(error)

    Thread(target=work, name="endpoint", daemon=True).start()
    return future


@dataclass
class Calls:
    """A loop over the calls of one server.

    ``take`` gives the next one, None where there is none now; ``send`` makes one attempt; ``booked(id, usage)`` hears of an attempt
    that failed, before the next one of the same row is sent.
    """

    take: Callable[[], Call | None]
    send: Callable[[Call], Done | Again]
    booked: Callable[[str, Usage], None]
    spec: Any  # concurrency, retries, patience_s, rates
    clock: Clock
    rates: Rates
    place: str
    later: list[tuple[float, int, Call]] = field(default_factory=list)
    running: dict[Future[Done | Again], Call] = field(default_factory=dict)
    proven: bool = False  # whether this teacher has ever answered
    number: int = 0
    given_up: int = 0  # in a row
    busy_since: float | None = None
    end: TeacherError | None = None

    def run(self) -> Iterator[tuple[str, Answer, Usage]]:
        """Yield an answer for each row that was taken; raises :class:`TeacherError`, after what was in flight has come in, for what ends all."""
        while self._fill():
            for future in self.clock.wait(set(self.running), self._pause()):
                yield from self._came(self.running.pop(future), future)
        if self.end is not None:
            yield from ((call.id, Failed(self.end.message), Usage()) for _, _, call in self.later)  # their attempts are booked
            raise self.end

    def _came(self, call: Call, future: Future[Done | Again]) -> Iterator[tuple[str, Answer, Usage]]:
        try:
            outcome = future.result()
        except TeacherError as error:
            self.end = self.end or error
            yield call.id, Failed(error.message), BUSY
            return
        if isinstance(outcome, Again):
            yield from self._troubled(call, outcome)
            return
        if not isinstance(outcome.answer, Failed):
            self.given_up, self.busy_since, self.proven = 0, None, True
        yield from self._finished(call, outcome)

    def _fill(self) -> bool:
        """Start what may start now; return whether there is anything left to wait for."""
        while self.end is None and len(self.running) < self.spec.concurrency:
            now = self.clock.now()
            if self.rates.start() > now:
                if self.running or self.later:
                    break
                self.clock.sleep(self.rates.start() - now)
            call = self._next(now)
            if call is None:
                break
            self.rates.took(_tokens(call.reserve))
            self.running[in_thread(self.send, call)] = call
        if not self.running and self.later and self.end is None:
            self.clock.sleep(max(max(self.later[0][0], self.rates.start()) - self.clock.now(), 0.0))
            return self._fill()
        return bool(self.running)

    def _next(self, now: float) -> Call | None:
        """Return a call that is due again, else a new row; none while as many rows wait for another attempt as may be asked at once: a
        server in trouble is sent no more of them."""
        if self.later and self.later[0][0] <= now:
            return heapq.heappop(self.later)[2]
        return self.take() if len(self.running) + len(self.later) < self.spec.concurrency else None

    def _pause(self) -> float | None:
        """Return how long to wait for an answer before a call may be started; None: until one comes."""
        if self.end is not None or len(self.running) >= self.spec.concurrency:
            return None
        waits = [self.later[0][0]] if self.later else []
        start = self.rates.start()
        waits += [start] if start > self.clock.now() else []
        return max(min(waits) - self.clock.now(), 0.001) if waits else None

    def _finished(self, call: Call, done: Done) -> Iterator[tuple[str, Answer, Usage]]:
        self.rates.settled(_tokens(call.reserve), _tokens(done.usage))
        self.end = self.end or done.end
        yield call.id, done.answer, done.usage
        if isinstance(done.answer, Failed):
            self._gave_up(done.answer.reason, row=True)

    def _troubled(self, call: Call, trouble: Again) -> Iterator[tuple[str, Answer, Usage]]:
        """Try again later, or give the row up."""
        usage = USAGE[trouble.kind](call)
        self.rates.settled(_tokens(call.reserve), 0)
        if trouble.kind == "busy":
            self._busy(trouble)
        elif call.failed >= self.spec.retries:
            yield call.id, Failed(f"{trouble.reason}, {call.failed + 1} times"), usage
            self._gave_up(trouble.reason, row=trouble.row, dead=trouble.kind == "unsent")
            return
        if self.end is not None:
            yield call.id, Failed(trouble.reason), usage
            return
        self.booked(call.id, usage)
        again = replace(call, failed=call.failed + (trouble.kind != "busy"), put_off=call.put_off + 1)
        self.number += 1
        heapq.heappush(self.later, (self.clock.now() + self._delay(call, trouble), self.number, again))

    def _delay(self, call: Call, trouble: Again) -> float:
        """Return how long before the next attempt: as the server says, else twice as long each time; spread, so that not all come at once."""
        spread = float(rng.stream(0, "retry", call.id, self.number).uniform(0.5, 1.0))
        if trouble.wait is not None:
            return trouble.wait + FIRST_WAIT * spread
        return min(FIRST_WAIT * 2.0 ** min(call.put_off, 20), LONGEST_WAIT) * spread

    def _busy(self, trouble: Again) -> None:
        """Hold everything while the server has too much to do; end all where that lasts longer than the recipe has patience."""
        now = self.clock.now()
        self.busy_since = now if self.busy_since is None else self.busy_since
        wait = trouble.wait if trouble.wait is not None else FIRST_WAIT
        self.rates.not_before = max(self.rates.not_before, now + wait)
        if now + wait - self.busy_since > self.spec.patience_s:
            words = f"{trouble.reason}; no answer for {now - self.busy_since:,.0f} seconds" + (
                f", and it asks to wait {wait:,.0f} more" if trouble.wait else ""
            )
            remedy = f"the quota may be used up, or lower concurrency or requests_per_minute, {GO_ON}"
            self.end = self.end or TeacherError(words, place=self.place, remedy=remedy)

    def _gave_up(self, reason: str, *, row: bool, dead: bool = False) -> None:
        self.given_up += 1
        borne = max(IN_A_ROW, 2 * self.spec.concurrency) * (BORNE if row and self.proven else 1)
        if (dead or self.given_up >= borne) and self.end is None:
            words = reason if dead else f"{reason}; {self.given_up} rows in a row had no answer"
            self.end = TeacherError(words, place=self.place, remedy=f"look at the server, {GO_ON}")


def _tokens(usage: Usage) -> int:
    return usage.tokens_in + usage.tokens_out


# What an attempt without an answer may have cost, by how it failed.
USAGE: dict[str, Callable[[Call], Usage]] = {
    "unsent": lambda call: Usage(),
    "lost": lambda call: Usage(possibly_paid=1),
    "said": lambda call: BUSY,
    "busy": lambda call: BUSY,
}
