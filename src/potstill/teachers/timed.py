"""A teacher as it runs today, for measuring: opened from plain JSON in a process of its own, in its best batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contracts import Teacher
from ..lookup import load
from ..records import Answered, Example, Field, Head, Want
from .build import opened

LOGPROBS = Want("logprobs")


@dataclass(frozen=True)
class TimedTeacher:
    """Length-sorted batches of ``batch_size`` rows, as a service that gathers requests would make them."""

    teacher: Teacher
    want: Want = LOGPROBS

    def predict(self, rows: Sequence[Mapping[str, Field]], batch_size: int = 32) -> np.ndarray:
        """Return log-probabilities, of labels log-odds *Shape:* (rows, classes); a row of NaN where there was no answer, for its time counts too."""
        order = sorted(range(len(rows)), key=lambda i: sum(len(str(value)) for value in rows[i].values()))
        out = np.full((len(rows), len(self.teacher.labels)), np.nan, np.float32)
        for start in range(0, len(order), batch_size):
            asked = [Example(str(i), rows[i]) for i in order[start : start + batch_size]]
            for place, answer in self.teacher.answer(asked, [self.want]):
                if isinstance(answer, Answered):
                    out[int(place)] = answer.arrays[self.want][0]
        return out


def open_timed(spec: Mapping[str, Any]) -> Any:
    """Open {"labels", "head" (its kind), "threads", and what :func:`build.opened` reads}: something with ``predict(rows, batch_size)``."""
    head = Head(spec.get("head", "classes"), tuple(spec["labels"]))
    if head.kind == "tokens":
        return load("potstill.measuring.openers:Generating")(opened(spec, head, threads=spec["threads"]).ticks)  # type: ignore[attr-defined]
    return TimedTeacher(opened(spec, head, threads=spec["threads"]), head.want)
