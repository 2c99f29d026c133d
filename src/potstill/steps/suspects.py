"""Between labeling and learning: which labels deserve a second look, and, where the recipe says so, learning without them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import storage
from ..cache import Stage
from ..lookup import load
from ..records import Example
from ..workspace import Workspace
from .data import Data
from .label import Lesson, label
from .ready import ready
from .rounds import gain, learn_scout
from .teach import Teaching

FILE = "suspects.jsonl"
WHY_NOT = "any number of labels may apply to a row: no label was looked at"


def suspects(work: Workspace, data: Data, teaching: Teaching, standing: Stage, lesson: Lesson) -> tuple[Lesson, dict[str, Any]]:
    """Return what the students learn from, and what was found out about its labels; no-op where the recipe says ``suspects: ignore``.

    ``drop`` takes suspect labels away: a gold label, so that the row is the teacher's alone, and a row of the pool whose answer is
    suspect. ``ask`` asks the teacher about these rows again, with other shots, and takes away only what it then says otherwise. What that was
    worth is told by a scout that learns from either, on validation.
    """
    mode = work.recipe.suspects
    if mode == "ignore":
        return lesson, {}
    if data.head.kind != "classes":
        return lesson, {"why_not": WHY_NOT}
    stage = _found(work, data, teaching, lesson)
    told: dict[str, Any] = {**stage.read(), "mode": mode, "worth": None}
    lines = told.pop("lines")
    if mode == "ask":
        lines, told["again"] = _asked_again(work, data, lesson, lines)
    storage.write_text(work.folder / FILE, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    if mode in ("drop", "ask"):
        kept = _without(lesson, [line for line in lines if mode == "drop" or line.get("again") not in (None, line["label"])])
        if kept != lesson:
            label(work, data, teaching, kept)
            told["worth"] = gain(work, data, standing, learn_scout(work, data, teaching, lesson), learn_scout(work, data, teaching, kept))
        lesson = kept
    return lesson, told


def _asked_again(work: Workspace, data: Data, lesson: Lesson, lines: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the lines with what the teacher says of each suspect row ``again``, None where it gave no answer; and how that came out."""
    second = Teaching(work, data, ready(work, data, work.recipe.teacher.again()))
    wanted = {line["id"] for line in lines if line["whose"] != "conflict"}
    rows = list({row.id: row for row in lesson.rows if row.id in wanted}.values())

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("again", f"asking the teacher again, with other shots, about {len(rows):,} rows"):
            said = second.logprobs(rows)
            names = [data.head.labels[best] if known else None for best, known in zip(np.nan_to_num(said).argmax(axis=1), np.isfinite(said).all(axis=1))]
            storage.write_json(folder / "result.json", dict(zip((row.id for row in rows), names)))

    try:
        said = work.cache.get("again", {"teacher": second.fingerprint, "rows": [row.id for row in rows]}, make).read() if rows else {}
    finally:
        second.close()
    told = [line if line["whose"] == "conflict" else {**line, "again": said[line["id"]]} for line in lines]
    looked = [line for line in told if line["whose"] != "conflict"]
    counts = {
        "rows": len(rows), "confirmed": sum(line["again"] == line["label"] for line in looked),
        "otherwise": sum(line["again"] not in (None, line["label"]) for line in looked), "unanswered": sum(line["again"] is None for line in looked),
    }  # fmt: skip
    return told, counts


def _without(lesson: Lesson, found: Sequence[dict[str, Any]]) -> Lesson:
    """Return the lesson without suspect labels; a row whose twin has another label stays unless its own label is suspect."""
    gold, answers = ({line["id"] for line in found if line["whose"] == whose} for whose in ("gold", "teacher"))
    bare = [replace(row, gold=None) for row in lesson.gold if row.id in gold and row.id not in answers]
    labeled = [row for row in lesson.labeled if row.id not in answers]
    return Lesson(tuple(row for row in lesson.gold if row.id not in gold), (*bare, *labeled))


