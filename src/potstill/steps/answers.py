"""Answers that are really written: teacher, artifacts and controls answer the same rows, greedily, and each answer is graded. Only where the recipe asks.

What the teacher wrote is kept in the label store, what an artifact wrote in a stage of its own; grades are a stage over both, so that another way of
grading asks nobody again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import functions, rng, storage
from ..cache import Stage
from ..errors import DataError, TeacherError, UserError
from ..evaluation import answers as grading
from ..lookup import load
from ..records import Example, group_numbers
from ..workspace import Workspace
from .data import Data
from .said import of as way_of
from .teach import Teaching, load_arrays, save_arrays, written_metric

TEACHER = "teacher"
PLACE = "generation.metrics.callable"
BATCHES = 8  # how often an artifact says how far it is
Grade = Callable[[Example, Mapping[str, Any] | None], list[float]]  # a row, and an answer to it -> its grades
TWO_SIDED = 0.025  # each bound of a 95 % interval


@dataclass(frozen=True)
class Written:
    """What everyone wrote to ``rows``. By side: ``grades`` (rows, columns) as :mod:`evaluation.answers` has them, NaN where nothing was written, and
    ``said``, a row {"text", "stopped"} or None."""

    rows: tuple[Example, ...]
    grades: Mapping[str, np.ndarray]
    said: Mapping[str, Sequence[Mapping[str, Any] | None]]
    fingerprint: str

    @cached_property
    def groups(self) -> np.ndarray | None:
        """The rows' groups as integers *Shape:* (rows,); None where they have none, or no two share one, for then rows are what is independent."""
        found = group_numbers(self.rows)
        return None if found is None or len(np.unique(found)) == len(found) else found

    @cached_property
    def known(self) -> np.ndarray:
        """Which rows everyone is judged on *Shape:* (rows,): those that the teacher answered."""
        return ~np.isnan(self.grades[TEACHER]).any(axis=1)

    def sides(self, student: str, teacher: str = TEACHER) -> Any:
        """Return the paired rows of a student and the teacher, or whoever stands in its place."""
        known, groups = self.known, None if self.groups is None else self.groups[self.known]
        return load("potstill.evaluation.rows:Rows")(grading.no_gold(int(known.sum())), self.grades[teacher][known], self.grades[student][known], groups)


# ------------------------------------------------------------------------------------------------------------ the door
def check(work: Workspace, data: Data) -> None:
    """Refuse, before anything is asked or trained, what can't be graded: rows that ask nothing, or hold no answer; a function that is not there."""
    if not work.recipe.generation.metrics:
        return
    if (graded := work.recipe.generation.of("callable")) is not None:
        functions.find(graded.function, graded.folder, place=PLACE)
    for name, rows in (("validation", data.validation.examples), ("train", data.train.examples)):
        if plain := next((row for row in rows if "text" in row.fields), None):
            remedy = "give rows of prompt and completion, or of messages; or leave generation out"
            raise DataError("a row of plain text asks nothing that could be answered", place=plain.place or f"data.{name}", remedy=remedy)
    if not data.has_gold:
        remedy = "give every row of data.validation and data.test an answer, or leave generation out"
        raise DataError("answers are graded against those that rows hold, and some rows of validation or test hold none", place="data", remedy=remedy)


def measured(work: Workspace, data: Data, teaching: Teaching) -> dict[str, Any] | None:
    """Return how the teacher answers validation rows; None where the recipe asks for no answers."""
    return figures(work, on_validation(work, data, teaching, {}), TEACHER) if work.recipe.generation.metrics else None


def stand(work: Workspace, data: Data, teaching: Teaching) -> None:
    """Raise :class:`TeacherError` for a teacher that answers validation rows no better than a guess, where the requirement is about that: every student
    would be as good. No-op where it is about something else."""
    metric = written_metric(work)
    if metric is None:
        return
    found = on_validation(work, data, teaching, {})
    judged = load("potstill.evaluation.verdict:teacher_standing")(
        teacher=figures(work, found, TEACHER)["metrics"][metric.name]["value"], majority=_chance(found, metric.name), floor=None,
        n=int(found.known.sum()), metric=metric.name, chance="who guesses",
    )  # fmt: skip
    if judged.status == "refuse":
        remedy = "look at what it writes, at max_new_tokens and at the references; or choose another teacher, or another metric"
        raise TeacherError(judged.message, place="requirement.quality.metric", remedy=remedy)
    (work.log.warn if judged.status == "warn" else work.log.say)(judged.message)


