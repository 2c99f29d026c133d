"""What people see while a run works: the stage, a bar, what is left of the stage and of the whole. On standard error."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from ..runlog import RunLog
from .plan import Plan

EVERY_SECONDS = 10.0  # at most one line of progress in this time, where nobody can see a bar move


class View(Protocol):
    """How lines and progress get to people."""

    def line(self, text: str) -> None: ...

    def progress(self, title: str, share: float, detail: str, left: str) -> None: ...

    def idle(self) -> None:
        """No stage runs now."""


@dataclass
class Screen:
    """Listens to a :class:`RunLog` and tells a view what to show."""

    view: View
    plan: Plan
    clock: Callable[[], float] = time.monotonic
    titles: dict[str, str] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)
    first: dict[str, tuple[float, float]] = field(default_factory=dict)  # by stage: when its first progress came, and how far it was

    def __call__(self, event: dict[str, Any]) -> None:
        handle = {
            "stage.start": self._start, "stage.end": self._end, "progress": self._progress,
            "say": lambda e: self.view.line(str(e["text"])), "warning": lambda e: self.view.line(f"note: {e['text']}"),
        }.get(event["event"])  # fmt: skip
        if handle is not None:
            handle(event)

    def _start(self, event: dict[str, Any]) -> None:
        stage, now = event["stage"], self.clock()
        self.titles[stage], self.began[stage] = event.get("title", stage), now
        self.first.pop(stage, None)
        self.running.append(stage)
        self.plan.start(stage, now)
        self.view.progress(self.titles[stage], 0.0, "", self._left(None, 0.0, now))

    def _end(self, event: dict[str, Any]) -> None:
        stage, now = event["stage"], self.clock()
        self.plan.end(stage, now)
        self.running = [name for name in self.running if name != stage]
        self.view.idle()
        took = duration(now - self.began.get(stage, now))
        how = "" if event["how"] == "done" else ", not finished"
        self.view.line(f"{self.titles.get(stage, stage)}: {took}{how}")

    def _progress(self, event: dict[str, Any]) -> None:
        stage, now = event["stage"], self.clock()
        total = float(event["total"]) or 1.0
        share = min(max(float(event["done"]) / total, 0.0), 1.0)
        if stage not in self.running:  # one stage does another's work: the teacher is asked while the test rows are opened
            around = self.titles[self.running[-1]] if self.running else ""
            self.view.progress(", ".join(part for part in (around, stage) if part), share, str(event.get("detail") or ""), "")
            return
        since, before = self.first.setdefault(stage, (now, share))
        stage_left = (now - since) / (share - before) * (1 - share) if share > before and now - since > 1.0 else None
        self.view.progress(self.titles.get(stage, stage), share, str(event.get("detail") or ""), self._left(stage_left, share, now))

    def _left(self, stage: float | None, share: float, now: float) -> str:
        whole = self.plan.remaining(share, now)
        parts = [
            f"{duration(stage)} left" if stage is not None else "",
            f"whole run: about {duration(whole)} left" if whole is not None else "",
        ]
        return "; ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """Return "0:07", "12:03" or "1:02:03"."""
    whole = round(max(seconds, 0.0))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class Silent:
    """Shows nothing."""

    def line(self, text: str) -> None:
        """No-op."""

    def progress(self, title: str, share: float, detail: str, left: str) -> None:
        """No-op."""

    def idle(self) -> None:
        """No-op."""


@dataclass
class Lines:
    """Plain lines, for files and pipes: few, and each complete."""

    out: TextIO
    clock: Callable[[], float] = time.monotonic
    shown: float = field(default=float("-inf"))
    title: str = ""

    def line(self, text: str) -> None:
        self.out.write(text + "\n")
        self.out.flush()

    def progress(self, title: str, share: float, detail: str, left: str) -> None:
        now = self.clock()
        if title == self.title and now - self.shown < EVERY_SECONDS:
            return
        if title == self.title or now - self.shown >= EVERY_SECONDS:
            self.shown = now
            self.line(", ".join(part for part in (f"{title} {share:.0%}" if share else f"{title} ...", detail, left) if part))
        self.title = title

    def idle(self) -> None:
        self.title = ""


class Live:
    """A bar that moves, for terminals."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(), TextColumn("{task.fields[words]}", style="dim", markup=False),
        )  # fmt: skip
        self.bars = Progress(*columns, console=Console(stderr=True), transient=True)
        self.task: Any = None
        self.title = ""
        self.bars.start()

    def line(self, text: str) -> None:
        self.bars.console.print(text, markup=False, highlight=False)

    def progress(self, title: str, share: float, detail: str, left: str) -> None:
        words = "; ".join(part for part in (left, detail) if part)
        if self.task is None or title != self.title:
            self.idle()
            self.title, self.task = title, self.bars.add_task(title, total=1.0, words=words)
        self.bars.update(self.task, completed=share, words=words)

    def idle(self) -> None:
        if self.task is not None:
            self.bars.remove_task(self.task)
        self.task = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.bars.stop()
        try:
            yield
        finally:
            self.bars.start()

    def stop(self) -> None:
        self.bars.stop()


class _Libraries(logging.Handler):
    """Puts what libraries log into the run's events, where it can be looked up and is in nobody's way."""

    def __init__(self, log: RunLog) -> None:
        super().__init__(logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        self.log.event("library", logger=record.name, level=record.levelname, text=record.getMessage())


@contextmanager
def libraries_heard(log: RunLog) -> Iterator[None]:
    """Send the log records and the warnings of libraries to ``log`` while inside."""
    handler = _Libraries(log)
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(handler)


@contextmanager
def screen(log: RunLog, *, plan: Plan, quiet: bool) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Show what ``log`` says while inside: a bar on a terminal, lines elsewhere, nothing when ``quiet``. Gives what holds the bar still
    while a person is asked."""
    with libraries_heard(log):
        yield from _shown(log, plan, quiet)


def _shown(log: RunLog, plan: Plan, quiet: bool) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    if quiet or not sys.stderr.isatty():
        log.listeners.append(Screen(Silent() if quiet else Lines(sys.stderr), plan))
        yield nullcontext
        return
    live = Live()
    log.listeners.append(Screen(live, plan))
    try:
        yield live.paused
    finally:
        live.stop()