def _found(work: Workspace, data: Data, teaching: Teaching, lesson: Lesson) -> Stage:
    made = {row.id for row in (*data.train, *data.unlabeled)}
    rows = [row for row in lesson.rows if row.id in made]  # augmented rows are near to those they were made of: no fold would hold them out

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("suspects", f"looking for wrong labels among {len(rows):,} rows"):
            look = _Look(work, data, teaching, rows)
            parts = {"gold": look.gold(), "teacher": look.teacher()}
            twins = list(look.conflicts())
            lines = [line for part in parts.values() for line in part.pop("lines")] + twins
            storage.write_json(folder / "result.json", {**parts, "conflicts": len(twins), "lines": lines})

    inputs = {
        "rows": storage.digest([[row.id, row.gold] for row in rows]), "teacher": teaching.fingerprint, "threshold": work.recipe.data.near_duplicates,
        "seed": work.recipe.seeds[0],
    }  # fmt: skip
    return work.cache.get("suspects", inputs, make)


class _Look:
    """The rows, and who says what of them. Gold labels are judged by a teacher that never saw them, else, as the teacher's are, by the floor."""

    def __init__(self, work: Workspace, data: Data, teaching: Teaching, rows: Sequence[Example]) -> None:
        self.work, self.data, self.teaching, self.rows = work, data, teaching, rows
        self.texts = [work.task.text(row) for row in rows]
        self.given = work.task.encode(rows, data.head)
        self.said = teaching.logprobs(rows, count=False)
        answered = np.isfinite(self.said).all(axis=1)
        self.answers = np.where(answered, np.where(answered[:, None], self.said, 0.0).argmax(axis=1), -1)

    def gold(self) -> dict[str, Any]:
        if self.teaching.adapted is None:
            return self._part("gold", self.given, np.exp(self.said), "the teacher, which was not trained on them")
        return self._part("gold", self.given, self._held_out(self.given), "TF-IDF with a linear model, cross-validated")

    def teacher(self) -> dict[str, Any]:
        return self._part("teacher", self.answers, self._held_out(self.answers), "TF-IDF with a linear model, cross-validated")

    def conflicts(self) -> Iterator[dict[str, Any]]:
        """Yield rows that are near to one with another label, each taken at its gold, or at the teacher's word where it has none."""
        taught = np.where(self.given >= 0, self.given, self.answers)
        names = self.data.head.labels
        for row, twin, similarity in load("potstill.dataset.conflicts:conflicts")(self.texts, taught, self.work.recipe.data.near_duplicates):
            yield {
                **self._line(row, "conflict", names[taught[row]]), "twin": self.rows[twin].id, "twin_place": self.rows[twin].place,
                "twin_label": names[taught[twin]], "similarity": round(similarity, 4),
            }  # fmt: skip

    def _part(self, whose: str, given: np.ndarray, judged: np.ndarray, judge: str) -> dict[str, Any]:
        names = self.data.head.labels
        found = load("potstill.evaluation.suspects:suspects")(given, judged)
        lines = [
            {**self._line(one.row, whose, names[given[one.row]]), "likelier": names[one.likelier], "margin": round(one.margin, 4)}
            for one in found
        ]  # fmt: skip
        looked = int(((given >= 0) & np.isfinite(judged).all(axis=1)).sum())
        return {"judge": judge, "rows": looked, "suspects": len(found), "lines": lines}

    def _line(self, row: int, whose: str, label: str) -> dict[str, Any]:
        return {"id": self.rows[row].id, "place": self.rows[row].place, "whose": whose, "label": label}

    def _held_out(self, given: np.ndarray) -> np.ndarray:
        """Return what the floor says of each row by the other folds' labels *Shape:* (rows, classes); NaN where a row has none."""
        out = np.full((len(self.rows), self.data.head.width), np.nan)
        known = np.flatnonzero(given >= 0)
        if len(known):
            groups = [self.rows[i].group or self.rows[i].id for i in known.tolist()]
            out[known] = load("potstill.baselines.held_out:held_out")(
                [self.texts[i] for i in known], given[known], groups, classes=self.data.head.width, seed=self.work.recipe.seeds[0]
            )  # fmt: skip
        return out
