"""What a run says while it works: events to ``events.jsonl``, and to whoever listens (the terminal, a test).

Values of environment variables that a recipe names as secrets are replaced before anything is written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import storage

Listener = Callable[[dict[str, Any]], None]


@dataclass
class RunLog:
    """Writes events; ``path`` None keeps them in memory only for the listeners."""

    path: Path | None = None
    listeners: list[Listener] = field(default_factory=list)
    secrets: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)  # wall clock by stage, of this invocation

    def event(self, kind: str, **data: Any) -> None:
        """Record one event: durable in the file, then shown."""
        record = {"time": round(time.time(), 3), "event": kind, **data}
        line = json.dumps(record, ensure_ascii=False, default=str)
        for secret in self.secrets:
            if secret:
                line = line.replace(secret, "***")
        if self.path is not None:
            storage.append_line(self.path, line)
        shown = json.loads(line)
        for listener in self.listeners:
            listener(shown)

    def say(self, text: str) -> None:
        """Tell people something worth a line."""
        self.event("say", text=text)

    def warn(self, text: str) -> None:
        self.event("warning", text=text)

    def progress(self, stage: str, done: float, total: float, detail: str = "") -> None:
        """Show how far a stage is, in its own units. Not written to the file: it would only be noise there."""
        record = {"time": time.time(), "event": "progress", "stage": stage, "done": done, "total": total, "detail": detail}
        for listener in self.listeners:
            listener(record)

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[None]:
        """Time a stage, and say that it began and how it ended."""
        self.event("stage.start", stage=name, title=title)
        began, how = time.perf_counter(), "failed"
        try:
            yield
            how = "done"
        finally:
            took = time.perf_counter() - began
            self.seconds[name] = self.seconds.get(name, 0.0) + took
            self.event("stage.end", stage=name, how=how, seconds=round(took, 3))
