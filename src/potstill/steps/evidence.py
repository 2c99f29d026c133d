"""All that the steps found, as the report is given it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..cache import Stage
from .augment import Augmented
from .data import Data
from .judge import Candidate, Opened
from .learn import Model
from .teach import Teaching


@dataclass(frozen=True)
class Evidence:
    """All that the steps found."""

    data: Data
    teaching: Teaching
    standing: Stage
    augmented: Augmented
    rounds: Sequence[Mapping[str, Any]]
    suspects: Mapping[str, Any]
    models: Sequence[Model]
    candidates: Sequence[Candidate]
    speed: Stage
    opened: Opened
    robustness: Stage

    def brittle(self, name: str) -> list[dict[str, Any]]:
        """Return what each change of the texts costs a model; by its name in ``opened.logprobs``."""
        found: list[dict[str, Any]] = self.robustness.read()["models"].get(name, [])
        return found
