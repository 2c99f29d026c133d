"""WHAT IS ASKED. Reads rows of data into examples, says which head a student needs and how an answer is judged; writes nothing.

Text classification so far. Everything else in potstill meets a task through ``contracts.Task`` alone.
"""

from __future__ import annotations

from typing import cast

from .. import lookup
from ..contracts import Task
from ..errors import UserError

TASKS = {"text-classification": "potstill.tasks.classification:TextClassification"}


def task(name: str) -> Task:
    """Return the task called ``name``. Raises :class:`UserError` naming the known ones."""
    if name not in TASKS:
        raise UserError(f"there is no task '{name}'", place="task", remedy=lookup.did_you_mean(name, TASKS))
    return cast(Task, lookup.load(TASKS[name])())


__all__ = ["TASKS", "task"]
