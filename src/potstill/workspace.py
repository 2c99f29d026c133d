"""Where a run works: its recipe, its folder, its caches, its log. Handed from step to step."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import storage
from .cache import Cache
from .contracts import Engine, Progress, Task
from .lookup import load
from .recipe.recipe import Recipe
from .recipe.teacher import paid
from .records import Usage
from .runlog import RunLog


@dataclass
class Workspace:
    """A run at work. ``usage`` counts this invocation's calls to the teacher; ``run`` names the run folder in the store's ledger."""

    recipe: Recipe
    task: Task
    folder: Path
    log: RunLog
    engine: Engine
    run: str
    offline: bool = False
    consent: Callable[[str], bool] | None = None  # asks a person whether a cost is agreed to; None: nobody is there
    estimate: dict[str, Any] | None = None  # of what the teacher's answers will cost
    usage: Usage = field(default_factory=Usage)

    @property
    def cache(self) -> Cache:
        """The stages of this run."""
        return Cache(self.folder / "stages")

    @property
    def shared(self) -> Cache:
        """The stages that every recipe over the same data and teacher shares: adapted teachers."""
        return Cache(storage.home() / "stages")

    @property
    def threads(self) -> int:
        return self.recipe.threads or os.cpu_count() or 1

    def spent(self) -> Any:
        """Return the calls to the teacher of all this folder's invocations, killed ones too, and what they cost: see ``LabelStore.spent``."""
        root = storage.home() / "labels"
        if not root.is_dir():
            return load("potstill.labels.entries:Spent")()
        index = load("potstill.labels.index:Index")(root)
        try:
            return index.spent(self.run)
        finally:
            index.close()

    def bill(self) -> tuple[float, float]:
        """Return what the teacher has cost so far in USD: what is booked, and with it what was possibly paid."""
        spent = self.spent()
        usd = max(spent.usd, spent.calls * self.price)  # calls that an older potstill booked have no price there
        return usd, usd + max(spent.possibly_usd, spent.possibly_paid * self.price)

    @property
    def price(self) -> float:
        """USD for one answer of a teacher whose answers all cost the same."""
        return getattr(self.recipe.teacher, "usd_per_1000", 0.0) / 1000

    @property
    def paid(self) -> bool:
        """Whether the teacher's answers cost money."""
        return paid(self.recipe.teacher)

    def progress(self, stage: str) -> Progress:
        """Return what a stage calls to say how far it is."""

        def say(done: float, total: float, detail: str = "") -> None:
            self.log.progress(stage, done, total, detail)

        return say


@contextmanager
def open_workspace(
    recipe: Recipe, folder: Path, log: RunLog, *, offline: bool, fresh: bool, consent: Callable[[str], bool] | None = None
) -> Iterator[Workspace]:
    """Hold the run's folder alone while working in it; raises LockedError where another run has it. ``fresh`` forgets its stages."""
    with storage.locked(folder):
        storage.sweep(folder)
        if fresh:
            shutil.rmtree(folder / "stages", ignore_errors=True)
        log.path = folder / "events.jsonl"
        task = load("potstill.tasks:task")(recipe.task, separator=recipe.data.separator)
        yield Workspace(recipe, task, folder, log, load("potstill.engines:engine")(recipe.engine), _run(folder), offline, consent)


def _run(folder: Path) -> str:
    """Return the folder's name in the ledger: its own from its first invocation on, and its own still where it is moved."""
    path = folder / "run.json"
    if not path.is_file():
        storage.write_json(path, {"run": uuid.uuid4().hex}, point="run.name")
    return str(storage.read_json(path)["run"])
