"""Steps 2 to 4: the teacher is adapted to the task, measured against the simplest models, and asked for answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import storage
from ..cache import Stage
from ..contracts import Teacher
from ..errors import TeacherError
from ..lookup import load
from ..records import Example, Limits, Want
from ..workspace import Workspace
from . import said
from .data import Data
from .ready import Ready, ready

CONTENT_FREE = ("N/A", "[MASK]", "")


@dataclass
class Teaching:
    """The teacher of a run: found by its fingerprint, opened (with all that it needs) only when it is asked."""

    work: Workspace
    data: Data
    ready: Ready
    headless: bool = False  # asked for its inner states alone
    coding: Any = None  # how what a language model says of tokens is kept, once that was settled: see :mod:`.coding`
    failed: dict[bytes, Any] = field(default_factory=dict)  # what failed in this invocation: the next one asks again, not every step of this

    @property
    def fingerprint(self) -> str:
        return self.ready.fingerprint

    @property
    def source(self) -> Path | None:
        """The model as given, before it was adapted: where controls start."""
        return self.ready.source

    @property
    def folder(self) -> Path | None:
        """The model that is asked."""
        return self.ready.folder

    @property
    def adapted(self) -> Stage | None:
        return self.ready.adapted

    @cached_property
    def teacher(self) -> Teacher:
        threads = self.work.threads
        if self.headless:
            encoder: Teacher = load("potstill.teachers.build:encoder")(self.ready.spec, self.folder, threads=threads)
            return encoder
        teacher: Teacher = load("potstill.teachers.build:opened")(self.ready.told(), self.data.head, threads=threads, wrap=self._through)
        return teacher

    def before(self) -> Teaching:
        """Return the model as it was given, before it was adapted, as a teacher without a head: the teacher of general distillation."""
        return Teaching(self.work, self.data, self.ready.before(), headless=True)

    def _through(self, member: Teacher) -> Teacher:
        """Return an ensemble's member as it is asked: its answers are kept under its own identity."""
        account = load("potstill.labels.account:Account")(self._store(), self.work.log, part=True)
        through: Teacher = load("potstill.labels.through:Through")(member, account)
        return through

    def _store(self) -> Any:
        return load("potstill.labels.store:LabelStore")(storage.home() / "labels", log=self.work.log)

    @cached_property
    def shift(self) -> np.ndarray | None:
        """What is added to log-probabilities so that a label's word has no pull of its own *Shape:* (labels,); None where nothing is.

        Of what the model says of texts without content (Zhao et al. 2021, arXiv:2102.09690, section 4), or on average of the validation rows
        (Zhou et al. 2023, arXiv:2309.17249): minus the log of the mean probabilities. No label is looked at. These are calls, asked once, as any.
        """
        how = getattr(self.ready.spec, "calibration", "none")
        if how == "none":
            return None
        validation = self.data.validation.examples
        empty = [Example.make(dict.fromkeys(self.ready.fields, text)) for text in CONTENT_FREE]
        rows = list(validation) if how == "validation" else empty
        answers = self.raw(rows, [self.data.head.want], count=True)
        known = answers.answered(row.id for row in rows)
        if not known:
            self.work.log.warn(f"calibration: {how}: the teacher answered none of its {len(rows):,} rows, so nothing is calibrated")
            return None
        shift: np.ndarray = -np.log(np.exp(answers.array(known, self.data.head.want).astype(np.float64)).mean(axis=0))
        return shift

    def ask(self, examples: Sequence[Example], wants: Sequence[Want], *, count: bool = True) -> Any:
        """Return the teacher's answers, from the store where it has them; ``count`` adds the calls to this run's usage."""
        return self.raw(examples, wants, count=count).shifted(self.shift)

    def raw(self, examples: Sequence[Example], wants: Sequence[Want], *, count: bool = True) -> Any:
        """Return the answers as they were said, not calibrated; see :meth:`ask`."""
        answers = load("potstill.labels.ask:ask")(self.teacher, examples, wants, self.account)
        if count:
            self.work.usage += answers.usage
            if answers.usage.cached_calls:
                answers.store.index.hit(self.work.run, self.teacher.identity(), answers.usage.cached_calls)
        return answers

    @property
    def account(self) -> Any:
        """On whose account the teacher is asked: this run's."""
        required, spec = self.work.recipe.requirement, self.work.recipe.teacher
        usd = required.max_cost_usd if required is not None and self.work.paid else None
        limits = Limits(usd, getattr(spec, "max_tokens", None), getattr(spec, "max_requests", None))
        offline = self.work.offline and self._remote
        return load("potstill.labels.account:Account")(self._store(), self.work.log, self.work.run, limits, offline, failed=self.failed)

    def logprobs(self, examples: Sequence[Example], *, count: bool = True) -> np.ndarray:
        """Return the teacher's scores, one row of them an example; of NaN where it gave no answer. See :mod:`.said`."""
        found: np.ndarray = said.of(self.work, self.data).teacher(self, examples, count=count)
        return found

    @property
    def _remote(self) -> bool:
        return self.work.recipe.teacher.kind == "endpoint"

    def close(self) -> None:
        """Let go of the model, if it was opened."""
        self.__dict__.pop("teacher", None)


