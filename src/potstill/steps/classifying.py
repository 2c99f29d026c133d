"""Classifiers: a row's scores are log-probabilities of classes, or log-odds of labels. See :mod:`.said`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..lookup import load
from ..recipe.students import USES_HIDDEN
from ..records import Example, Want
from ..workspace import Workspace
from .data import Data
from .teach import thresholds

CONTROL_TERM = {"kind": "hard", "weight": 1.0}  # and the weights of the classes, where the student's own has some


@dataclass(frozen=True)
class Classifying:
    work: Workspace
    data: Data

    floor_name = "TF-IDF + linear"
    floor_words = "TF-IDF with a linear model"
    chance_name = "majority"
    opener = "artifact"
    decides = True  # of each row: so rows can be right, sure, and flip

    def admit(self, teaching: Any) -> None:
        """Let every student in: what each of them reads by is its own."""

    def want(self, teaching: Any) -> Want:
        """Return what the teacher is asked for to be judged by."""
        return self.data.head.want

    def costing(self, rows: Sequence[Example]) -> list[Example]:
        """Return the rows about which asking takes a call: all."""
        return list(rows)

    @property
    def divergence(self) -> str:
        """What a divergence from the teacher is over."""
        return self.data.head.kind

    def asked(self, teaching: Any, rows: Sequence[Example], *, count: bool = True) -> Any:
        """Return the answers that the teacher is judged by, as they were said: not calibrated, for that may take calls of its own."""
        return teaching.raw(rows, [self.want(teaching)], count=count)

    def teacher(self, teaching: Any, rows: Sequence[Example], *, count: bool = True) -> np.ndarray:
        """Return the teacher's scores *Shape:* (n, classes); a row of NaN where it gave no answer."""
        want = self.data.head.want
        answers = teaching.ask(rows, [want], count=count)
        out = np.full((len(rows), self.data.head.width), np.nan, np.float32)
        known = set(answers.answered(row.id for row in rows))
        places = [i for i, row in enumerate(rows) if row.id in known]
        if places:
            out[places] = answers.array([rows[i].id for i in places], want)
        return out

    def artifact(self, teaching: Any, folder: Path, rows: Sequence[Example]) -> np.ndarray:
        """Return an artifact's scores."""
        found: np.ndarray = load("potstill.serving.predictor:Predictor").open(folder, threads=self.work.threads).predict([row.fields for row in rows])
        return found

    def floor(self, teaching: Any) -> Any:
        """Return the cheapest thing that learns, TF-IDF with a linear model, fitted on the gold rows."""
        gold = [row for row in self.data.train if row.gold is not None]
        task, head, seed = self.work.task, self.data.head, self.work.recipe.seeds[0]
        texts, encoded = [task.text(row) for row in gold], task.encode(gold, head)
        if head.kind == "labels":
            return load("potstill.baselines.labels:labels_floor")(texts, encoded, seed=seed)
        return load("potstill.baselines.floor:floor")(texts, encoded, classes=head.width, seed=seed)

    def below(self, fitted: Any, teaching: Any, rows: Sequence[Example]) -> np.ndarray:
        """Return what a floor that was fitted says."""
        found: np.ndarray = fitted.predict_logprobs([self.work.task.text(row) for row in rows])
        return found

    def wants(self, teaching: Any) -> set[Want]:
        """Return what all objectives of all students need to know of the teacher."""
        facts, head = teaching.teacher.facts(), self.data.head
        found: set[Want] = {head.want}
        for spec in self.work.recipe.students:
            layers = spec.layers if isinstance(spec, USES_HIDDEN) else 0
            terms, _ = load("potstill.objectives.build:build")(
                [term.model_dump(mode="json") for term in self.work.recipe.objectives_of(spec)], head_width=head.width,
                student_layers=layers if isinstance(layers, int) else len(layers), student_width=facts.get("width") or 0,
                teacher_layers=facts.get("layers") or 0, teacher_width=facts.get("width") or 0, seed=0,
                student_heads=facts.get("heads") or 0, teacher_heads=facts.get("heads") or 0, head_kind=head.kind,
            )  # fmt: skip
            found |= {want for term in terms for want in term.needs}
        return found

    def depends(self, teaching: Any, arm: str) -> dict[str, Any]:
        """Return what else a trained student, or its labels, depends on: no more than all stages do."""
        return {}

    def label(self, teaching: Any, rows: Sequence[Example]) -> Any:
        """Ask the teacher all that the students' objectives need to know of rows."""
        return teaching.ask(rows, sorted(self.wants(teaching), key=lambda want: want.key))

    def control_terms(self, terms: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
        return control_terms(terms)

    def reading(self, student: Any, teaching: Any, rows: Sequence[Example]) -> Any:
        """Return the student as it reads rows: as it was built."""
        return student

    def records(self, teaching: Any, student: Any, rows: Sequence[Example], wants: Sequence[Want]) -> tuple[list[Example], Any]:
        """Return the rows that the teacher answered, and all that the loop takes of them; all rows where nothing is wanted of it."""
        known, taught = list(rows), {}
        if wants:
            answers = teaching.ask(rows, wants, count=False)
            answered = set(answers.answered(row.id for row in rows))
            known = [row for row in rows if row.id in answered]
            taught = {want: answers.arrays([row.id for row in known], want) for want in wants}
        items, gold = student.preprocess.encode([row.fields for row in known]), self.work.task.encode(known, self.data.head)
        return known, load("potstill.training.records:TrainingRows")(items=items, gold=gold, teacher=taught)

    def trained(self, student: Any, rows: Sequence[Example]) -> np.ndarray:
        """Return the scores of a student that is being trained."""
        found: np.ndarray = load("potstill.training.loop:predict")(student, student.preprocess.encode([row.fields for row in rows]))
        return found

    def export(self, student: Any, folder: Path, *, judge: Any, gate: Any, rows: Sequence[Mapping[str, Any]]) -> tuple[Any, dict[str, Any]]:
        """Write the smallest artifact that passes the gate; ``judge`` says of an artifact's folder what it is worth and decides."""
        found: tuple[Any, dict[str, Any]] = load("potstill.export.ladder:export")(
            student, folder, precision=self.work.recipe.export.precision, judge=lambda predictor: judge(predictor.folder), gate=gate, rows=rows,
            log=self.work.log,
        )  # fmt: skip
        return found

    def timed(self, subjects: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what was measured of each subject, and how many times as fast as the teacher each is, where it could be timed."""
        module = "potstill.measuring.measure"
        found = load(f"{module}:measure")(subjects, rows, threads=self.work.threads, log=self.work.log)
        ratios = {name: load(f"{module}:speedup")(one, found["teacher"]) for name, one in found.items() if name != "teacher" and "teacher" in found}
        return {name: one.as_json() for name, one in found.items()}, ratios

    def pack(self, folder: Path, artifact: Any, rows: Sequence[Mapping[str, Any]], facts: Any, **given: Any) -> None:
        """Pack an artifact as a bundle with its probes; ``facts``: from the fields that it reads to what the card tells."""
        predictor = load("potstill.serving.predictor:Predictor").open(artifact.folder, threads=1)
        load("potstill.bundle.write:write")(
            folder, artifact, rows=rows, facts=facts(predictor.fields), fields=predictor.fields, labels=predictor.labels, predict=predictor.predict,
            decide=predictor.decide, **given,
        )  # fmt: skip

    def chance(self, like: np.ndarray) -> np.ndarray:
        """Return the scores of someone who knows only how common each label is among the rows to learn from, for as many rows as ``like`` has.

        With any number of labels a row: the log-odds of each label's share, its thresholds chosen and taken off as everyone's are. Chance
        without them tells nothing at all where no label applies to half the rows, and any model that tells something would be above it.
        """
        head, rows = self.data.head, len(like)
        gold = self.work.task.encode([row for row in (*self.data.train, *self.data.validation) if row.gold is not None], head)
        if head.kind == "labels":
            yes = gold.sum(axis=0, dtype=np.int64) + 1
            odds = np.log(yes / (len(gold) + 2 - yes)).astype(np.float32)
            off = thresholds(self.work, self.data, np.tile(odds, (len(self.data.validation), 1)))
            return np.tile(odds - np.array(off, np.float32), (rows, 1))
        shares = (np.bincount(gold, minlength=head.width) + 1) / (len(gold) + head.width)
        return np.tile(np.log(shares).astype(np.float32), (rows, 1))


def control_terms(terms: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return what a control learns by: the gold labels, weighed as its student's are."""
    weighed = next((term["class_weights"] for term in terms if "class_weights" in term), None)
    return (CONTROL_TERM | ({} if weighed is None else {"class_weights": weighed}),)
