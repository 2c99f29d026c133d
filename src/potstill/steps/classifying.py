"""Classifiers: a row's scores are log-probabilities of classes, or log-odds of labels. See :mod:`.said`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..lookup import load
from ..records import Example
from ..workspace import Workspace
from .data import Data
from .teach import thresholds


@dataclass(frozen=True)
class Classifying:
    work: Workspace
    data: Data

    floor_name = "TF-IDF + linear"
    chance_name = "majority"

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