def _chance(found: Written, metric: str) -> float:
    """Return what a guess is worth: of one option, its share; of a text, nothing."""
    return float(np.mean([1 / len(options_of(row)) for row in found.rows])) if metric == "choice" else 0.0


def registered(work: Workspace) -> dict[str, Any]:
    """Return what of written answers is fixed before the test rows are opened; nothing where none are written."""
    if not work.recipe.generation.metrics:
        return {}
    wanted = work.recipe.generation
    return {"generation": {"metrics": wanted.asked(), "max_new_tokens": wanted.max_new_tokens, "rows": wanted.rows, **_function(work)}}


def _function(work: Workspace) -> dict[str, str]:
    """Return the digest of the file of the function that grades; nothing where none does."""
    graded = work.recipe.generation.of("callable")
    return {} if graded is None else {"function": storage.sha256_file(functions.source_of(graded.function, graded.folder, place=PLACE))}


# ------------------------------------------------------------------------------------------------------- who is asked
def on_validation(work: Workspace, data: Data, teaching: Teaching, folders: Mapping[str, tuple[str, Path]]) -> Written:
    """Return what the teacher, and artifacts {name: (sha256, folder)}, write to validation rows."""
    return written(work, data, teaching, "validation", data.validation.examples, folders)


def written(work: Workspace, data: Data, teaching: Teaching, split: str, rows: Sequence[Example], folders: Mapping[str, tuple[str, Path]]) -> Written:
    """Return what everyone writes to the rows of a split that hold an answer, at most ``generation.rows`` of them by the hash of their content."""
    wanted = work.recipe.generation
    chosen = sorted((row for row in rows if row.gold is not None), key=lambda row: rng.integer(0, "generation", row.id))[: wanted.rows]
    asking = _Asking(work, data, teaching, split, tuple(chosen))
    stages = {TEACHER: asking.teacher()} | {name: asking.artifact(name, sha, folder) for name, (sha, folder) in folders.items()}

    def make(folder: Path, scratch: Path) -> None:
        grade = _grader(work)
        save_arrays(folder / "grades.npz", {name: _table(grade, chosen, stage.read()["answers"]) for name, stage in stages.items()})

    inputs = {
        "metrics": wanted.asked(), **_function(work),
        "answers": {name: stage.fingerprint for name, stage in stages.items()},
    }  # fmt: skip
    stage = work.cache.get(f"graded.{split}", inputs, make)
    said = {name: [_brief(answer) for answer in one.read()["answers"]] for name, one in stages.items()}
    return Written(asking.rows, load_arrays(stage.folder / "grades.npz"), said, stage.fingerprint)


def _table(grade: Grade, rows: Sequence[Example], said: Sequence[Mapping[str, Any] | None]) -> np.ndarray:
    return np.array([grade(*pair) for pair in zip(rows, said)], float).reshape(-1, len(grading.COLUMNS))


