"""YAML to plain values, with the line of each: so that a problem can be named where it stands.

Numbers and truth values are read as YAML 1.2 does: ``1e-3`` is a number, ``no`` and ``2024-01-01`` are text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from ..errors import Problem

Path = tuple[str | int, ...]
MAX_NODES = 100_000  # a recipe has hundreds; aliases of aliases could make billions


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars."""


_INT = r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+"
_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
_SCALARS = (  # tag, pattern, first characters; the first that fits is taken
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("merge", r"<<", "<"),
)
setattr(_Loader, "yaml_implicit_resolvers", {})  # noqa: B010 - of its own, so that SafeLoader's stay as they are
for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


@dataclass
class Document:
    """A file's values and where they stand: line (from 1) by path, and the problems met in reading it."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    labels: dict[Path, str] = field(default_factory=dict)  # what was set on the command line, by path
    name: str = "recipe"

    def order(self, path: Path) -> int:
        """Return where in the file a path stands, what was set on the command line last of all."""
        while path and path not in self.lines and path not in self.labels:
            path = path[:-1]
        return self.lines.get(path, 1 << 30) if path not in self.labels else 1 << 30

    def place(self, path: Path) -> str:
        """Return "recipe.yaml:12 students[0].layers", or the ``--set`` that put it there.

        A path that stands nowhere (a key that is missing) gets the line of what it is missing from.
        """
        if path not in self.lines and path not in self.labels:
            opened = [label for known, label in self.labels.items() if known[: len(path)] == path]
            if opened and path:
                return opened[0]
        at = path
        while at and at not in self.lines and at not in self.labels:
            at = at[:-1]
        if at in self.labels:
            return self.labels[at] + (f" {dotted(path)}" if at != path else "")
        line = f":{self.lines[at]}" if at in self.lines else ""
        return f"{self.name}{line}" + (f" {dotted(path)}" if path else "")


def dotted(path: Path) -> str:
    """Return "students[0].layers" for ("students", 0, "layers")."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


def scalar(text: str) -> Any:
    """Return the value of a piece of YAML, as in ``--set key=VALUE``. Raises yaml.YAMLError."""
    node = yaml.compose(text, Loader=_Loader)
    reader = _Reader(Document())
    return None if node is None else reader.value(node, ())


def parse(text: str, name: str) -> Document:
    """Read a YAML file; what is wrong with it as YAML stands in ``problems``."""
    document = Document(name=name)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else name
        what = " ".join(str(part) for part in (getattr(error, "context", ""), getattr(error, "problem", "")) if part)
        document.problems.append(Problem(place, f"this is no YAML: {what or error}", "look at the indentation, and quote texts that hold ': ' or '#'"))
        return document
    if node is not None:
        document.value = _Reader(document).value(node, ())
    return document


class _Reader:
    """Turns nodes into values, and notes the line of each."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.loader = _Loader("")
        self.nodes = 0
        self.above: list[int] = []  # the nodes that we are inside of

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        self.nodes += 1
        if id(node) in self.above or self.nodes > MAX_NODES:
            if self.nodes <= MAX_NODES + 1:
                self._problem(path, "an alias (*name) that makes the recipe endless", "write the values out")
            return None
        self.above.append(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self.above.pop()

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        out: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged = self.value(value_node, path)
                for part in merged if isinstance(merged, list) else [merged]:
                    out = {**part, **out} if isinstance(part, Mapping) else out
                continue
            key, line = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?", key_node.start_mark.line + 1
            self.document.lines[(*path, key)] = line
            if key in first:
                self._problem((*path, key), f"'{key}' is given twice, first in line {first[key]}", "keep one of them")
            first.setdefault(key, line)
            out[key] = self.value(value_node, (*path, key))
        return out

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        tag, text = node.tag.rpartition(":")[2], str(node.value)
        if tag == "int":
            return int(text, 16) if text.lower().startswith("0x") else int(text.replace("_", ""))
        if tag == "float":
            plain = text.replace("_", "").lower()
            return float(plain.replace(".inf", "inf").replace(".nan", "nan"))
        if tag == "bool":
            return text.lower() == "true"
        if tag == "null":
            return None
        if tag != "str":
            self._problem(path, f"'{node.tag}' is a tag that a recipe can't have", "leave the tag out")
        return text

    def _problem(self, path: Path, message: str, remedy: str) -> None:
        self.document.problems.append(Problem(self.document.place(path), message, remedy))