def adapt(work: Workspace, data: Data) -> Teaching:
    """Make the teacher ready: a head for the task where the recipe says so, its precision; opened it is only when it is asked. Raises
    :class:`TeacherError` for a student that can't learn from it."""
    teaching = Teaching(work, data, ready(work, data, work.recipe.teacher))
    said.of(work, data).admit(teaching)
    return teaching


def standing(work: Workspace, data: Data, teaching: Teaching) -> Stage:
    """Measure the teacher on validation rows against the majority and the cheapest floor, before anything is spent on students.

    Raises :class:`TeacherError` for a teacher at chance.
    """

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("measure", "measuring the teacher against the floor"):
            scores = {"teacher": teaching.logprobs(data.validation.examples), "calibration": teaching.logprobs(data.calibration.examples)}
            _answers(teaching, scores["teacher"])
            result = {"facts": {**teaching.teacher.facts(), **_samples(teaching, scores["teacher"])}}
            if data.teaches_gold:
                way = said.of(work, data)
                fitted = way.floor(teaching)
                scores["floor"] = way.below(fitted, teaching, data.validation.examples)
                result["floor"] = {"size_bytes": fitted.size_bytes, "seconds": fitted.fit_seconds}
            save_arrays(folder / "validation.npz", scores)
            if data.head.kind == "labels":
                result["thresholds"] = {name: thresholds(work, data, scores[name]) for name in ("teacher", "floor") if name in scores}
            storage.write_json(folder / "result.json", result)

    inputs = {"teacher": teaching.fingerprint, "data": data.stage.fingerprint}
    if data.head.kind == "labels":
        inputs["metric"] = learning_metric(work, data).name  # what thresholds are chosen for
    stage = work.cache.get("standing", inputs, make)
    _judge(work, data, stage)
    load("potstill.steps.answers:stand")(work, data, teaching)
    return stage


def _samples(teaching: Teaching, said: np.ndarray) -> dict[str, Any]:
    """Return how far a teacher that is asked several times agrees with itself on the validation rows; nothing where it is asked once."""
    if getattr(teaching.ready.spec, "samples", 1) < 2:
        return {}
    found = load("potstill.evaluation.samples:agreement")(said, teaching.ready.spec.samples)
    teaching.work.log.say(load("potstill.evaluation.samples:in_words")(found))
    return {"self_agreement": found}


def _answers(teaching: Teaching, scores: np.ndarray) -> None:
    """Raise :class:`TeacherError`, with what it said of the first, where the teacher answered no validation row at all."""
    rows = teaching.data.validation.examples
    if len(rows) and np.isnan(scores).all():
        answers = said.of(teaching.work, teaching.data).asked(teaching, rows[:1], count=False)
        reason = getattr(answers.of(rows[0].id), "reason", "nothing")
        raise TeacherError(
            f"the teacher answered none of {len(rows):,} validation rows; of the first: {reason}", place=rows[0].place, remedy="mend the teacher"
        )


