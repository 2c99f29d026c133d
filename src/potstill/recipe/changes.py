"""``--set a.b=c``: changes to a recipe from the command line, before it is checked."""

from __future__ import annotations

import re
from typing import Any

import yaml

from ..errors import Problem
from .places import Document, Path, dotted, scalar

SHAPE = re.compile(r"[^.\[\]\s]+(?:\[\d+\]|\.[^.\[\]\s]+)*")
STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def apply(document: Document, text: str) -> Path | None:
    """Change ``document.value`` as ``KEY=VALUE`` says and return the path that was set; None with a problem noted otherwise.

    KEY is dotted; an item of a list is named by place (``students[0]``) or by its ``name`` (``students.half``). VALUE is YAML.
    """
    key, equals, raw = text.partition("=")
    key = key.strip()
    place = f"--set {text}"
    if not equals or not SHAPE.fullmatch(key):
        document.problems.append(Problem(place, "this is no KEY=VALUE", "write it so: --set students.half.layers=4"))
        return None
    try:
        value = scalar(raw)
    except yaml.YAMLError as error:
        document.problems.append(Problem(place, f"'{raw}' is no YAML: {getattr(error, 'problem', error)}", "quote it: --set 'name=\"a: b\"'"))
        return None
    steps: list[str | int] = [int(number) if number else word for number, word in STEP.findall(key)]
    if document.value is None:
        document.value = {}
    path = _set(document, steps, value, place)
    if path is not None:
        for known in [p for p in document.lines if p[: len(path)] == path]:
            del document.lines[known]
        document.labels[path] = place
    return path


def _set(document: Document, steps: list[str | int], value: Any, place: str) -> Path | None:
    node, path = document.value, ()  # type: Any, Path
    for position, step in enumerate(steps):
        last = position == len(steps) - 1
        if isinstance(node, list):
            at = _item(node, step)
            if at is None:
                document.problems.append(Problem(place, f"{dotted(path)} has no '{step}'", _items(node)))
                return None
            step = at
        elif not isinstance(node, dict) or isinstance(step, int):
            document.problems.append(Problem(place, f"{dotted(path) or 'the recipe'} has nothing below it to set '{step}' on"))
            return None
        path = (*path, step)
        if last:
            node[step] = value
        elif isinstance(node, dict) and not isinstance(node.get(step), dict | list):
            node[step] = _opened(node.get(step), path)
        node = node[step] if not last else node
    return path


def _opened(value: Any, path: Path) -> dict[str, Any]:
    """Return the mapping behind a key that was absent, or held the short form of one (``rounds: 3``)."""
    return {"count": value} if path == ("rounds",) and type(value) is int else {}


def _item(items: list[Any], step: str | int) -> int | None:
    if isinstance(step, str) and step.isdigit():
        step = int(step)
    if isinstance(step, int):
        return step if step < len(items) else None
    for key in ("name", "kind"):  # objectives have no name: objectives.hidden.weight
        found = [i for i, item in enumerate(items) if isinstance(item, dict) and item.get(key) == step]
        if len(found) == 1:
            return found[0]
    return None


def _items(items: list[Any]) -> str:
    names = [str(item.get("name", item.get("kind", i))) if isinstance(item, dict) else str(i) for i, item in enumerate(items)]
    return f"known: {', '.join(names)}, or by place: [0] to [{len(items) - 1}]" if names else "the list is empty"
