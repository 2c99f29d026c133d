"""A small pipeline up to the opened test rows, without the timing, which takes longest and concerns few tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill import steps
from potstill.recipe import load
from potstill.runlog import RunLog
from potstill.workspace import Workspace, open_workspace
from tests.small import RECIPE

NGRAM = "  - {name: ngram, kind: ngram, buckets: 1024, dimensions: 16, epochs: 4, learning_rate: 3.0e-2}\n"


def one_student(more: str = "", *, recipe: str = RECIPE) -> str:
    """Return the small recipe with its n-gram student alone, a teacher that is well above chance, and what is written in ``more``."""
    head, _, rest = recipe.replace("epochs: 3, learning_rate: 2.0e-3}, max_length", "epochs: 12, learning_rate: 2.0e-3}, max_length").partition("students:\n")
    return f"{head}students:\n{NGRAM}{rest[rest.index('requirement:') :]}{more}"


@dataclass(frozen=True)
class Tested:
    """A workspace whose test rows are open, and all that the step after them is given."""

    work: Workspace
    data: Any
    teaching: Any
    models: Any
    candidates: Any
    opened: Any


@contextmanager
def until_tested(recipe: Path, folder: Path, *overrides: str) -> Iterator[Tested]:
    """Run the steps until the test rows are open."""
    with open_workspace(load(recipe, overrides), folder, RunLog(), offline=False, fresh=False) as work:
        data = steps.prepare(work)
        teaching = steps.adapt(work, data)
        standing = steps.standing(work, data, teaching)
        lesson, _ = steps.label_in_rounds(work, data, teaching, standing)
        models = steps.learn_all(work, data, teaching, lesson)
        found = steps.candidates(work, data, models)
        yield Tested(work, data, teaching, models, found, steps.open_test(work, data, teaching, models, found, standing))
