"""The way of a request to a model that writes: let in, written in shifts, told whole or piece by piece; counted, and ended where nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from . import written
from .asked import Asked
from .completions import Completion
from .door import App, Note, Receive, Scope, Send, fault, told, unless_gone
from .live import Live
from .measures import Measures
from .scheduler import Scheduler
from .settings import Settings
from .shapes import NATIVE, Body, Bounds, dumps
from .shifts import Long
from .writers import Said, Writer
from .written import Form, Named

LAST_WORD_S = 1.0  # that a client has to take the word that a stream is broken
EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store", "x-accel-buffering": "no"}  # no proxy may hold pieces back


@dataclass
class Pen:
    """A request's answers as they come; ``close`` it, whatever happens: what it has written until then is counted."""

    writing: Writing
    alias: str
    long: Long
    note: Note
    tokens: int = 0
    first_at: float | None = None
    last_at: float = 0.0
    done: dict[int, Completion] = field(default_factory=dict)
    closed: bool = False

    async def next(self) -> Sequence[Said] | None:
        """Return what was written since; None where all has been told."""
        said = await self.long.next()
        if said is None:
            return None
        self.last_at = time.monotonic()
        if self.first_at is None:
            self.first_at = self.last_at
        self.tokens += len(said)
        self.done |= {one.place: one.whole for one in said if one.whole is not None}
        return said

    async def rest(self) -> list[Completion]:
        """Return the whole answers, when they are written."""
        while await self.next() is not None:
            pass
        return self.completions

    @property
    def completions(self) -> list[Completion]:
        return [self.done[place] for place in sorted(self.done)]

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.writing.scheduler.leave(self.long)
            self.writing.count(self)


@dataclass
class Writing:
    """Used in the event loop's thread alone."""

    scheduler: Scheduler
    measures: Measures
    live: Live
    settings: Settings

    async def answer(self, request: Request, form: Form, alias: str, writer: Writer, body: Body, until: float) -> App:
        """Return the answer to a body, whole, or as a stream that has begun: what is wrong before its first token has a status of its own.

        ``until``: by the loop's clock. Raises :class:`shapes.Wrong`, :class:`scheduler.Busy`, DataError for rows that the model can't read.
        """
        asked = form.asked(body, writer, Bounds(self.settings.max_rows, self.settings.max_chars))
        note: Note = request.scope["note"]
        note.more["rows"] = len(asked.rows)
        if self.settings.log_inputs:
            note.more["inputs"] = list(asked.rows)
        named = Named(note.id, alias, writer.digest)
        pen = self._begin(alias, writer, asked, note)
        streaming = False
        try:
            if not asked.stream:
                completions = await unless_gone(request, pen.rest())
                return Response(dumps(form.whole(named, completions)), media_type="application/json")
            first = await unless_gone(request, pen.next())
            streaming = True
            return Stream(request, pen, form, named, asked, first or (), until)
        finally:
            if not streaming:
                pen.close()

    def _begin(self, alias: str, writer: Writer, asked: Asked, note: Note) -> Pen:
        row_s = writer.row_seconds(asked.chars, asked.sampling.max_tokens)

        def begin() -> Iterator[Said | None]:  # in a worker's thread
            return writer.said(asked.rows, asked.sampling, pieces=asked.stream)

        return Pen(self, alias, self.scheduler.begin(writer, len(asked.rows), row_s, begin), note)

    def count(self, pen: Pen) -> None:
        """Count what a request's pen has written, and note it for the log."""
        measures, long, completions = self.measures, pen.long, pen.completions
        if not long.worked_s:  # it never began
            return
        read = sum(one.prompt_tokens for one in completions)
        measures.rows.labels(pen.alias, "student").inc(len(completions))
        measures.tokens.labels(pen.alias, "written").inc(pen.tokens)
        measures.tokens.labels(pen.alias, "read").inc(read)
        seconds = {"queue": long.queue_s, "infer": long.worked_s}
        if pen.first_at is not None:
            seconds["first"] = pen.first_at - long.since
            measures.first_token.labels(pen.alias).observe(seconds["first"])
            longest = max((len(one.ids) for one in completions), default=pen.tokens // long.rows)
            if longest > 1:
                measures.token.labels(pen.alias).observe((pen.last_at - pen.first_at) / (longest - 1))
        for part in ("queue", "infer"):
            measures.parts.labels(part).observe(seconds[part])
        self.live.wrote(pen.alias, len(completions), seconds)
        pen.note.more |= {f"{part}_ms": round(1000 * took, 3) for part, took in seconds.items()}
        pen.note.more |= {"tokens_in": read, "tokens_out": pen.tokens, "finish": sorted({one.finish for one in completions})}
        if self.settings.log_inputs:
            pen.note.more["answers"] = [one.text for one in completions]


@dataclass
class Stream:
    """An answer as events (an ASGI application): ``first`` is what was written before it began; it ends ``until`` then at the latest."""

    request: Request
    pen: Pen
    form: Form
    named: Named
    asked: Asked
    first: Sequence[Said]
    until: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(self.request, self._tell(send))
        finally:
            self.pen.close()

    async def _tell(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(name.encode(), value.encode()) for name, value in EVENTS.items()]})
        try:
            async with asyncio.timeout_at(self.until):
                await self._pieces(send)
            end = written.last(self.form, self.named, self.pen.completions, self.asked.usage)
        except Exception as error:  # whatever it is, it is told in the stream: its status has gone out
            wrong = told(error)
            self.pen.note.more["ended"] = wrong.status
            if wrong.status == 500:
                self.pen.note.more["error"] = fault(error)
            if wrong.status == 504:
                self.pen.writing.measures.cancelled.labels("deadline").inc()
            end = written.broken(wrong, NATIVE.error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORD_S):
                await send(_body(end, more=False))

    async def _pieces(self, send: Send) -> None:
        assert self.form.begun is not None
        begun = b"".join(map(written.event, self.form.begun(self.named)))
        said: Sequence[Said] | None = self.first
        while said is not None:
            await send(_body(begun + written.events(self.form, self.named, said)))
            begun, said = b"", await self.pen.next()


def _body(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}
