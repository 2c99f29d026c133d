"""The whole way, top to bottom: the one file to read first.

recipe -> data -> adapt -> agree -> standing -> augment -> label -> suspects -> learn -> export -> speed -> open test -> robustness -> certify -> bundle
-> report
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from . import steps
from .errors import DONE, UNMET
from .recipe import Recipe, load
from .runlog import RunLog
from .workspace import Workspace, open_workspace

Until = Literal["measure", "label", "train", "export", "evaluate"]


@dataclass(frozen=True)
class Run:
    """A finished run, or the part of it that was asked for: its folder, and its report once there is one."""

    folder: Path
    report: dict[str, Any] | None = None

    @property
    def exit_code(self) -> int:
        """0: done, and the requirement, if any, is met; 3: no student is shown to meet it."""
        decision = ((self.report or {}).get("verdict") or {}).get("decision")
        return UNMET if decision in ("do-not-ship", "inconclusive") else DONE


def distill(
    recipe: Recipe | str | Path | Mapping[str, Any], *, output: Path | None = None, log: RunLog | None = None, overrides: Sequence[str] = (),
    offline: bool = False, fresh: bool = False, until: Until | None = None, consent: Callable[[str], bool] | None = None,
) -> Run:  # fmt: skip
    """Distil as ``recipe`` says, into ``output`` (default ``runs/NAME``); a run that was stopped goes on where it stopped.

    ``fresh`` throws the folder's stages away first (never the label store, nor the ledger of test reads); ``until`` stops after
    one stage; ``consent`` is asked, in words, whether what the teacher will cost is agreed to: without it nothing is paid but within the
    recipe's ``max_cost_usd``. Raises the errors of :mod:`potstill.errors`.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load(recipe, overrides)
    folder = Path(output or Path("runs") / recipe.name)
    with open_workspace(recipe, folder, log or RunLog(), offline=offline, fresh=fresh, consent=consent) as work:
        return _run(work, until)


def _run(work: Workspace, until: Until | None) -> Run:
    data = steps.prepare(work)  # read, cleaned, split, screened, the test rows sealed
    teaching = steps.adapt(work, data)  # the teacher, with a head for the task
    work.estimate = steps.agree(work, data, teaching)  # where its answers cost money: what all of them will, agreed to
    if until != "measure":
        steps.ask_ahead(work, data, teaching)  # where files of requests go up: as many rows as possible in the first
    standing = steps.standing(work, data, teaching)  # against the majority and the floor, on validation rows
    if until == "measure":
        return Run(work.folder, steps.baseline(work, data, teaching, standing))

    augmented = steps.augment(work, data, teaching)  # rows made of those to learn from, without gold: for the teacher to label
    lesson, rounds = steps.label_in_rounds(work, data, teaching, standing, augmented.rows)  # each answer asked once, ever
    lesson, suspects = steps.suspects(work, data, teaching, standing, lesson)  # labels worth a second look
    if until == "label":
        return Run(work.folder)

    models = steps.learn_all(work, data, teaching, lesson)  # every student and its control, exported, by seed
    if until in ("train", "export"):
        return Run(work.folder)

    candidates = steps.candidates(work, data, models)  # per student the seed that validation chose, its temperature fitted
    speed = steps.speed(work, data, teaching, candidates)  # teacher and artifacts, turn by turn, in processes of their own
    opened = steps.open_test(work, data, teaching, models, candidates, standing)  # register, then read, predict, book the read
    robustness = steps.robustness(work, data, teaching, candidates, opened)  # the same rows, written otherwise: described, nothing chosen
    found = steps.Evidence(data, teaching, standing, augmented, rounds, suspects, models, candidates, speed, opened, robustness)
    return Run(work.folder, steps.report(work, found))  # decide, pack the bundle, write the page
