"""The report as the page asks for it: the main metric, the student that is spoken of first, what may be null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from . import words

DECISIONS = {"ship", "do-not-ship", "inconclusive"}


@dataclass(frozen=True)
class View:
    """A report, read. Keys that an older or a thinner report lacks read as null."""

    report: Mapping[str, Any]

    def part(self, key: str) -> Mapping[str, Any]:
        """Return a section of the report, empty where it is null."""
        found: Mapping[str, Any] = self.report.get(key) or {}
        return found

    @cached_property
    def teacher(self) -> Mapping[str, Any]:
        return self.part("teacher")

    @cached_property
    def students(self) -> Sequence[Mapping[str, Any]]:
        """The students: the one that is spoken of first, then the others in the recipe's order."""
        found = list(self.report.get("students") or ())
        shown = self.part("verdict").get("student")
        best = max(found, key=lambda s: (s["name"] == shown, _score(s)), default=None)
        return [s for s in found if s is best] + [s for s in found if s is not best]

    @cached_property
    def decision(self) -> str | None:
        found = self.part("verdict").get("decision")
        return found if found in DECISIONS else None

    @cached_property
    def has_gold(self) -> bool:
        return bool(self.teacher.get("quality")) or any(s.get("quality") for s in self.students)

    @cached_property
    def metric(self) -> str:
        """The metric that the requirement names, else the main one; agreement where there is no gold."""
        required = (self.part("requirement").get("quality") or {}).get("metric")
        first = next(iter(self.teacher.get("quality") or next((s["quality"] for s in self.students if s.get("quality")), {})), "accuracy")
        return str(required or self.report.get("metric") or first) if self.has_gold else "agreement"

    @property
    def learning(self) -> str:
        """The metric that training and export went by: the main one, but where that is of answers that would have to be written each time."""
        return str(self.report.get("learning_metric") or self.metric)

    @property
    def judging(self) -> Any:
        """How many test rows the main metric is told of; None where that is not known."""
        written = self.part("generation")
        return written.get("judged") if self.metric in (written.get("metrics") or ()) else self.part("data").get("test")

    def quality(self, model: Mapping[str, Any], metric: str | None = None) -> float | None:
        return words.value((model.get("quality") or {}).get(metric or self.metric))

    def quality_bounds(self, model: Mapping[str, Any], metric: str | None = None) -> tuple[float, float] | None:
        return words.bounds((model.get("quality_intervals") or {}).get(metric or self.metric))

    def latency(self, model: Mapping[str, Any], name: str) -> float | None:
        return words.value((model.get("latency_ms") or {}).get(name))

    def latency_bounds(self, model: Mapping[str, Any], name: str) -> tuple[float, float] | None:
        return words.bounds((model.get("latency_intervals") or model.get("latency_ms") or {}).get(name))

    def why(self, key: str) -> str | None:
        """Return why ``key`` is null, where the report says so."""
        found = self.part("unmeasured").get(key)
        return None if found is None else str(found)


def _score(student: Mapping[str, Any]) -> float:
    """Return what ranks students where none ships: validation, never the test rows, where it is told."""
    score = words.value(student.get("validation_score"))
    return score if score is not None else words.value((student.get("fidelity") or {}).get("agreement")) or 0.0
