"""From pydantic's errors to ours: the value, the place, the remedy, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from ..errors import Problem
from ..lookup import did_you_mean
from .base import TAG
from .places import Document, Path, dotted
from .recipe import Recipe

# What a later version will know, by the key's path without list places; a value None stands for the key itself.
LATER: Mapping[str, Sequence[str | None]] = {
    "task": ("token-classification", "embedding", "text-generation", "image-classification", "image-text"),
    "objectives.kind": ("attention", "relation", "contrastive", "rationale", "sequence"),
    "students.objectives.kind": ("attention", "relation", "contrastive", "rationale", "sequence"),
    "export.format": ("gguf", "openvino", "coreml"),
    "engine": ("ray",),
    "search": (None,),
    "teacher.rationale": (None,),
}
NEEDED = {
    "task": "the task that students learn: text-classification",
    "name": "a name for the run: it becomes the folder runs/NAME",
    "data": "the rows: data: {train: train.jsonl}",
    "data.train": "the file with the rows to learn from",
    "teacher": "who knows: teacher: {kind: model, model: path/to/folder}",
    "teacher.model": "the folder of a transformers model, the file of a teacher of kind onnx, or what an endpoint calls its model",
    "teacher.function": "the function that answers: function: my_module:classify",
    "teacher.version": "a version of your own, say 1: raise it when the function would answer otherwise",
    "teacher.members": "the teachers: members: [{kind: model, model: path}, {kind: onnx, model: path}]",
    "teacher.path": "the file with the recorded answers",
    "teacher.url": "the base of the server: url: http://127.0.0.1:8000/v1",
    "teacher.adapt.how": "finetune, or head",
    "generation.metrics.function": "the function that grades: function: my_module:grade",
    "generation.metrics.version": "a version of your own, say 1: raise it when the function would say otherwise",
    "students": "who learns: students: [{name: half, kind: transformer, from: teacher, layers: 3}]",
    "students.name": "each student needs a name of its own",
    "students.layers": "how many of the teacher's layers: 3, or which: [0, 2, 5]",
    "requirement.fidelity.max_disagreement": "the share of rows on which the student may differ from the teacher: 0.05",
}
BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
TYPES = {
    "int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number", "string_type": "text",
    "bool_type": "true or false", "list_type": "a list", "dict_type": "a mapping (key: value)", "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)", "finite_number": "a finite number",
}  # fmt: skip

Found = tuple[Path, Problem]


def translate(errors: Sequence[Any], document: Document) -> list[Found]:
    """Return our problems for pydantic's ``errors``, each with its path, in the order of the file."""
    found = [found for error in errors for found in _translate(error, document)]
    misspelt = {(path[:-1], problem.remedy) for path, problem in found if problem.message.startswith("unknown key")}
    return [(path, problem) for path, problem in found if not _is_missing_because(path, problem, misspelt)]


def _is_missing_because(path: Path, problem: Problem, misspelt: set[tuple[Path, str]]) -> bool:
    """Whether a key is missing only because it stands there misspelt."""
    return problem.message.endswith("is missing") and (path[:-1], f"did you mean '{path[-1]}'?") in misspelt


def _translate(error: Mapping[str, Any], document: Document) -> Iterator[Found]:
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    path: Path = tuple(part for part in error["loc"] if not (isinstance(part, str) and (part.startswith(TAG) or part == "[key]")))
    if kind == "findings":
        for finding in context["findings"]:
            at = (*path, *finding.path)
            yield at, Problem(document.place(at), finding.message, finding.remedy)
        return
    if kind == "union_tag_not_found":
        path = (*path, "kind") if isinstance(value, Mapping) else path
    elif kind == "union_tag_invalid":
        path = (*path, "kind")
    message, remedy = _words(kind, error["loc"], path, value, context)
    yield path, Problem(document.place(path), message, remedy)


