"""The process: a socket, the signals, what is opened while it already says that it lives, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import uvicorn

from ..bundle.probes import runtime
from ..errors import DONE, UserError
from .answering import Answered
from .app import Served, Serving, serving
from .behind import Aside
from .door import log
from .settings import Keys, Settings
from .tuning import cores


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own signals: ours drain."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Traffic(Protocol):
    """Whoever keeps what is answered: a hook, and what it has counted."""

    written: int
    dropped: int
    failed: int

    def __call__(self, answered: Answered) -> None: ...

    def close(self) -> None: ...


def serve(
    served: Sequence[Served], settings: Settings, keys: Keys, *, teachers: Mapping[str, Sequence[str]], traffic: Traffic | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> int:  # fmt: skip
    """Serve until SIGTERM or Ctrl-C; return the exit code. ``teachers``: by model's name, the command of a process that answers for it.
    ``traffic`` is closed at the end.

    Raises :class:`UserError` for an address that can't be had, and what opening a bundle or a teacher raises.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a worker is one thread
    try:
        with asyncio.Runner(loop_factory=_loop()) as runner:
            return runner.run(_serve(served, settings, keys, teachers, traffic, say))
    finally:
        if traffic is not None:
            traffic.close()


def _loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop: uvloop (extra `fast`) where it is installed, else None: asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(
    served: Sequence[Served], settings: Settings, keys: Keys, teachers: Mapping[str, Sequence[str]], traffic: Traffic | None, say: Callable[[str], None]
) -> int:  # fmt: skip
    asides = {command: Aside(command) for command in {tuple(command) for command in teachers.values()}}
    inside = serving(settings, keys, workers=settings.workers or cores(), teachers={name: asides[tuple(command)] for name, command in teachers.items()})
    if traffic is not None:
        _keep(inside, traffic)
    config = uvicorn.Config(
        inside.door, host=settings.host, port=settings.port, log_config=None, access_log=False, lifespan="off", server_header=False, ws="none",
        timeout_graceful_shutdown=max(1, round(settings.drain_s)), backlog=1024,
    )  # fmt: skip
    server, listener = _Uvicorn(config), _bound(settings.host, settings.port)
    _on_signals(server, inside)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    opening = asyncio.create_task(_open(inside, served, list(asides.values())))
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    address = f"http://{_shown(settings.host)}:{listener.getsockname()[1]}"
    say(f"listening on {address}, by {loop}'s event loop; not ready yet: opening {', '.join(one.name for one in served)}")
    try:
        await asyncio.wait({running, opening}, return_when=asyncio.FIRST_COMPLETED)
        if opening.done() and not opening.cancelled():
            if opening.exception() is None:
                _tell(inside, say)
            else:
                server.should_exit = True
        await running
    finally:
        opening.cancel()
        await inside.close()
    if opening.done() and not opening.cancelled():
        opening.result()  # raises what opening raised
    log("stopped", unanswered=inside.door.inside)
    return DONE


def _keep(inside: Serving, traffic: Traffic) -> None:
    """Let ``traffic`` hear of every answer, and show what became of it."""
    inside.answering.hooks.append(traffic)
    for name, words in (("written", "are in the traffic log"), ("dropped", "came faster than they were written"), ("failed", "the disk refused")):
        inside.measures.watch(f"potstill_traffic_{name}_rows", f"Rows that {words}.", lambda name=name: getattr(traffic, name))  # type: ignore[misc]


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound. Its protocol is named, for asyncio turns Nagle's algorithm off only where it is: without, each answer
    would wait 40 ms for the client's delayed ACK (uvicorn's own ``bind_socket`` does not name it). Raises :class:`UserError`."""
    refused = {"place": f"{host}:{port}", "remedy": "choose another --port, or --host"}
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise UserError(f"this address can't be had: {error.strerror}", **refused) from error
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise UserError(f"this address can't be had: {error.strerror}", **refused) from error
    made.set_inheritable(False)
    return made


async def _open(inside: Serving, served: Sequence[Served], asides: Sequence[Aside]) -> None:
    for teacher in asides:
        await teacher.start()
    await inside.open(served)


def _tell(inside: Serving, say: Callable[[str], None]) -> None:
    for name, alias in inside.aliases.by_name.items():
        for model, _ in alias.models:
            policy = "no policy: the student answers all" if model.policy is None else f"policy {model.policy.id}"
            if model.policy is not None and dict(model.policy.runtime) != runtime():
                policy += ", fitted on another processor or ONNX Runtime: fit it again here to be sure"
            say(f"{name}: {model.told()}; {policy}")
    say("ready")


def _on_signals(server: uvicorn.Server, inside: Serving) -> None:
    """Let SIGTERM and Ctrl-C stop in order: not ready, new requests refused, those inside answered; a second one stops at once."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if inside.door.stopping:
            server.force_exit = server.should_exit = True
            return
        inside.door.stopping = True
        inside.measures.ready.set(0)
        log("stopping", inside=inside.door.inside)
        loop.call_later(inside.settings.grace_s, setattr, server, "should_exit", True)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
