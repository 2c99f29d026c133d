"""What the loop is given and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from ..evaluation.statistics import Score
from ..records import Want

if TYPE_CHECKING:
    from ..objectives.tokens.column import Column


@dataclass(frozen=True)
class TrainingRows:
    """Rows to learn from: ``items`` as encoded by the student's preprocessing, ``gold`` as the task encodes it, -1 for none,
    ``teacher`` one array *Shape:* (units, width) a row for every want. Of a student that writes, the tokens of its items are what gold is, and
    ``column`` holds the teacher's answers. Raises :class:`UserError` where they differ in number."""

    items: Sequence[Mapping[str, np.ndarray]]
    gold: np.ndarray
    teacher: Mapping[Want, Sequence[np.ndarray]] = field(default_factory=dict)
    column: Column | None = None

    def __post_init__(self) -> None:
        counts = {"items": len(self.items), "gold": len(self.gold), **{want.key: len(arrays) for want, arrays in self.teacher.items()}}
        if len(set(counts.values())) > 1:
            raise UserError(f"rows to learn from differ in number: {counts}", remedy="give one gold label (or -1) and one answer a row")
        if not counts["items"]:
            raise UserError("there are no rows to learn from", place="data.train", remedy="check what was dropped, and why, in dropped.jsonl")

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class LoopSpec:
    """``steps`` optimizer steps of ``batch_size`` rows; ``warmup`` is a share of the steps; validation is looked at ``evaluations``
    times, and ``patience`` looks without gain end the training. ``micro_batch`` rows at a time where memory is short."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup: float = 0.06
    weight_decay: float = 0.01
    clip: float = 1.0
    evaluations: int = 8
    patience: int = 4
    precision: str = "auto"
    seed: int = 0
    threads: int | None = None
    micro_batch: int | None = None
    optimizer: str = "adamw"  # or "sgd", with momentum and without decay
    pack: bool = False  # rows of text side by side in one
    micro_tokens: int = 4096  # of text at a time, padding counted: a row of it may be longer than any classifier's

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "evaluations", "patience", "micro_batch", "micro_tokens", "threads")
        wrong = {name: value for name in counts if (value := getattr(self, name)) is not None and value < 1}
        wrong |= {name: value for name in ("learning_rate", "weight_decay") if not 0 <= (value := getattr(self, name)) < float("inf")}
        wrong |= {"warmup": self.warmup} if not 0 <= self.warmup <= 1 else {}
        wrong |= {"clip": self.clip} if not self.clip > 0 else {}
        wrong |= {"optimizer": self.optimizer} if self.optimizer not in ("adamw", "sgd") else {}
        wrong |= {"precision": self.precision} if self.precision not in ("auto", "fp32", "bf16") else {}
        if wrong:
            raise UserError(f"the training can't be run with {wrong}", place="training", remedy="counts from 1, rates from 0, warmup a share")

    @property
    def looks(self) -> frozenset[int]:
        """The steps after which validation is looked at: ``evaluations`` of them, evenly, the last step among them."""
        return frozenset(max(1, round(k * self.steps / self.evaluations)) for k in range(1, self.evaluations + 1))


@dataclass
class History:
    """What happened: ``evaluations`` are (step, mean training loss since the last, score); ``kept_step`` is whose weights were kept.

    ``terms`` holds for each term its unweighted means, one for each evaluation: the loss is their sum by weight.
    """

    steps: int = 0
    kept_step: int = 0
    kept_score: float | None = None
    best_score: float | None = None
    best_error: float = 0.0
    evaluations: list[tuple[int, float, float]] = field(default_factory=list)
    stopped_early: bool = False
    seconds: float = 0.0
    precision: str = "fp32"
    terms: dict[str, list[float]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def of(found: Mapping[str, Any]) -> History:
        """Return the history that was written as JSON, which has lists for tuples."""
        return History(**{**found, "evaluations": [(int(step), loss, score) for step, loss, score in found["evaluations"]]})

    @property
    def stale(self) -> int:
        """Evaluations since the one whose weights were kept."""
        return sum(1 for step, *_ in self.evaluations if step > self.kept_step)

    def look(self, step: int, loss: float, score: Score) -> bool:
        """Book an evaluation; return whether its weights are to be kept: those of the latest within one standard error of the best.

        The rate falls as training goes on, and weights settle: of two that validation can't tell apart the later are the better
        ones. The highest of several noisy scores would be mostly noise (figures in docs/log.md).
        """
        self.evaluations.append((step, loss, score.value))
        if self.best_score is None or score.value > self.best_score:
            self.best_score, self.best_error = score
        keep = score.value >= self.best_score - self.best_error
        if keep:
            self.kept_step, self.kept_score = step, score.value
        return keep