def _words(kind: str, loc: Sequence[Any], path: Path, value: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    """Return (message, remedy) of one error."""
    key = str(path[-1]) if path else "the recipe"
    if kind == "extra_forbidden":
        return _unknown(key, loc, path)
    if kind == "missing":
        return f"'{key}' is missing", NEEDED.get(_general(path), "")
    if kind.startswith("union_tag"):
        kinds = [tag.removeprefix(TAG) for tag in (model.model_fields["kind"].default for model in _models_at(loc))]
        if kind == "union_tag_invalid":
            return _choice(str(value.get("kind")), kinds, path)
        if isinstance(value, Mapping):
            return "'kind' is missing", f"known: {', '.join(kinds)}"
        return f"{_shown(value)} must be a mapping with a kind", f"known: {', '.join(kinds)}"
    if kind == "literal_error":
        return _choice(value, [part.strip("'") for part in context["expected"].replace(" or ", ", ").split(", ")], path)
    if kind in BOUNDS:
        name, words = BOUNDS[kind]
        return f"{_shown(value)} must be {words} {context[name]:g}", ""
    if kind in ("too_short", "list_too_short"):
        return "the list is empty", "give at least one, or leave the key out" if _general(path) != "students" else "give at least one student"
    if kind in TYPES:
        remedy = "put it in quotes" if kind == "string_type" and isinstance(value, bool) else ""
        return f"{_shown(value)} must be {TYPES[kind]}", remedy
    return f"{_shown(value)}: {context.get('error', kind)}", ""


def _choice(value: Any, known: Sequence[str], path: Path) -> tuple[str, str]:
    if value in LATER.get(_general(path), ()):
        return f"'{value}' comes with a later version", f"this one knows: {', '.join(known)}"
    begins = [name for name in known if name.startswith(str(value))] if value else []
    near = did_you_mean(begins[0] if len(begins) == 1 else str(value), known)
    listed = f"known: {', '.join(known)}"
    return f"{_shown(value)} is not known here", f"{near} {listed}" if near.startswith("did") and len(known) > 1 else near or listed


def _unknown(key: str, loc: Sequence[Any], path: Path) -> tuple[str, str]:
    known = [name for model in _models_at(loc[:-1]) for name in _keys(model)]
    if None in LATER.get(_general(path), ()):
        return f"'{key}' comes with a later version", f"this one knows here: {', '.join(sorted(known))}"
    remedy = did_you_mean(key, known)
    if remedy.startswith("known"):  # nothing near at this depth: it may only stand in the wrong section
        homes = sorted({home for home, name in _everywhere(Recipe, ()) if name == key})
        remedy = f"'{key}' belongs in {', '.join(homes)}" if homes else remedy
    return f"unknown key '{key}'", remedy


def _shown(value: Any) -> str:
    """Return a value as a person would write it, cut where it is long."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _general(path: Path) -> str:
    """Return the path as text without places in lists: ("students", 0, "kind") is "students.kind"."""
    return dotted(tuple(part for part in path if isinstance(part, str)))


# ------------------------------------------------------------------------------------------- what the models know by now
def _keys(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that an annotation lets in."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Annotated, Union, UnionType, list):
        return [model for part in get_args(annotation) for model in _models(part)]
    return []


def _models_at(loc: Sequence[Any]) -> list[type[BaseModel]]:
    """Return the sections that may stand at one of pydantic's places."""
    here: list[type[BaseModel]] = [Recipe]
    for part in loc:
        if isinstance(part, str) and part.startswith(TAG):
            here = [model for model in here if model.model_fields["kind"].default == part.removeprefix(TAG)]
        elif isinstance(part, str):
            fields = [info for model in here for name, info in model.model_fields.items() if part in (name, info.alias)]
            here = [model for info in fields for model in _models(info.annotation)]
    return here


def _everywhere(model: type[BaseModel], path: Path) -> Iterator[tuple[str, str]]:
    """Yield (section, key) for every key of the recipe."""
    kind = f" of kind {model.model_fields['kind'].default}" if "kind" in model.model_fields else ""
    for name, info in model.model_fields.items():
        yield (dotted(path) or "the top level") + kind, info.alias or name
        for below in _models(info.annotation):
            yield from _everywhere(below, (*path, name))
