"""Steps 5 and 6: students learn from the stored answers, controls from gold alone; both are exported in the same way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import storage
from ..cache import Stage
from ..lookup import load
from ..records import Answered, Artifact, Example
from ..workspace import Workspace
from .data import Data
from .teach import Teaching, fields

Arm = Literal["distilled", "control"]


@dataclass(frozen=True)
class Arms:
    """One student's trained and exported models: by arm and seed."""

    name: str
    spec: Any
    trained: Mapping[tuple[Arm, int], Stage]
    exported: Mapping[tuple[Arm, int], Stage]

    def artifact(self, arm: Arm, seed: int) -> Artifact:
        return Artifact(**{**(found := self.exported[arm, seed].read()["artifact"]), "folder": self.exported[arm, seed].folder / found["folder"]})
