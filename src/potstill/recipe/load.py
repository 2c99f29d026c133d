"""From a file, a text or a mapping to a :class:`Recipe`, or to all that is wrong with it at once."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path as File
from typing import Any, NoReturn

from pydantic import ValidationError

from ..errors import Problem, RecipeError, UserError
from . import changes, files
from .places import Document, Path, parse
from .problems import Found, translate
from .recipe import Recipe

MAX_BYTES = 1_000_000  # a bigger file is data, not a recipe
HAVE_HEAD = ("ForMaskedLM", "ForPreTraining")  # how the names of the classes end that have a masked-LM head
ROUNDS = 3  # of looking for what a first problem hides


def load(source: File | str | Mapping[str, Any], overrides: Sequence[str] = (), base: File | None = None) -> Recipe:
    """Return the recipe in ``source``: a file's path, YAML text (when it has a line break) or a mapping.

    ``overrides`` are ``KEY=VALUE`` as of ``--set``. Relative paths are taken from ``base``, by default the file's folder,
    else the working directory, and are absolute in the result. Raises :class:`RecipeError` with every problem, each with
    file, line, value and remedy; :class:`UserError` where the file can't be read.
    """
    document, folder = _read(source)
    for text in overrides:
        changes.apply(document, text)
    if not isinstance(document.value, dict):
        if not document.problems:
            what = "the recipe is empty" if document.value is None else "a recipe is a mapping (key: value), and this is none"
            document.problems.append(Problem(document.name, what, "`potstill init` writes one that runs"))
        _refuse(document, [])
    files.resolve(document, base or folder)
    recipe, found = _validate(document)
    if recipe is not None:
        found = [*_layers(recipe, document), *_heads(recipe, document)]
    if recipe is None or found or document.problems:
        _refuse(document, found)
    return recipe


def _read(source: File | str | Mapping[str, Any]) -> tuple[Document, File]:
    if isinstance(source, Mapping):
        return Document(value=_plain(source), name="recipe"), File.cwd()
    if isinstance(source, str) and "\n" in source:
        return parse(source, "recipe"), File.cwd()
    path = File(source)
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else None
    except FileNotFoundError as error:
        raise UserError("there is no such recipe", place=str(path), remedy=_others(path)) from error
    except IsADirectoryError as error:
        raise UserError("this is a folder, not a recipe", place=str(path), remedy=_others(path / "recipe.yaml")) from error
    except OSError as error:
        raise UserError(f"the recipe can't be read: {error.strerror}", place=str(path)) from error
    if data is None:
        raise UserError("this is too big for a recipe", place=str(path), remedy="is it the data? the recipe names it as data.train")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError("the recipe is not UTF-8 text", place=f"{path}:{line}", remedy="save it as UTF-8") from error
    return parse(text, path.name), path.absolute().parent


def _others(path: File) -> str:
    there = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
    return f"there: {', '.join(there[:8])}" if there else "`potstill init FILE` writes one"


def _plain(value: Any) -> Any:
    """Return a copy of what Python hands over, of plain dicts, lists and texts, for it is changed in place."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, File) else value


def _validate(document: Document) -> tuple[Recipe | None, list[Found]]:
    """Return the recipe, or None and what is wrong.

    What is wrong with a value hides how values fit together. So what was found is taken out, and the rest is looked at again.
    """
    values, found = document.value, []  # type: Any, list[Found]
    for attempt in range(ROUNDS):
        try:
            recipe = Recipe.model_validate(values)
        except ValidationError as error:
            met = translate(error.errors(include_url=False), document)
            new = [item for item in met if not attempt or not (_echo(item[0], found) or item[1].message.endswith("is missing"))]
        else:
            return (recipe, []) if not found else (None, found)
        found += new
        values = copy.deepcopy(values)
        if not new or not all([_prune(values, path) for path, _ in new]):
            break
    return None, found


def _echo(path: Path, found: Sequence[Found]) -> bool:
    """Whether a problem at ``path`` may only come from taking out an earlier one: it stands at the same place or above it."""
    return any(earlier[: len(path)] == path for earlier, _ in found)


def _prune(values: Any, path: Path) -> bool:
    """Take the value at ``path``, or else what it is a part of, out of ``values``; False where only the whole would go."""
    for length in range(len(path), 0, -1):
        try:
            node = values
            for part in path[: length - 1]:
                node = node[part]
            if isinstance(node, dict):
                del node[path[length - 1]]
                return True
        except (KeyError, IndexError, TypeError):  # it is missing, or taken out already: so the next one up
            continue
    return False


def _layers(recipe: Recipe, document: Document) -> list[Found]:
    """Return the students that ask for layers that their model lacks."""
    found: list[Found] = []
    for place, student in enumerate(recipe.students):
        if student.kind != "transformer":
            continue
        folder = recipe.teacher.model if student.source == "teacher" else student.source
        have = files.layers_of(File(folder))
        asked = student.layers if isinstance(student.layers, int) else max(student.layers) + 1
        if have is not None and asked > have:
            path: Path = ("students", place, "layers")
            remedy = f"ask for 1 to {have} layers, or name them by 0 to {have - 1}"
            found.append((path, Problem(document.place(path), f"{student.layers}: the model has {have} layers", remedy)))
    return found


def _heads(recipe: Recipe, document: Document) -> list[Found]:
    """Return the masked augmentations whose model says that it has no masked-LM head: better here than after the teacher was adapted."""
    found: list[Found] = []
    for place, kind in enumerate(recipe.augment):
        if kind.kind != "masked":
            continue
        names = files.architectures_of(File(recipe.teacher.model if kind.source == "teacher" else kind.source))
        if names and not any(name.endswith(HAVE_HEAD) for name in names):
            remedy = "name a folder that has one (from: path), or use {kind: neighbours}, which works with any embedding table"
            found.append((path := ("augment", place), Problem(document.place(path), f"the model has no masked-LM head: it is a {names[0]}", remedy)))
    return found


def _refuse(document: Document, found: Sequence[Found]) -> NoReturn:
    ordered = sorted(found, key=lambda item: document.order(item[0]))
    problems = list(dict.fromkeys([*document.problems, *(problem for _, problem in ordered)]))
    count = f"{len(problems)} problems" if len(problems) > 1 else "a problem"
    raise RecipeError(f"{document.name} has {count}", problems)
