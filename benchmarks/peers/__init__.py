"""Thin adapters on other tools for distillation, and on potstill: what parts a tool has, each callable in one way, for ``checks`` to run.

A tool's ``parts`` hold, by the part's name, its settings by what they are called; the first is the one that the tool documents. All tensors
are float, losses scalars as the tool would step on them.

| part | called with | gives |
|---|---|---|
| soft | student, teacher: logits (n, classes); the temperature | the loss on softened classes alone |
| scores | the same | a loss on logits without a softmax |
| positions | student, teacher: logits (rows, length, classes) | the loss on softened classes at T = 1 |
| masked | the same; mask (rows, length) of the positions that are taught | the same |
| gold | logits (n, classes), gold (n,) with -1 for none | the loss on gold labels |
| hidden | student, teacher: states (rows, length, width); mask (rows, length) of real tokens | their distance |
| attention | student, teacher: (queries, keys), each (rows, heads, length, depth); mask (rows, length) | the loss on attention |
| ensemble | logits (n, classes) of several teachers | what the student is taught: probabilities (n, classes) |
| labels | a folder with a transformers classifier, the student's labels in order, texts | what the student is taught: probabilities (n, classes) |
| teacher | a folder with a transformers classifier that has dropout | (how far two answers to one text lie apart, whether it was trained) |
| train | a ``toys.Job`` | ``toys.Trace`` |
| saved | a ``toys.Job``, a folder | (names of what was saved, names of a fresh student's weights) |
| joined | a ``toys.Job`` of several epochs | by row, the teacher's scores that the loss met |
| reported | a ``toys.Job`` | (the losses that the tool reports, by name; the true one) |
| keys | nothing | by a misspelt option: whether it was refused |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Settings = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True)
class Tool:
    """A tool at a version. ``cross_entropies``: the settings of ``soft`` that call themselves cross-entropies, not divergences."""

    name: str
    version: str
    parts: Mapping[str, Settings]
    cross_entropies: frozenset[str] = field(default_factory=frozenset)
