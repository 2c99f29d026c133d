"""The files that a recipe names: found, and their paths made absolute."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from pathlib import Path as File
from typing import Any

from ..errors import Problem
from .places import Document, Path
from .students import NO_PATHS

DATA = ("train", "validation", "calibration", "test", "unlabeled")
TEACHER = {
    "model": {"model": "model"}, "recorded": {"path": "file"}, "onnx": {"model": "file", "tokenizer": "file"}, "callable": {"folder": "folder"},
    "endpoint": {"tokenizer": "folder"},
}  # fmt: skip


def resolve(document: Document, base: File) -> None:
    """Make every path in ``document.value`` absolute; a path that leads nowhere becomes a problem that names the nearest file.

    Paths are relative to ``base``, the recipe's folder; those of ``--set`` to the working directory first, because that is
    where the shell completes them. A callable teacher's ``folder`` is ``base`` where it is not given, and so is that of a metric's function.
    """
    for _, teacher in _teachers(document.value):
        if teacher.get("kind") == "callable" and teacher.get("folder") is None:
            teacher["folder"] = str(base.absolute())
    for _, metric in _graded(document.value):
        if metric.get("folder") is None:
            metric["folder"] = str(base.absolute())
    graded = (item for path, metric in _graded(document.value) for item in _each(metric["folder"], (*path, "folder"), "folder"))
    for path, kind in [*_paths(document.value), *graded]:
        parent = _at(document.value, path[:-1])
        given = parent[path[-1]]
        found = _find(given, [File.cwd(), base] if _is_set(document, path) else [base])
        if found is None:
            document.problems.append(Problem(document.place(path), f"there is no {kind} '{given}'", _nearest(base / File(given).expanduser(), kind)))
            continue
        parent[path[-1]] = str(found)
        if kind == "model" and not (found / "config.json").is_file() and not any(found.glob("*.gguf")):
            remedy = "name a folder that save_pretrained wrote; potstill downloads no model"
            document.problems.append(Problem(document.place(path), f"'{given}' holds no transformers model: config.json is missing", remedy))


def layers_of(folder: File) -> int | None:
    """Return how many layers the model in ``folder`` says it has; None where it does not say."""
    config = _config(folder)
    count = config.get("num_hidden_layers", config.get("n_layers"))
    return count if isinstance(count, int) else None


def architectures_of(folder: File) -> list[str]:
    """Return the classes that the model in ``folder`` says it is; none where it does not say."""
    found = _config(folder).get("architectures")
    return [str(name) for name in found] if isinstance(found, list) else []


def _config(folder: File) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):  # no config, or none that can be read: whoever opens the model says so
        return {}
    return config if isinstance(config, dict) else {}


def _paths(value: Any) -> Iterator[tuple[Path, str]]:
    recipe = value if isinstance(value, dict) else {}
    data, students, robustness = (recipe.get(key) for key in ("data", "students", "robustness"))
    if isinstance(data, dict):
        for name in DATA:
            yield from _each(data.get(name), ("data", name), "file")
    if isinstance(robustness, dict):
        yield from _each(robustness.get("out_of_domain"), ("robustness", "out_of_domain"), "file")
    for path, teacher in _teachers(recipe):
        for key, what in TEACHER.get(str(teacher.get("kind")), {}).items():
            yield from _each(teacher.get(key), (*path, key), what)
        prompt = teacher.get("prompt")
        if isinstance(prompt, dict):
            yield from _each(prompt.get("file"), (*path, "prompt", "file"), "file")
    for place, student in enumerate(students if isinstance(students, list) else []):
        if isinstance(student, dict) and student.get("from") not in NO_PATHS.get(str(student.get("kind")), ("teacher",)):
            yield from _each(student.get("from"), ("students", place, "from"), "model")
        general = student.get("general") if isinstance(student, dict) else None
        if isinstance(general, dict):
            yield from _each(general.get("data"), ("students", place, "general", "data"), "file")
    augmentations = recipe.get("augment")
    for place, kind in enumerate(augmentations if isinstance(augmentations, list) else []):
        if isinstance(kind, dict) and kind.get("from") != "teacher":
            yield from _each(kind.get("from"), ("augment", place, "from"), "model")


def _teachers(recipe: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each section that describes a teacher, with its path: the recipe's, and an ensemble's members."""
    teacher = recipe.get("teacher") if isinstance(recipe, dict) else None
    if isinstance(teacher, dict):
        yield ("teacher",), teacher
        found = teacher.get("members")
        yield from ((("teacher", "members", i), member) for i, member in enumerate(found if isinstance(found, list) else []) if isinstance(member, dict))


def _graded(recipe: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each metric that is a function, with its path."""
    section = recipe.get("generation") if isinstance(recipe, dict) else None
    metrics = section.get("metrics") if isinstance(section, dict) else None
    for place, metric in enumerate(metrics if isinstance(metrics, list) else []):
        if isinstance(metric, dict) and metric.get("kind") == "callable":
            yield ("generation", "metrics", place), metric


def _each(value: Any, path: Path, kind: str) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str) and value.strip():
        yield path, kind
    if isinstance(value, list):
        yield from (((*path, i), kind) for i, item in enumerate(value) if isinstance(item, str) and item.strip())


def _at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _is_set(document: Document, path: Path) -> bool:
    return any(path[:length] in document.labels for length in range(1, len(path) + 1))


def _find(given: str, bases: list[File]) -> File | None:
    for base in bases:
        path = base / File(given).expanduser()
        if path.exists():
            return File(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links, and a link is what the user named
    return None


def _nearest(path: File, kind: str) -> str:
    """Return what stands nearest to a path that leads nowhere."""
    folder = path.parent
    if not folder.is_dir():
        while not folder.is_dir():
            missing, folder = folder.name, folder.parent
        return f"'{folder}' has no '{missing}'"
    names = sorted(p.name for p in folder.iterdir() if kind != "model" or p.is_dir())
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    visible = [name for name in names if not name.startswith(".")]
    shown = ", ".join(visible[:8]) + (" ..." if len(visible) > 8 else "")
    return f"'{folder}' holds {shown}" if shown else f"'{folder}' is empty"
