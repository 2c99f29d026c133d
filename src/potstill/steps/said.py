"""What everyone says of rows: the teacher, the artifacts, the floor, and chance. One way for classifiers, one for language models.

Both have the same functions; all that a step knows of the kind of task is which of the two it asks: ``of``.
"""

from __future__ import annotations

from typing import Any

from ..lookup import load

WAYS = {"classes": "Classifying", "labels": "Classifying", "tokens": "Writing"}


def of(work: Any, data: Any) -> Any:
    """Return the way of this data's head: :class:`.classifying.Classifying` or :class:`.writing.Writing`."""
    way = WAYS[data.head.kind]
    return load(f"potstill.steps.{way.lower()}:{way}")(work, data)
