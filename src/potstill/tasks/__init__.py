"""WHAT IS ASKED. Reads rows of data into examples, says which head a student needs and how an answer is judged; writes nothing.

Text classification and text generation so far. Everything else in potstill meets a task through ``contracts.Task`` alone.
"""

from __future__ import annotations

from typing import cast

from .. import lookup
from ..contracts import Task
from ..errors import UserError

TASKS = {"text-classification": "potstill.tasks.classification:TextClassification", "text-generation": "potstill.tasks.generation:TextGeneration"}
MANY = {"text-classification": "potstill.tasks.multilabel:MultiLabelClassification"}  # the same, where any number of labels apply


def task(name: str, *, separator: str | None = None) -> Task:
    """Return the task called ``name``; with ``separator``, which parts the labels in a text cell, that of any number of labels a row.

    Raises :class:`UserError` naming the known ones.
    """
    if name not in TASKS:
        raise UserError(f"there is no task '{name}'", place="task", remedy=lookup.did_you_mean(name, TASKS))
    return cast(Task, lookup.load(TASKS[name])() if separator is None else lookup.load(MANY[name])(separator))


__all__ = ["TASKS", "task"]
