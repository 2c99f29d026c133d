"""From a student's section of the recipe, or a folder, to the student: one table, no ladder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..lookup import did_you_mean
from ..lookup import load as look_up
from ..records import Example, Head
from .folder import read

if TYPE_CHECKING:
    from .protocol import LoopStudent


@dataclass(frozen=True)
class Defaults:
    """What a kind of student is trained with, where the recipe says nothing."""

    epochs: int
    learning_rate: float
    batch_size: int


@dataclass(frozen=True)
class Kind:
    """A kind of student: the module that builds and loads it, and its defaults."""

    module: str
    defaults: Defaults


KINDS: Mapping[str, Kind] = {
    "transformer": Kind("potstill.students.transformer", Defaults(epochs=4, learning_rate=2e-4, batch_size=32)),
    "static": Kind("potstill.students.static", Defaults(epochs=12, learning_rate=2e-3, batch_size=128)),
    "ngram": Kind("potstill.students.ngram", Defaults(epochs=12, learning_rate=5e-3, batch_size=128)),
}


def options(spec: Any) -> Defaults:
    """Return the defaults of ``spec.kind``. Light: loads no torch."""
    return _kind(spec.kind).defaults


def build(
    spec: Any, head: Head, *, source: Path, fields: Sequence[str], seed: int, max_length: int, rows: Sequence[Example] = ()
) -> LoopStudent:
    """Return a student as ``spec`` wants it, the same for the same seed.

    ``source``: folder of the model whose layers, embeddings or tokenizer it begins with; ``fields``: what it reads of an
    example; ``max_length`` in tokens; ``rows``: those it will learn from, for kinds that look at them first.
    """
    student: LoopStudent = look_up(f"{_kind(spec.kind).module}:build")(
        spec, head, source=source, fields=fields, seed=seed, max_length=max_length, rows=rows
    )
    return student


def load(folder: Path) -> LoopStudent:
    """Return the student that was saved to ``folder``; raises BundleError where there is none."""
    student: LoopStudent = look_up(f"{_kind(read(folder)['kind'], str(folder)).module}:load")(folder)
    return student


def _kind(name: str, place: str = "students.kind") -> Kind:
    if name not in KINDS:
        raise UserError(f"no kind of student is called '{name}'", place=place, remedy=did_you_mean(name, KINDS))
    return KINDS[name]