def _judge(work: Workspace, data: Data, stage: Stage) -> None:
    """Say how the teacher stands; stop where it is at chance."""
    if not data.has_gold:
        return
    found = baseline_figures(work, data, stage)
    metric = learning_metric(work, data)
    name = metric.name
    saturated = load("potstill.evaluation.calibration:saturated")(load_arrays(stage.folder / "validation.npz")["teacher"], data.head.kind)
    judged = load("potstill.evaluation.verdict:teacher_standing")(
        teacher=found["teacher"][name], majority=found["majority"][name], floor=found.get("floor", {}).get(name), n=len(data.validation),
        metric=name, higher_is_better=metric.higher_is_better, saturated=saturated, named=said.of(work, data).floor_words,
    )  # fmt: skip
    if judged.status == "refuse":
        raise TeacherError(judged.message, remedy="adapt it (`adapt: {how: finetune}`), check its labels, or choose another teacher")
    (work.log.warn if judged.status == "warn" else work.log.say)(judged.message)


def baseline_figures(work: Workspace, data: Data, stage: Stage) -> dict[str, dict[str, float]]:
    """Return the metrics on validation of teacher, floor and majority, on the rows that the teacher answered."""
    scores = on_validation(stage)
    gold = work.task.encode(data.validation.examples, data.head)
    known = np.isfinite(scores["teacher"]).any(axis=1) & labeled(gold)
    sides: dict[str, np.ndarray] = {name: scores[name][known] for name in ("teacher", "floor") if name in scores}
    sides["majority"] = said.of(work, data).chance(scores["teacher"])[known]
    return {name: quality(work, data, gold[known], logprobs) for name, logprobs in sides.items()}


def on_validation(stage: Stage) -> dict[str, np.ndarray]:
    """Return what teacher and floor said of the validation rows, by name, their thresholds taken off."""
    found = load_arrays(stage.folder / "validation.npz")
    return {name: scores - threshold(stage, name) if name in ("teacher", "floor") else scores for name, scores in found.items()}


def thresholds(work: Workspace, data: Data, scores: np.ndarray) -> list[float] | None:
    """Return what is taken off scores before they decide, chosen on these scores of the validation rows; None where nothing is."""
    if data.head.kind != "labels":
        return None
    gold = work.task.encode(data.validation.examples, data.head)
    found: list[float] = work.task.thresholds(gold, scores, learning_metric(work, data)).tolist()
    return found


def threshold(stage: Stage, name: str) -> np.ndarray:
    """Return the thresholds of ``teacher`` or ``floor``, that were chosen on validation *Shape:* (labels,); (1,) of 0 where there are none."""
    return np.array((stage.read().get("thresholds") or {}).get(name) or [0.0], np.float32)


def labeled(gold: np.ndarray) -> np.ndarray:
    """Return which rows have gold *Shape:* (rows,)."""
    found: np.ndarray = load("potstill.evaluation.decisions:of")(gold).labeled(gold)
    return found


def quality(work: Workspace, data: Data, gold: np.ndarray, logprobs: np.ndarray) -> dict[str, float]:
    """Return every metric of the task."""
    metrics = work.task.metrics(data.head)
    return {name: float(m.combine(m.statistics(gold, logprobs).sum(axis=0))) for name, m in metrics.items()}


def main_metric(work: Workspace, data: Data) -> Any:
    """Return the metric that the requirement names, else the task's first: what is told of the test rows."""
    return written_metric(work) or learning_metric(work, data)


def learning_metric(work: Workspace, data: Data) -> Any:
    """Return the metric that training, seeds, thresholds and the gate of int8 go by: the main one, but for answers that would have to be written each
    time, where it is the task's first."""
    metrics = work.task.metrics(data.head)
    return metrics.get(_required(work) or "") or next(iter(metrics.values()))


def written_metric(work: Workspace) -> Any:
    """Return the metric of written answers that the requirement names; None where it is about something else."""
    return load("potstill.evaluation.answers:METRICS").get(_required(work))


def _required(work: Workspace) -> str | None:
    required = work.recipe.requirement
    return required.quality.metric if required is not None and required.quality is not None else None


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, the same bytes for the same arrays."""
    np.savez(path, **arrays)  # type: ignore[arg-type]


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as found:
        return {name: found[name] for name in found.files}
