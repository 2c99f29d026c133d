"""How long a whole run may still take: guessed weights of its stages, corrected by the stages that were seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

# Seconds in the quickstart on two cores; only their ratios matter. Assumed from single runs, not measured anew on each machine.
SECONDS = {
    "data": 6.0, "adapt": 100.0, "probe": 25.0, "measure": 12.0, "augment": 10.0, "label": 20.0, "speed": 40.0, "test": 15.0,
    "robustness": 20.0,
    "train.transformer": 90.0, "train.static": 12.0, "train.ngram": 8.0, "train.convolutional": 30.0, "train.recurrent": 60.0, "train.trees": 60.0,
    "export": 5.0,
}  # fmt: skip


@dataclass
class Plan:
    """The stages to come, in order. A stage that begins ends all before it: they were found finished."""

    stages: Sequence[tuple[str, float]] = ()
    at: int = -1  # the stage that runs
    seen_weight: float = 0.0
    seen_seconds: float = 0.0
    _began: dict[int, float] = field(default_factory=dict)

    def start(self, name: str, now: float) -> None:
        places = [i for i, (stage, _) in enumerate(self.stages) if stage == name and i > self.at]
        if places:
            self.at = places[0]
            self._began[self.at] = now

    def end(self, name: str, now: float) -> None:
        if self.at in self._began and self.stages[self.at][0] == name:
            self.seen_weight += self.stages[self.at][1]
            self.seen_seconds += now - self._began.pop(self.at)

    def remaining(self, share: float, now: float) -> float | None:
        """Return the seconds that the run may still take, ``share`` of the present stage being done; None where too little was seen."""
        if self.at < 0:
            return None
        running = self.at in self._began
        weight = self.stages[self.at][1] if running else 0.0
        seconds = now - self._began[self.at] if running else 0.0
        known = self.seen_weight + weight * share
        if known < 0.02 * sum(w for _, w in self.stages) or self.seen_seconds + seconds < 3.0:
            return None  # too little was seen: a figure would be a guess
        rate = (self.seen_seconds + seconds) / known
        return rate * (weight * (1 - share) + sum(w for _, w in self.stages[self.at + 1 :]))


def plan_of(recipe: Any, until: str | None = None) -> Plan:
    """Return the plan of a run of ``recipe``, up to the stage ``until``."""
    return Plan(tuple(_stages(recipe, until)))


def _stages(recipe: Any, until: str | None) -> Iterator[tuple[str, float]]:
    yield "data", SECONDS["data"]
    for teacher in getattr(recipe.teacher, "members", [recipe.teacher]):
        if getattr(teacher, "adapt", None) is not None:
            yield "adapt", SECONDS["adapt"]
        if getattr(teacher, "precision", None) == "auto":
            yield "probe", SECONDS["probe"]
    yield "measure", SECONDS["measure"]
    if until == "measure":
        return
    if recipe.augment:
        yield "augment", SECONDS["augment"]
    for number in range(recipe.rounds.count):
        yield "label", SECONDS["label"] / recipe.rounds.count
        last = number == recipe.rounds.count - 1
        if until == "label" and last:
            return
        for student in recipe.students if last else recipe.students[:1]:  # the scout
            for seed in recipe.seeds if last else recipe.seeds[:1]:
                for arm in ("distilled", "control") if last else ("distilled",):
                    yield f"train.{student.name}.{arm}.{seed}", SECONDS[f"train.{student.kind}"]
                    yield f"export.{student.name}.{arm}.{seed}", SECONDS["export"]
    if until not in ("train", "export"):
        yield "speed", SECONDS["speed"]
        yield "test", SECONDS["test"]
        yield "robustness", SECONDS["robustness"]
