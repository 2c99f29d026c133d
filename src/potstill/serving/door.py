"""What stands before every request: its number, its key, its size, its time; and what is written of it, once, when it is done."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import random
import re
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect, Request

from ..errors import BundleError, DataError, UserError
from .answering import Refused
from .live import Live
from .measures import Measures
from .pulse import Pulse
from .scheduler import Busy, Scheduler
from .settings import Keys, Settings
from .shapes import NATIVE, V2, Wrong, dumps

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")  # of a request: what may be told back and written down
OPEN = ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready")  # for whoever starts and stops servers: no key is asked for
LOOKS = (*OPEN, "/metrics", "/", "/v1/live", "/favicon.ico")  # of whoever watches: no traffic, and not worth a line in the log
ADMIN = "/v1/admin/"
ASKS = ("/predict", "/completions", "/infer")  # of a model
LOOK_AFTER_S = 0.02  # from when on it is watched whether the client still waits: most answers are there sooner
POURED, POUR_S = 16_000_000, 1.0  # bytes and seconds of a refused body that are read nevertheless
GONE = 499  # the client has left: nobody reads the answer, the log does


class Gone(Exception):
    """The client has left."""


@dataclass
class Note:
    """What is known of a request when it is done: for the log and the counts. Never an input, unless it is asked for."""

    id: str
    protocol: str
    began: float
    alias: str = "none"
    more: dict[str, Any] = field(default_factory=dict)
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    unread_s: float = 0.0  # how long it may have waited to be read


@dataclass
class Door:
    """An ASGI application around another. ``stopping``: new requests are told 503, those inside are answered."""

    app: App
    settings: Settings
    keys: Keys
    measures: Measures
    live: Live
    scheduler: Scheduler
    stopping: bool = False
    inside: int = 0
    pulse: Pulse = field(default_factory=Pulse)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._refuse_other(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        id = given.decode("ascii") if ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        note = scope["note"] = Note(id, "v2" if scope["path"].startswith("/v2") else "openai" if "completions" in scope["path"] else "native", time.monotonic())
        note.headers = headers
        self.inside += 1
        try:
            await self._within(scope, _Body(receive), self._numbered(send, note), note, headers)
        finally:
            self.inside -= 1
            took = time.monotonic() - note.began
            self.measures.of(self.measures.requests, note.alias, note.protocol, str(note.status)).inc()
            self.measures.of(self.measures.latency, note.protocol).observe(took)
            if scope["path"] not in LOOKS:
                self.live.done(note.status, took)
            self._log(scope, note, took)

    async def _within(self, scope: Scope, receive: _Body, send: Send, note: Note, headers: dict[bytes, bytes]) -> None:
        """Answer, and turn whatever goes wrong into a status and a body of the request's protocol."""
        try:
            self._gate(scope["path"], headers)
            if scope["path"].endswith(ASKS):  # a request that will be refused is refused before it is read
                note.unread_s = self.pulse.unread_s()
                self.scheduler.check(1, note.unread_s)
            await self.app(scope, receive, send)
        except (Gone, ClientDisconnect):
            note.status = GONE
            self.measures.of(self.measures.cancelled, "disconnect").inc()
        except Exception as error:
            wrong = told(error)
            if wrong.status == 500:
                note.more["error"] = fault(error)
            if wrong.status == 504:
                self.measures.of(self.measures.cancelled, "deadline").inc()
            if note.status:  # the answer has begun: all that can be done is to end it
                raise
            await receive.pour_away()
            await reply(send, wrong.status, (V2 if note.protocol == "v2" else NATIVE).error(wrong), wrong.headers)

    def _gate(self, path: str, headers: dict[bytes, bytes]) -> None:
        """Raise :class:`Wrong` for a request without its key, and for any while the server stops."""
        if path in OPEN or path in ("/", "/openapi.json"):  # the page tells nothing by itself: what it shows it asks for, with a key
            return
        if self.stopping:
            raise Wrong(503, "the server is stopping", headers={"retry-after": "1", "connection": "close"})
        if self.inside > self.settings.max_requests:
            raise Busy(1, f"{self.settings.max_requests:,} requests are inside already")
        if path.startswith(ADMIN):
            if not self.keys.admin:
                raise Wrong(404, "there is no such place")
            keys = self.keys.admin
        else:
            keys = (*self.keys.client, *self.keys.admin) if self.keys.client else ()
            if path in ("/metrics", "/v1/live") and self.settings.open_metrics:
                return
        if keys and not _one_of(_bearer(headers.get(b"authorization", b"")), keys):
            raise Wrong(401, "a key is wanted, and this is none", "send the header Authorization: Bearer KEY", headers={"www-authenticate": "Bearer"})

    def _numbered(self, send: Send, note: Note) -> Send:
        """Return ``send`` with the request's number on its answer; and, while the server stops, word that the connection ends with it."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                note.status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", note.id.encode())]
                ends = self.stopping and not any(name == b"connection" for name, _ in headers)
                message["headers"] = [*headers, (b"connection", b"close")] if ends else headers
            await send(message)

        return sending

    async def _refuse_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1003})

    def _log(self, scope: Scope, note: Note, took: float) -> None:
        if self.settings.quiet or (scope["path"] in LOOKS and note.status == 200):
            return
        log("request", id=note.id, method=scope["method"], path=scope["path"][:200], protocol=note.protocol, model=note.alias, status=note.status,
            ms=round(1000 * took, 3), **note.more)  # fmt: skip


@dataclass
class _Body:
    """A request's messages, and whether its body has been read to the end."""

    receive: Receive
    read: bool = False

    async def __call__(self) -> Message:
        message = await self.receive()
        self.read = self.read or message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def pour_away(self) -> None:
        """Read what is left of the body, within bounds: a connection that is closed on a client who still sends is reset, and the client
        never sees what was wrong."""
        left = POURED
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POUR_S):
                while not self.read and left > 0:
                    left -= len((await self()).get("body", b""))


