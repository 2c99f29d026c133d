"""Where errors end: one line on standard error, an exit code, and for a fault of ours a trace in a file."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from .. import storage
from ..errors import DONE, FAULT, INTERRUPTED, USER, PotstillError, ProblemsError, UserError
from ..lookup import did_you_mean
from ..runlog import RunLog

UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer brings its own click, or uses the installed one: this is the one in use


@dataclass
class Edge:
    """What the error line needs to know of the command that ran: whether a trace is wanted, and the log of its run."""

    debug: bool = False
    log: RunLog = field(default_factory=RunLog)


edge = Edge()


def guarded(command: Callable[[], Any]) -> int:
    """Run ``command`` and return the exit code; never raises."""
    edge.debug, edge.log = False, RunLog()
    try:
        with terminated_like_interrupted():
            code = command()
            sys.stdout.flush()
        return code if isinstance(code, int) else DONE
    except typer.Exit as leave:
        return int(leave.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted; the same command goes on where it stopped")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except UsageError as error:
        say(_usage(error))
        return USER
    except PotstillError as error:
        if error.exit_code == FAULT:
            return _fault(error)
        say(line_of(error))
        if edge.debug:
            say(traceback.format_exc().rstrip())
        return error.exit_code
    except Exception as error:
        return _fault(error)


def line_of(error: PotstillError) -> str:
    """Return an error as one line; a file's problems as one line each."""
    if isinstance(error, ProblemsError):
        lines = [joined(problem.place, problem.message, problem.remedy) for problem in error.problems]
        return lines[0] if len(lines) == 1 else "\n".join([f"{error.message}:", *(f"  {line}" for line in lines)])
    return joined(error.place, error.message, error.remedy)


def say(text: str) -> None:
    """Write words for people."""
    typer.echo(f"potstill: {text}", err=True)


def joined(place: str, message: str, remedy: str) -> str:
    """Return place, message and remedy as one line."""
    head = f"{place}: {message}" if place else message
    return " ".join((f"{head}; {remedy}" if remedy else head).split("\n"))


def _usage(error: Any) -> str:
    context = getattr(error, "ctx", None)
    words = " ".join(str(error.format_message()).split())
    return f"{words} See `{context.command_path} --help`" if context is not None else words


def _fault(error: BaseException) -> int:
    trace = traceback.format_exc()
    what = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    say(f"{what} (a fault of ours; the trace is in {_keep(trace)}{'' if edge.debug else '; --debug shows it'})")
    if edge.debug:
        typer.echo(trace, err=True)
    return FAULT


def _keep(trace: str) -> str:
    """Write a trace to the log of the run, else to a file of its own; return where it is."""
    try:
        if edge.log.path is not None:
            edge.log.event("error", trace=trace)
            return str(edge.log.path)
        path = storage.home() / "crashes" / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt"
        storage.write_text(path, trace)
        return str(path)
    except (OSError, PotstillError):  # a full disk may well be why we are here
        typer.echo(trace, err=True)
        return "the lines above"


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does while inside; no-op outside of the main thread, where no handler can be set."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def folder_of(path: Path, file: str, what: str, remedy: str) -> Path:
    """Return ``path`` when it holds ``file``. Raises UserError that names what stands near it otherwise."""
    if (path / file).is_file():
        return path
    if path.is_dir():
        raise UserError(f"this is no {what}: it has no {file}", place=str(path), remedy=remedy)
    there = [p.parent.name for p in path.parent.glob(f"*/{file}")] if path.parent.is_dir() else []
    raise UserError(f"there is no such {what}", place=str(path), remedy=did_you_mean(path.name, there) or remedy)
