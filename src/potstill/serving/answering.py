"""One request's rows, from the student's scores to answers: kept, passed on, or flagged because they could not be."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..cascade.conformal import sets
from .behind import Behind, Teacher
from .measures import Measures
from .models import Model
from .scheduler import Row, Scheduler

SHARE = 0.9  # of the time that a request has left: a teacher that does not answer leaves some to tell the student's answer in


class Refused(Exception):
    """Rows had to be passed on and could not be, and the policy would rather say nothing; the argument is the reason."""


@dataclass(frozen=True)
class Prediction:
    """One row's answer: what is told (a label, or the labels), the scores by label, who said so, and what to know of it.

    ``score``: the probability of the label told, None where labels are. ``flag``: why a row that should have been passed on was not.
    ``within``: the conformal label set, None where the policy has none, or the teacher answered.
    """

    told: str | list[str]
    score: float | None
    scores: Mapping[str, float]
    served_by: str
    confidence: float
    flag: str = ""
    within: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Answered:
    """A request that was answered: what hooks hear (a traffic log, a monitor). ``teacher``: what it said of the rows passed on, by place."""

    alias: str
    model: Model
    rows: Sequence[Row]
    predictions: Sequence[Prediction]
    teacher: Mapping[int, np.ndarray]
    seconds: Mapping[str, float]


Hook = Callable[[Answered], None]


@dataclass
class Answering:
    """The way of every request. ``hooks`` are called in the event loop's thread, after the answer was made: they must be quick."""

    scheduler: Scheduler
    measures: Measures
    teachers: Mapping[str, Teacher] = field(default_factory=dict)  # by alias
    hooks: list[Hook] = field(default_factory=list)
    behind: dict[str, Behind] = field(default_factory=dict)

    async def answer(self, alias: str, model: Model, rows: Sequence[Row], within_s: float, unread_s: float = 0.0) -> Answered:
        """Return the rows' answers; ``unread_s``: see :meth:`scheduler.Scheduler.submit`.

        Raises :class:`scheduler.Busy`, :class:`Refused`, and DataError for rows that the model can't read.
        """
        began = time.monotonic()
        scored = await self.scheduler.submit(model, rows, unread_s)
        seconds = {"queue": scored.queue_s, "tokenize": scored.tokenize_s, "infer": scored.infer_s}
        sure, passed = model.passes_on(scored.scores)
        places = np.flatnonzero(passed).tolist()
        said: dict[int, np.ndarray] = {}
        flags: dict[int, str] = {}
        if places:
            asked = time.monotonic()
            said, flags = await self._pass_on(alias, model, rows, places, SHARE * (within_s - (asked - began)))
            seconds["teacher"] = time.monotonic() - asked
        predictions = self._predictions(model, scored.scores, sure, said, flags)
        self._count(alias, model, predictions, seconds, len(said))
        answered = Answered(alias, model, rows, predictions, said, seconds)
        for hook in self.hooks:
            hook(answered)
        return answered

    async def _pass_on(
        self, alias: str, model: Model, rows: Sequence[Row], places: Sequence[int], within_s: float
    ) -> tuple[dict[int, np.ndarray], dict[int, str]]:  # fmt: skip
        assert model.policy is not None
        behind = self.behind.setdefault(alias, Behind(self.teachers.get(alias)))
        asked, width = [rows[place] for place in places], len(model.predictor.labels)
        found, reasons = await behind.ask(asked, width, max(0.0, within_s), model.policy.limits)
        flags = {place: reason for place, reason in zip(places, reasons) if reason}
        for reason in flags.values():
            self.measures.of(self.measures.flagged, alias, reason).inc()
        if flags and model.policy.limits.unreachable == "refuse":
            raise Refused(next(iter(flags.values())))
        return {place: scores for place, scores in zip(places, found) if scores is not None}, flags

    def _predictions(
        self, model: Model, scores: np.ndarray, sure: np.ndarray, said: Mapping[int, np.ndarray], flags: Mapping[int, str]
    ) -> list[Prediction]:  # fmt: skip
        predictor = model.predictor
        final = scores.copy()
        for place, answer in said.items():
            final[place] = answer
        told, probabilities = predictor.decide(final), predictor.probabilities(final)
        for place in said:
            if predictor.kind == "labels":  # the thresholds are the student's own: a teacher's log-odds decide at 0
                told[place] = [predictor.labels[i] for i in np.flatnonzero(final[place] >= 0)]
        inside = self._sets(model, probabilities)
        found = []
        for place, (label, row) in enumerate(zip(told, probabilities.tolist())):
            by = dict(zip(predictor.labels, (round(p, 6) for p in row)))
            within = None if inside is None or place in said else tuple(name for name, there in zip(predictor.labels, inside[place]) if there)
            score = None if isinstance(label, list) else round(max(row), 6)
            found.append(Prediction(label, score, by, "teacher" if place in said else "student", float(sure[place]), flags.get(place, ""), within))
        return found

    @staticmethod
    def _sets(model: Model, probabilities: np.ndarray) -> np.ndarray | None:
        return None if model.policy is None or model.policy.sets is None else sets(probabilities, model.policy.sets.level)

    def _count(self, alias: str, model: Model, predictions: Sequence[Prediction], seconds: Mapping[str, float], taught: int) -> None:
        for who in ("student", "teacher"):
            if count := sum(one.served_by == who for one in predictions):
                self.measures.of(self.measures.rows, alias, who).inc(count)
        for part, took in seconds.items():
            self.measures.of(self.measures.parts, part).observe(took)
        if taught and model.policy is not None:
            self.measures.of(self.measures.usd, alias).inc(taught * model.policy.limits.usd_per_1000 / 1000)

    async def close(self) -> None:
        for teacher in {id(teacher): teacher for teacher in self.teachers.values()}.values():
            await teacher.close()


def as_native(one: Prediction) -> dict[str, Any]:
    """Return an answer as CONTRACT has it; what is not there is left out."""
    told: dict[str, Any] = {"labels": one.told} if isinstance(one.told, list) else {"label": one.told, "score": one.score}
    told |= {"scores": dict(one.scores), "served_by": one.served_by, "confidence": round(one.confidence, 6)}
    if one.flag:
        told["flag"] = one.flag
    if one.within is not None:
        told["set"] = list(one.within)
    return told
