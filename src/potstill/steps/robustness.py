"""Step 10: a sample of the test rows, written otherwise, and everyone asked again: what it costs each. Described, nothing chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import storage
from ..cache import Stage
from ..evaluation.perturbations import changed
from ..evaluation.robustness import Elsewhere, Sides, describe, describe_elsewhere, sample
from ..evaluation.rows import answered
from ..lookup import load
from ..records import Example, group_numbers
from ..workspace import Workspace
from .data import Data
from .judge import Candidate, Opened
from .said import of as way_of
from .screen import hiding
from .teach import Teaching, learning_metric, save_arrays

ELSEWHERE = "out_of_domain"
SHOWN = 300  # characters of a text that stands as an example
Answer = Callable[[Sequence[Example]], np.ndarray]  # rows -> log-probabilities (rows, classes), NaN where there is no answer


def robustness(work: Workspace, data: Data, teaching: Teaching, found: Sequence[Candidate], opened: Opened) -> Stage:
    """Ask teacher, floor, each student's shipped artifact and its control about changed test rows, and rows of another kind.

    The teacher is asked where its answers cost nothing, or where the recipe says so. Only rows that the change did change count.
    """
    options = work.recipe.robustness

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("robustness", "asking everyone about the test texts written otherwise"):
            _Robustness(work, data, teaching, found, opened).run(folder)

    inputs = {
        "test": opened.stage.fingerprint, "options": options.model_dump(mode="json", exclude={"out_of_domain"}), "metric": learning_metric(work, data).name,
        "elsewhere": [[row.id, row.gold, row.group] for row in data.elsewhere], "unasked": unasked(work),
        **({"hidden": hidden.as_json()} if (hidden := hiding(work)) else {}),
    }  # fmt: skip
    return work.cache.get("robustness", inputs, make)


def recorded(work: Workspace) -> bool:
    """Whether the teacher is a recording, or an ensemble that has one."""
    return any(teacher.kind == "recorded" for _, teacher in load("potstill.recipe.teacher:members")(work.recipe.teacher))


def unasked(work: Workspace) -> str:
    """Return why the teacher is not asked about changed texts; empty where it is."""
    asked, kind = work.recipe.robustness.ask_teacher, work.recipe.teacher.kind
    if recorded(work):
        return "a recorded teacher can't be asked about changed texts"
    if kind == "endpoint" and work.offline:
        return "the teacher can't be asked offline"
    if asked is False:
        return "the recipe says not to ask the teacher about changed texts"
    if kind == "endpoint" and not asked:
        return "the teacher runs behind a server, so it was not asked about changed texts: robustness: {ask_teacher: true} asks it"
    if work.paid and not asked:
        return "the teacher's answers cost money, so it was not asked about changed texts: robustness: {ask_teacher: true} asks it"
    return ""


@dataclass(frozen=True)
class _Arm:
    """The rows of one change that it did change, and where they stand in the test; all of the test for rows of another kind."""

    name: str
    rows: tuple[Example, ...]
    places: np.ndarray
    unchanged: int = 0
    example: Mapping[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        return {"arm": self.name, "n": len(self.rows), "unchanged": self.unchanged, "example": self.example}


@dataclass(frozen=True)
class _Robustness:
    work: Workspace
    data: Data
    teaching: Teaching
    found: Sequence[Candidate]
    opened: Opened

    def run(self, folder: Path) -> None:
        said: dict[str, dict[str, np.ndarray]] = {}
        for name, answer in self._models():
            self.work.log.progress("robustness", len(said), 2 + 2 * len(self.found), name)
            said[name] = self._ask(name, answer)
        save_arrays(folder / "logprobs.npz", {f"{name}.{arm}": answers for name, arms in said.items() for arm, answers in arms.items()})
        storage.write_json(folder / "result.json", {
            "rows": len(self.places), "reference": "gold" if self.data.has_gold else "teacher", "metric": self.metric.name,
            "unasked": unasked(self.work), "arms": [arm.as_json() for arm in self.arms],
            "models": {name: [self._told(name, arm, said) for arm in self.arms if arm.name in said[name]] for name in said},
        })  # fmt: skip

    # ---------------------------------------------------------------------------------------------------------- the rows
    @cached_property
    def places(self) -> np.ndarray:
        """The test rows that are changed."""
        return sample(self.opened.rows, self.work.recipe.robustness.rows, self.work.recipe.robustness.seed)

    @cached_property
    def arms(self) -> list[_Arm]:
        arms = [self._arm(name) for name in self.work.recipe.robustness.arms]
        if self.data.elsewhere:
            drawn = sample(self.data.elsewhere, self.work.recipe.robustness.rows, self.work.recipe.robustness.seed)
            arms.append(_Arm(ELSEWHERE, tuple(self.data.elsewhere[i] for i in drawn), np.arange(len(self.opened.rows))))
        return [arm for arm in arms if arm.rows or arm.unchanged]

    def _arm(self, name: str) -> _Arm:
        options, rows = self.work.recipe.robustness, self.opened.rows
        made = {i: changed(rows[i], name, seed=options.seed, typo_rate=options.typo_rate) for i in self.places.tolist()}
        kept = [i for i, row in made.items() if row.id != rows[i].id]
        hide = hiding(self.work) or str
        texts = [hide(self.work.task.text(row))[:SHOWN] for i in kept[:1] for row in (rows[i], made[i])]
        example = dict(zip(("before", "after"), texts)) or None
        return _Arm(name, tuple(made[i] for i in kept), np.array(kept, int), len(made) - len(kept), example)

    # -------------------------------------------------------------------------------------------------------- the answers
    def _models(self) -> Iterator[tuple[str, Answer]]:
        """Yield each one's name in ``opened.logprobs``, and how it is asked: of a student what ships is asked, as it was about the test."""
        if not unasked(self.work) or recorded(self.work):  # which may hold answers to rows of another kind
            yield "teacher", self.teaching.logprobs
        if "floor" in self.opened.logprobs and self.arms:
            fitted = self.way.floor(self.teaching)
            yield "floor", lambda rows: np.asarray(self.way.below(fitted, self.teaching, rows))
        for candidate in self.found:
            yield candidate.model.name, self._predictor(candidate.artifact.folder)
            if candidate.control is not None:
                yield candidate.control.name, self._predictor(candidate.control.artifact.folder)

    def _predictor(self, folder: Path) -> Answer:
        return lambda rows: np.asarray(self.way.artifact(self.teaching, folder, rows))

    @cached_property
    def way(self) -> Any:
        return way_of(self.work, self.data)

    def _ask(self, name: str, answer: Answer) -> dict[str, np.ndarray]:
        """Return the answers by arm; all arms are asked at once, so that rows of like length share a batch."""
        arms = [arm for arm in self.arms if arm.rows and not (name == "teacher" and unasked(self.work) and arm.name != ELSEWHERE)]
        if not arms:
            return {}
        said = answer([row for arm in arms for row in arm.rows]) - self.opened.thresholds[name]
        return dict(zip((arm.name for arm in arms), np.split(said, np.cumsum([len(arm.rows) for arm in arms])[:-1])))

    # -------------------------------------------------------------------------------------------------------- the figures
    @property
    def metric(self) -> Any:
        """The main metric; without gold the task's first, against what the teacher decided on the rows as they are."""
        return learning_metric(self.work, self.data) if self.data.has_gold else next(iter(self.work.task.metrics(self.data.head).values()))

    def _told(self, name: str, arm: _Arm, said: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
        own, taught = said[name][arm.name], None if name == "teacher" else said.get("teacher", {}).get(arm.name)
        figures = self._elsewhere if arm.name == ELSEWHERE else self._changed
        return {"arm": arm.name, "unchanged": arm.unchanged, **figures(name, arm, own, taught)}

    def _changed(self, name: str, arm: _Arm, own: np.ndarray, taught: np.ndarray | None) -> dict[str, Any]:
        clean, groups, at = self.opened.logprobs, self.opened.groups, arm.places
        keep = answered(own) & answered(clean[name][at]) if name == "teacher" else np.ones(len(at), bool)  # a student always answers
        own, at = own[keep], at[keep]
        teacher = None if taught is None else Sides(clean["teacher"][at], taught)
        return describe(self.metric, self._right()[at], Sides(clean[name][at], own), None if groups is None else groups[at], teacher=teacher, looks=self.looks)

    def _elsewhere(self, name: str, arm: _Arm, own: np.ndarray, taught: np.ndarray | None) -> dict[str, Any]:
        gold, clean = self.work.task.encode(arm.rows, self.data.head), self.opened.logprobs
        here = Elsewhere(self.opened.gold, self.opened.groups, clean[name], clean["teacher"])
        return describe_elsewhere(self.metric, here, Elsewhere(gold, group_numbers(arm.rows), own, taught), looks=self.looks)

    @property
    def looks(self) -> int:
        """How many times a student is held against its teacher."""
        return max(1, len(self.found) * len(self.arms))

    def _right(self) -> np.ndarray:
        """Return what counts as right: gold; without it what the teacher decided on the rows as they are, -1 where it did not answer."""
        if self.data.has_gold:
            return self.opened.gold
        known = answered(self.opened.logprobs["teacher"])
        decided = self.work.task.decide(np.nan_to_num(self.opened.logprobs["teacher"]))
        decided[~known] = -1
        return decided