def log(event: str, **data: Any) -> None:
    """Write one line of JSON to standard error."""
    print(json.dumps({"time": round(time.time(), 3), "event": event, **data}), file=sys.stderr, flush=True)  # noqa: T201 - the log is this line


def told(error: Exception) -> Wrong:
    """Return what an error is to the client."""
    match error:
        case Wrong():
            return error
        case Busy():
            return Wrong(429, f"too busy: {error.why}", f"come again in {error.retry_after} s", headers={"retry-after": str(error.retry_after)})
        case Refused():
            return Wrong(503, f"the teacher can't be asked: {error}", "come again later", headers={"retry-after": "5"})
        case TimeoutError():
            return Wrong(
                504, "no answer was ready in time", "send fewer inputs, ask for fewer tokens, or give more time: X-Timeout-Ms, up to the server's --timeout"
            )
        case DataError():
            return Wrong(400, error.message, error.remedy)
        case UserError() if not isinstance(error, BundleError):  # a model that can't answer is no mistake of the client's
            return Wrong(404, error.message, error.remedy)
    return Wrong(500, "a fault of the server's; its log says which, by the request's id")


def fault(error: Exception) -> dict[str, Any]:
    """Return the kind of an error and where it was raised; never its words, which may hold an input."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return {"kind": type(error).__name__, "at": [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames]}


def _bearer(header: bytes) -> bytes:
    kind, _, key = header.partition(b" ")
    return key.strip() if kind.lower() == b"bearer" else b""


def _one_of(given: bytes, keys: Sequence[bytes]) -> bool:
    """Tell whether ``given`` is a key; how long that takes tells nothing of the keys but their number and lengths."""
    found = False
    for key in keys:
        found |= hmac.compare_digest(given, key)
    return found


async def reply(send: Send, status: int, value: Any, headers: Any = None) -> None:
    body = dumps(value)
    told = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    told += [(name.encode(), str(text).encode("latin-1")) for name, text in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body})


async def body_of(request: Request, most: int) -> bytes:
    """Return a request's body. Raises :class:`Wrong` for one of more than ``most`` bytes, before it is read where it says so itself."""
    large = Wrong(413, f"the body is larger than {most:,} bytes", "send less at a time", headers={"connection": "close"})
    length = request.scope["note"].headers.get(b"content-length", b"")
    if length.isdigit() and (len(length) > 18 or int(length) > most):
        raise large
    parts, size, more = [], 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size, more = size + len(parts[-1]), message.get("more_body", False)
        if size > most:
            raise large
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def unless_gone(request: Request, work: Awaitable[Any]) -> Any:
    """Return what ``work`` does, or raise :class:`Gone` when the client leaves before it is done: then it is cancelled."""
    watch = _Watch(request, asyncio.current_task())
    timer = asyncio.get_running_loop().call_later(LOOK_AFTER_S, watch.begin)
    try:
        return await work
    except asyncio.CancelledError:
        if not watch.gone:
            raise
        watch.waiting.uncancel()
        raise Gone from None
    finally:
        timer.cancel()
        watch.end()


class _Watch:
    """Cancels ``waiting`` when the client leaves. A task of its own, and so begun only for answers that are not there soon."""

    def __init__(self, request: Request, waiting: asyncio.Task[Any] | None) -> None:
        assert waiting is not None  # a request is always a task's
        self.request, self.waiting, self.gone = request, waiting, False
        self.task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self.task = asyncio.ensure_future(self._leaves())
        self.task.add_done_callback(self._left)

    def end(self) -> None:
        if self.task is not None:
            self.task.remove_done_callback(self._left)
            self.task.cancel()

    async def _leaves(self) -> None:
        with contextlib.suppress(Exception):  # a connection that can't be read from is gone
            while (await self.request.receive())["type"] != "http.disconnect":
                pass

    def _left(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.gone = True
            self.waiting.cancel()
