"""The teacher as it runs today, for measuring: opened from plain JSON in a process of its own, in its best batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..recipe.teacher import ModelTeacher as Spec
from ..records import Field, Head
from .model import ModelTeacher, open_model


@dataclass(frozen=True)
class TimedTeacher:
    """Length-sorted batches of ``batch_size`` rows, as a service that gathers requests would make them."""

    teacher: ModelTeacher

    def predict(self, rows: Sequence[Mapping[str, Field]], batch_size: int = 32) -> np.ndarray:
        """Return log-probabilities *Shape:* (rows, classes)."""
        order = sorted(range(len(rows)), key=lambda i: sum(len(str(value)) for value in rows[i].values()))
        out = np.empty((len(rows), len(self.teacher.labels)), np.float32)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            out[batch] = self.teacher.predict([rows[i] for i in batch])
        return out


def open_timed(spec: Mapping[str, Any]) -> TimedTeacher:
    """Open {"teacher": its section of the recipe, "labels", "folder", "threads"}."""
    head = Head("classes", tuple(spec["labels"]))
    section = Spec.model_validate(spec["teacher"])
    return TimedTeacher(open_model(section, head, folder=Path(spec["folder"]), threads=spec["threads"]))