def _brief(answer: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if answer is None else {"text": answer["text"], "stopped": answer["stopped"]}


@dataclass(frozen=True)
class _Asking:
    """Rows of one split, and how each side is asked about them."""

    work: Workspace
    data: Data
    teaching: Teaching
    split: str
    rows: tuple[Example, ...]

    def teacher(self) -> Stage:
        """Return the teacher's answers: its own from the store, where it holds them."""

        def make(folder: Path, scratch: Path) -> None:
            with self.work.log.stage(f"answers.{self.split}.teacher", f"the teacher answers {len(self.rows):,} {self.split} rows"):
                want, turns = load("potstill.teachers.speaking:wanted")(self.most), self.teaching.teacher.turns  # type: ignore[attr-defined]
                answers = self.teaching.raw(self.rows, [want])
                known = answers.answered(row.id for row in self.rows)
                ids = {id: array[:, 0].tolist() for id, array in zip(known, answers.arrays(known, want))}
                told = [_told(turns, ids[row.id]) if row.id in ids else None for row in self.rows]
                nats = self._by_row(way_of(self.work, self.data).teacher(self.teaching, self.options)) if self.chooses else None
                storage.write_json(folder / "result.json", {"answers": _with(told, nats)})

        return self._stage("teacher", self.teaching.fingerprint, make)

    def artifact(self, name: str, sha256: str, place: Path) -> Stage:
        """Return an artifact's answers, written by the runtime that ships."""

        def make(folder: Path, scratch: Path) -> None:
            with self.work.log.stage(f"answers.{self.split}.{name}", f"{name} answers {len(self.rows):,} {self.split} rows"):
                generator = load("potstill.serving.generator:Generator").open(place, threads=self.work.threads)
                told: list[dict[str, Any] | None] = []
                for start in range(0, len(self.rows), size := max(1, math.ceil(len(self.rows) / BATCHES))):
                    self.work.log.progress(f"answers.{self.split}.{name}", start, len(self.rows))
                    some = [row.fields for row in self.rows[start : start + size]]
                    told += [_told(generator.turns, list(one.ids)) for one in generator.generate(some, max_tokens=self.most)]
                nats = self._by_row(generator.measure([row.fields for row in self.options])) if self.chooses else None
                storage.write_json(folder / "result.json", {"answers": _with(told, nats)})

        return self._stage(name, sha256, make)

    def _stage(self, name: str, who: str, make: Callable[[Path, Path], None]) -> Stage:
        inputs = {"who": who, "rows": [row.id for row in self.rows], "most": self.most, "options": self.chooses}
        return self.work.cache.get(f"written.{self.split}.{name}", inputs, make)

    @property
    def most(self) -> int:
        return self.work.recipe.generation.max_new_tokens

    @property
    def chooses(self) -> bool:
        return self.work.recipe.generation.of("choice") is not None

    @cached_property
    def options(self) -> list[Example]:
        """Each row with each of its options in the answer's place, blanks around it as the row has them."""
        return [Example.make(_answered(row.fields, option), gold=row.gold, place=row.place) for row in self.rows for option in options_of(row)]

    def _by_row(self, measures: np.ndarray) -> list[dict[str, Any]]:
        """Return, a row, the nats and bytes of its options, from their measures *Shape:* (options of all rows, measures)."""
        cuts = np.cumsum([len(options_of(row)) for row in self.rows])[:-1]
        return [{"nats": part[:, 0].tolist(), "bytes": part[:, 2].tolist()} for part in np.split(measures, cuts)]


def _told(turns: Any, ids: list[int]) -> dict[str, Any]:
    """Return an answer by its tokens: its text, what is left of the tokens without the one that ends it, and whether that one came."""
    stopped = bool(ids) and ids[-1] in turns.stops
    own = ids[:-1] if stopped else ids
    return {"text": turns.renderer.tokenizer.decode(own, skip_special_tokens=True), "ids": own, "stopped": stopped}


def _with(told: Sequence[dict[str, Any] | None], nats: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any] | None]:
    """Put what options are worth beside the answers; who could not be asked of an option has answered nothing."""
    if nats is None:
        return list(told)
    return [None if one is None or np.isnan(own["nats"]).any() else {**one, "options": own} for one, own in zip(told, nats)]


def options_of(row: Example) -> list[str]:
    return list(row.fields["options"])  # type: ignore[arg-type]  # texts: the task reads no others


def reference(row: Example) -> str:
    """Return the answer that a row holds."""
    return str(load("potstill.serving.conversation:conversation")(row.fields).turns[-1].content)


def _answered(fields: Mapping[str, Any], option: str) -> dict[str, Any]:
    """Return a row's fields with an option in the place of its answer."""
    kept = {name: value for name, value in fields.items() if name != "options"}
    last = "completion" if "completion" in kept else "messages"
    if isinstance(kept[last], str):
        return {**kept, last: _in_place(kept[last], option)}
    *before, turn = kept[last]
    return {**kept, last: [*before, {**turn, "content": _in_place(turn["content"], option)}]}


