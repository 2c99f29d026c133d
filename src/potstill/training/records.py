"""What the loop is given and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..records import Want


@dataclass(frozen=True)
class TrainingRows:
    """Rows to learn from: ``items`` as encoded by the student's preprocessing, ``gold`` (rows,) with -1 for none, ``teacher`` one
    array (units, width) a row for every want."""

    items: Sequence[Mapping[str, np.ndarray]]
    gold: np.ndarray
    teacher: Mapping[Want, Sequence[np.ndarray]] = field(default_factory=dict)

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


@dataclass
class History:
    """What happened: ``evaluations`` are (step, training loss since the last, score); ``best_step`` is whose weights were kept."""

    steps: int = 0
    best_step: int = 0
    best_score: float = float("-inf")
    evaluations: list[tuple[int, float, float]] = field(default_factory=list)
    stopped_early: bool = False
    seconds: float = 0.0
    precision: str = "fp32"
    terms: dict[str, float] = field(default_factory=dict)  # mean of each term over the last stretch

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
