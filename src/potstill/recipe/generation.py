"""What goes with ``task: text-generation``, and what does not yet: beside the other sections' own checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .base import Finding, Section
from .requirement import ANSWER_METRICS, GENERATION_METRICS
from .students import WRITING_ONLY, TransformerStudent

TASK = "text-generation"
TEACHERS = ("model", "endpoint")
STUDENTS = ("transformer",)
# Options of an endpoint by which it is asked for labels: tokens are asked for as they stand, at temperature 1, once.
OF_LABELS = ("prompt", "scoring", "words", "calibration", "max_new_tokens", "samples", "sampling_temperature", "seed")
MAX_LENGTH = 512  # tokens of a row, where the recipe says nothing: a conversation is longer than a sentence


def usual(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a recipe of this task as it was written, with what it leaves out where this task has defaults of its own."""
    found = {"suspects": "ignore", "robustness": {"arms": []}, **values}
    match found:
        case {"teacher": {"kind": "model"} as teacher}:
            found["teacher"] = {"max_length": MAX_LENGTH, **teacher}
        case {"teacher": {"kind": "endpoint"} as teacher}:
            found["teacher"] = {"max_length": MAX_LENGTH, "api": "completion", **teacher}
    match found:
        case {"requirement": {"quality": dict(quality)} as required}:
            found["requirement"] = {**required, "quality": {"metric": GENERATION_METRICS[0], **quality}}
    return found


def findings(recipe: Any) -> Iterator[Finding]:
    """Yield what this task can't be asked for."""
    if recipe.teacher.kind not in TEACHERS:
        remedy = "take one of kind model, a folder with a causal language model, or of kind endpoint, a server that echoes log-probabilities"
        yield Finding(("teacher", "kind"), f"{TASK} can't ask a teacher of kind {recipe.teacher.kind}", remedy)
    elif recipe.teacher.kind == "endpoint":
        yield from (Finding(("teacher", *found.path), found.message, found.remedy) for found in of_endpoint(recipe.teacher))
        if recipe.generation.metrics:
            remedy = "leave generation out, or take a teacher of kind model"
            yield Finding(("generation", "metrics"), "a teacher behind a server is asked about tokens, and writes no answers", remedy)
    else:
        if recipe.teacher.adapt is not None:
            yield Finding(("teacher", "adapt"), f"a teacher of {TASK} is taken as it is", "leave adapt out: its own head is what is learnt from")
        if recipe.teacher.precision not in ("fp32", "bf16"):
            yield Finding(("teacher", "precision"), f"{TASK} can't be asked in {recipe.teacher.precision}", "name fp32 or bf16")
    for place, student in enumerate(recipe.students):
        if student.kind not in STUDENTS:
            yield Finding(("students", place, "kind"), f"'{student.name}' ({student.kind}) writes no text", "take one of kind transformer")
        elif student.vocabulary != "all":
            yield Finding(("students", place, "vocabulary"), f"{TASK} has no use for a smaller vocabulary yet", "leave it out")
        elif student.general is not None:
            remedy = "leave it out: plain text is a form of row, data.columns: {text: ...}"
            yield Finding(("students", place, "general"), f"{TASK} has no general stage", remedy)
    yield from _answers(recipe)
    unused = {
        "augment": bool(recipe.augment), "rounds": recipe.rounds.count > 1, "suspects": recipe.suspects != "ignore",
        "robustness": bool(recipe.robustness.arms) or recipe.robustness.out_of_domain is not None,
        "instructions": recipe.looks_for_instructions != "ignore", "data": recipe.data.unlabeled is not None,
    }  # fmt: skip
    for section, asked in unused.items():
        if asked:
            what = "a pool" if section == "data" else section
            yield Finding((section, "unlabeled") if section == "data" else (section,), f"{TASK} has no use for {what} yet", "leave it out")


def _answers(recipe: Any) -> Iterator[Finding]:
    """Yield what is wrong with how written answers are judged."""
    asked, columns = recipe.generation.names, recipe.data.columns
    required = recipe.requirement.quality.metric if recipe.requirement is not None and recipe.requirement.quality is not None else None
    if required in ANSWER_METRICS and required not in asked:
        yield Finding(("requirement", "quality", "metric"), f"nobody writes the answers that '{required}' is told of", f"generation: {{metrics: [{required}]}}")
    if "choice" in asked and not columns.get("options"):
        remedy = "name their column, each cell a list of texts: columns: {options: choices}"
        yield Finding(("data", "columns"), "the metric 'choice' needs the options of each row", remedy)
    if columns.get("options") and "choice" not in asked:
        yield Finding(("data", "columns", "options"), "no metric looks at options", "ask for one: generation: {metrics: [choice]}, or leave the column out")
    if asked and columns.get("text"):
        remedy = "name the columns of prompt and completion, or of messages; or leave generation out"
        yield Finding(("generation", "metrics"), "a row of plain text asks nothing that could be answered", remedy)


def of_endpoint(spec: Any) -> Iterator[Finding]:
    """Yield why a server can't be asked about the tokens of texts as the section ``spec`` says; places are below the section."""
    wrong = {
        "tokenizer": (spec.tokenizer is None, "name a folder with the model's tokenizer: texts are sent as ids"),
        "api": (spec.api != "completion", "api: completion, which echoes a prompt; a chat does not"),
        "privacy": (spec.privacy is not None, "replace what may name a person in the data: the student reads the same ids as the teacher"),
        "batch": (spec.batch is not None, "leave it out: files of requests are not read token by token"),
    }
    for name, (holds, remedy) in wrong.items():
        if holds:
            yield Finding((name,), f"an endpoint that is asked about tokens can't have {name}: {getattr(spec, name)!r}", remedy)
    for name in OF_LABELS:
        if getattr(spec, name) != type(spec).model_fields[name].default:
            yield Finding((name,), f"teacher.{name} has no effect: it is of labels, and {TASK} asks about the tokens of texts", "leave it out")


def elsewhere(recipe: Any) -> Iterator[Finding]:
    """Yield what is asked for that this task alone has."""
    if recipe.generation.metrics:
        yield Finding(("generation", "metrics"), f"{recipe.task} writes no answers", f"leave generation out: it is for {TASK}")
    if recipe.training.pack:
        yield Finding(("training", "pack"), f"{recipe.task} packs no rows", f"leave it out: it is for {TASK}")
    for place, student in enumerate(recipe.students):
        for name in WRITING_ONLY:
            if isinstance(student, TransformerStudent) and getattr(student, name) not in (None, False, "even"):
                yield Finding(("students", place, name), f"'{student.name}' is to write nothing, and {name} is for students that do", "leave it out")
    own = ("chat", "tokens", *(("tokenizer", "max_length") if recipe.teacher.kind == "endpoint" else ()))
    for name in own:
        said = getattr(recipe.teacher, name, None)
        if said is not None and (not isinstance(said, Section) or said != type(said)()):
            yield Finding(("teacher", name), f"teacher.{name} has no effect: {recipe.task} has no use for it", "leave it out")
