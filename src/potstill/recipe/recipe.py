"""The recipe: what is wanted, whole. Its sections check themselves; here is checked how they fit together."""

# ruff: noqa: RUF012 - pydantic copies a default before it gives it away

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ..lookup import did_you_mean
from . import generation
from .answers import Generation
from .augment import USES_MODEL, AnyAugmentation
from .base import Finding, Section, Slug, refuse
from .data import Data
from .endpoint import is_loopback
from .export import Export
from .language import unless_default
from .objectives import DEFAULT, DEFAULT_OF_TOKENS, INNER, Objective
from .requirement import ANSWER_METRICS, MANY_METRICS, METRICS, Requirement
from .robustness import Robustness
from .rounds import Rounds
from .students import USES_HIDDEN, AnyStudent
from .teacher import HIDDEN_STATES, WEIGHTS, RecordedTeacher, Teacher, members
from .training import Training

ROLES = {  # what columns a task may name
    "text-classification": ("text", "text_pair", "label", "labels", "group"),
    generation.TASK: ("messages", "prompt", "completion", "text", "group", "options"),
}
ANSWERS = ("text", "text_pair", "label", "labels", "probabilities", "logprobs", "logodds")  # what columns recorded answers may name


class Recipe(Section):
    """All that a run depends on."""

    task: Literal["text-classification", "text-generation"]
    name: Slug
    data: Data
    teacher: Teacher
    students: Annotated[list[AnyStudent], Field(min_length=1)]
    objectives: Annotated[list[Objective], Field(min_length=1)] | None = None  # null: logits, and hard labels beside them
    augment: list[AnyAugmentation] = []  # made rows that the teacher labels beside the others; none
    rounds: Rounds = Rounds()
    # labels worth a second look: named; left out, with what that was worth; left out where the teacher, asked again, says otherwise; not looked for
    suspects: Literal["report", "drop", "ask", "ignore"] = "report"
    instructions: Literal["report", "drop", "ignore"] | None = None  # rows that talk to a language model; null: report where one behind a server is asked
    requirement: Requirement | None = None
    export: Export = Export()
    training: Training = Training()
    robustness: Robustness = Robustness()
    generation: Generation = unless_default(Generation)  # answers that are really written, where texts are the task; none
    engine: Literal["local"] = "local"
    seeds: list[Annotated[int, Field(ge=0, lt=2**31)]] = [0]
    threads: Annotated[int, Field(ge=1)] | None = None  # null: all cores

    @model_validator(mode="before")
    @classmethod
    def _usual(cls, values: Any) -> Any:
        """Where any number of labels apply, a quality that names no metric is the main one of that task; generation has defaults of its own."""
        match values:
            case {"task": generation.TASK}:
                return generation.usual(values)
            case {"data": {"columns": {"labels": _}}, "requirement": {"quality": dict(quality)} as required} if "metric" not in quality:
                return {**values, "requirement": {**required, "quality": {**quality, "metric": MANY_METRICS[0]}}}
        return values

    @property
    def many(self) -> bool:
        """Whether any number of labels may apply to a row."""
        return self.data.separator is not None

    @model_validator(mode="after")
    def _together(self) -> Recipe:
        refuse(self._findings())
        return self

    @property
    def replace(self) -> list[dict[str, str]]:
        """The rules by which students read all texts; none where they read them as they are."""
        privacy = getattr(self.teacher, "privacy", None)
        return privacy.redactor(None).as_json() if privacy is not None and privacy.students else []

    @property
    def looks_for_instructions(self) -> str:
        """``instructions``, with its default for this teacher filled in."""
        asks = self.teacher.kind == "endpoint" and self.task != generation.TASK  # whose rows stand in a prompt of ours
        return self.instructions or ("report" if asks else "ignore")

    def objectives_of(self, student: Any) -> Sequence[Any]:
        """Return the terms that ``student`` is asked to learn by: its own, else the recipe's, else the default."""
        return student.objectives or self.objectives or list(DEFAULT_OF_TOKENS if self.task == generation.TASK else DEFAULT)

    def warnings(self) -> list[str]:
        """Return what is allowed but should be known before a run."""
        found = []
        if self.teacher.output_license == "unknown":
            found.append(
                "teacher.output_license is unknown: make sure that the teacher's terms let its answers train another model, "
                "then name the license; it goes into the model card"
            )
        if self.data.limit.unlabeled is not None and self.data.unlabeled is None:
            found.append("data.limit.unlabeled has no effect: there is no data.unlabeled")
        if self.robustness.ask_teacher and isinstance(self.teacher, RecordedTeacher):
            found.append("robustness.ask_teacher has no effect: a recorded teacher can't be asked about changed texts")
        if self.teacher.kind == "endpoint" and self.teacher.privacy is None and not is_loopback(self.teacher.host):
            remedy = (
                "in this task nothing is replaced on the way"
                if self.task == generation.TASK
                else "teacher.privacy replaces addresses and numbers of people in them"
            )
            found.append(f"all rows go to {self.teacher.host} as they are: {remedy}")
        if self.requirement is None:
            found.append("there is no requirement, so there will be no verdict, only figures")
        return found

    # ------------------------------------------------------------------------------------------------ how sections fit
    def _findings(self) -> Iterator[Finding]:
        yield from self._names()
        yield from self._roles()
        yield from self._metric()
        yield from (generation.findings if self.task == generation.TASK else generation.elsewhere)(self)
        yield from self._trees()
        yield from self._many_teacher()
        yield from self._objectives()
        yield from self._sources()
        yield from self._augmentations()
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            yield Finding(("seeds",), f"{self.seeds} must be one or more different whole numbers")
        if self.suspects == "ask" and not getattr(self.teacher, "says_otherwise", False):
            why = "asked again, this teacher says the same: it has neither shots nor samples"
            yield Finding(("suspects",), why, "suspects: drop, or a teacher of kind endpoint with prompt.shots or samples")
        if self.rounds.count > 1 and self.data.unlabeled is None:
            yield Finding(("rounds", "count"), f"{self.rounds.count} rounds need a pool to choose rows from", "give data.unlabeled")
        if self.rounds.choose == "near_disagreements" and not isinstance(self.teacher, HIDDEN_STATES):
            remedy = "choose: uncertain needs the student alone"
            yield Finding(("rounds", "choose"), f"a teacher of kind '{self.teacher.kind}' has no vectors, so nothing lies near to anything", remedy)
        elif self.rounds.choose == "near_disagreements" and self.teacher.usd_per_1000:
            why = "to know what lies near, the teacher is asked about all of the pool, and its answers cost money"
            yield Finding(("rounds", "choose"), why, "choose: uncertain needs the student alone")
        elif self.rounds.choose == "near_disagreements" and self.teacher.precision.startswith("onnx"):
            yield Finding(("rounds", "choose"), f"the teacher has no vectors in {self.teacher.precision}", "take precision: auto, fp32 or bf16")

    def _names(self) -> Iterator[Finding]:
        seen: dict[str, int] = {}
        for place, student in enumerate(self.students):
            # Folders on some disks don't tell upper case from lower.
            if (first := seen.setdefault(student.name.lower(), place)) != place:
                yield Finding(("students", place, "name"), f"'{student.name}' is the name of students[{first}] too", "give each its own name")

    def _roles(self) -> Iterator[Finding]:
        for role in self.data.columns:
            if role not in ROLES[self.task]:
                yield Finding(("data", "columns", role), f"{self.task} has no column '{role}'", did_you_mean(role, ROLES[self.task]))
        for path, teacher in members(self.teacher):
            for role in teacher.columns if isinstance(teacher, RecordedTeacher) else ():
                if role not in ANSWERS:
                    place = ("teacher", *path, "columns", role)
                    yield Finding(place, f"recorded answers have no column '{role}'", did_you_mean(role, ANSWERS))

    def _many_teacher(self) -> Iterator[Finding]:
        """Any number of labels a row: what can't be asked for them yet."""
        if not self.many:
            return
        if self.teacher.kind not in ("model", "recorded"):
            words = f"a teacher of kind {self.teacher.kind} can't tell any number of labels a row"
            yield Finding(("teacher", "kind"), words, "take one of kind model, or record its answers: kind: recorded")
        elif getattr(self.teacher, "precision", "fp32") not in ("fp32", "bf16"):
            words = f"any number of labels a row can't be asked in {self.teacher.precision}"
            yield Finding(("teacher", "precision"), words, "name fp32 or bf16")

    def _trees(self) -> Iterator[Finding]:
        for place, student in enumerate(self.students):
            if student.kind != "trees":
                continue
            if self.many:
                remedy = "leave it out, or take a student of another kind"
                yield Finding(("students", place, "kind"), f"'{student.name}' (trees) can't learn any number of labels a row", remedy)
            if any(getattr(term, "class_weights", "none") != "none" for term in self.objectives_of(student)):
                remedy = "give it objectives of its own without them"
                yield Finding(("students", place, "kind"), f"'{student.name}' (trees) can't weigh classes", remedy)

    def _metric(self) -> Iterator[Finding]:
        quality = self.requirement.quality if self.requirement is not None else None
        judged: tuple[str, tuple[str, ...]] = ("any number of labels a row", MANY_METRICS) if self.many else ("one label a row", METRICS)
        kind, known = ("written text", (*generation.GENERATION_METRICS, *ANSWER_METRICS)) if self.task == generation.TASK else judged
        if quality is not None and quality.metric not in known:
            yield Finding(("requirement", "quality", "metric"), f"'{quality.metric}' does not judge {kind}", f"known: {', '.join(known)}")

    def _objectives(self) -> Iterator[Finding]:
        lists: list[tuple[tuple[str | int, ...], Sequence[Any] | None, list[Any]]]
        lists = [(("objectives",), self.objectives, [s for s in self.students if s.objectives is None])]
        lists += [(("students", i, "objectives"), s.objectives, [s]) for i, s in enumerate(self.students)]
        for path, objectives, users in lists:
            yield from self._twice(path, objectives or ())
            for place, term in enumerate(objectives or ()):
                kind = term.kind
                if (kind == "tokens") != (self.task == generation.TASK):
                    instead = "logits" if kind == "tokens" else "tokens"
                    yield Finding((*path, place), f"{self.task} does not learn by '{kind}'", f"take {{kind: {instead}}}")
                elif isinstance(term, INNER):
                    yield from self._inner((*path, place), kind, users)
            yield from self._idle(path, objectives or (), users)
        for i, student in enumerate(self.students):
            if (general := getattr(student, "general", None)) is not None:
                yield from self._twice(("students", i, "general", "objectives"), general.objectives)
                if not isinstance(self.teacher, HIDDEN_STATES):
                    remedy = "leave 'general' out, or use a teacher of kind model"
                    yield Finding(("students", i, "general"), f"a {self.teacher.kind} teacher has no inner states", remedy)

    def _twice(self, path: tuple[str | int, ...], objectives: Sequence[Any]) -> Iterator[Finding]:
        kinds = [term.kind for term in objectives]
        for place, kind in enumerate(kinds):
            if kinds.index(kind) != place:
                yield Finding((*path, place), f"there are two objectives of kind '{kind}'", "keep one of them")

    def _inner(self, path: tuple[str | int, ...], kind: str, users: Sequence[Any]) -> Iterator[Finding]:
        if not any(isinstance(student, USES_HIDDEN) for student in users):
            names = ", ".join(f"{student.name} ({student.kind})" for student in users) or "none"
            yield Finding(path, f"no student can use '{kind}': {names}", "only a transformer student has inner states to match: leave it out")
        if not isinstance(self.teacher, HIDDEN_STATES):
            yield Finding(path, f"a {self.teacher.kind} teacher has no inner states", f"leave '{kind}' out, or use a teacher of kind model")
        elif self.teacher.precision.startswith("onnx"):
            yield Finding(path, f"the teacher has no inner states in {self.teacher.precision}", "take precision: auto, fp32 or bf16")

    def _idle(self, path: tuple[str | int, ...], objectives: Sequence[Any], users: Sequence[Any]) -> Iterator[Finding]:
        if objectives and all(isinstance(term, INNER) for term in objectives):
            for student in users:
                if not isinstance(student, USES_HIDDEN):
                    remedy = "add an objective that it can use: {kind: logits}"
                    yield Finding(path, f"'{student.name}' ({student.kind}) can use none of the objectives", remedy)

    def _sources(self) -> Iterator[Finding]:
        if isinstance(self.teacher, WEIGHTS):
            return
        for place, student in enumerate(self.students):
            if getattr(student, "source", None) in ("teacher", "scratch"):
                what = "weights" if student.source == "teacher" else "tokenizer"
                of_what = "a language model that has the teacher's tokenizer" if self.task == generation.TASK else "a transformers model"
                remedy = f"name the folder of {of_what}: from: path"
                why = f"'{student.name}' can't start from a teacher of kind {self.teacher.kind}: it has no {what} to start from"
                yield Finding(("students", place, "from"), why, remedy)

    def _augmentations(self) -> Iterator[Finding]:
        if self.augment and any(isinstance(teacher, RecordedTeacher) for _, teacher in members(self.teacher)):
            yield Finding(("augment",), "recorded answers hold none to rows that are made", "leave augment out, or use a teacher that can be asked")
            return
        kinds = [kind.kind for kind in self.augment]
        for place, kind in enumerate(self.augment):
            if kinds.index(kind.kind) != place:
                yield Finding(("augment", place), f"there are two augmentations of kind '{kind.kind}'", "keep one of them, with more copies")
            if kind.rows == "unlabeled" and self.data.unlabeled is None:
                yield Finding(("augment", place, "rows"), "there is no pool to make copies of", "give data.unlabeled, or rows: train")
            if isinstance(kind, USES_MODEL) and kind.source == "teacher" and not isinstance(self.teacher, WEIGHTS):
                remedy = "name the folder of a transformers model: from: path"
                yield Finding(("augment", place, "from"), f"'{kind.kind}' can't take its words from a {self.teacher.kind} teacher", remedy)