def _in_place(answer: str, option: str) -> str:
    head, tail = answer[: len(answer) - len(answer.lstrip())], answer[len(answer.rstrip()) :]
    return f"{head}{option.strip()}{tail}"


# ------------------------------------------------------------------------------------------------------------- grades
def _grader(work: Workspace) -> Grade:
    """Return what turns a row and an answer to it into its grades, as :mod:`evaluation.answers` orders them."""
    exact, choice, rouge, graded = (work.recipe.generation.of(kind) for kind in ("exact_match", "choice", "rouge_l", "callable"))
    judge = functions.find(graded.function, graded.folder, place=PLACE) if graded is not None else None

    def grade(row: Example, answer: Mapping[str, Any] | None) -> list[float]:
        if answer is None:
            return [math.nan] * len(grading.COLUMNS)
        text, wanted = answer["text"], reference(row)
        return [
            grading.exact_match(text, wanted, exact.extract) if exact is not None else 0.0,
            _chosen(row, wanted, answer["options"], choice.length_normalized) if choice is not None else 0.0,
            grading.rouge_l(text, wanted) if rouge is not None else 0.0,
            _judged(judge, graded.function, row, text) if judge is not None else 0.0,
            len(answer["ids"]), float(answer["stopped"]), *grading.repeated(answer["ids"]),
        ]  # fmt: skip

    return grade


def _chosen(row: Example, wanted: str, told: Mapping[str, Any], length_normalized: bool) -> float:
    """Return 1 where the likeliest option is the one that the row's answer is."""
    at = grading.choose(np.array(told["nats"]), np.array(told["bytes"]), length_normalized=length_normalized)
    return float(options_of(row)[at].strip() == wanted.strip())


def _judged(function: Callable[..., Any], name: str, row: Example, text: str) -> float:
    """Return what a function of the user's makes of an answer. Raises :class:`UserError` for what it raises, and for what is no number from 0 to 1."""
    try:
        said = function(dict(row.fields), text)
    except Exception as error:  # whatever a user's function raises
        raise UserError(f"the function '{name}' failed: {functions.words(error)}", place=row.place, remedy="mend it: it gets (row, answer)") from error
    if not isinstance(said, bool | int | float | np.number | np.bool_) or not 0 <= said <= 1:
        raise UserError(f"the function '{name}' returned {said!r:.80}", place=row.place, remedy="return a number from 0 to 1")
    return float(said)


# ------------------------------------------------------------------------------------------------------------ figures
def asked(work: Workspace, found: Written) -> dict[str, Any]:
    """Return the section ``generation``: what was asked for, of how many test rows."""
    wanted = work.recipe.generation
    return {"metrics": list(wanted.names), "max_new_tokens": wanted.max_new_tokens, "rows": len(found.rows), "judged": int(found.known.sum())}


def figures(work: Workspace, found: Written, name: str, *, against: str | None = None) -> dict[str, Any]:
    """Return one side's section ``answers``: each metric and what the answers are like, with intervals; beside a student how far it is behind."""
    known, interval = found.known, load("potstill.evaluation.rows:quality_interval")
    rows, gold = found.grades[name][known], grading.no_gold(int(known.sum()))
    groups = None if found.groups is None else np.unique(found.groups[known], return_inverse=True)[1]
    told = {
        part: {one: asdict(interval(metric, gold, rows, groups, TWO_SIDED)) for one, metric in metrics.items()}
        for part, metrics in (("metrics", {kind: grading.METRICS[kind] for kind in work.recipe.generation.names}), ("behavior", grading.BEHAVIOR))
    }
    if against is None:
        return told
    drop, pairs = load("potstill.evaluation.rows:drop_interval"), found.sides(name, against).known(need_gold=True)
    return {**told, "drops": {kind: asdict(drop(grading.METRICS[kind], pairs, TWO_SIDED)) for kind in work.recipe.generation.names}}
