"""What a language model said of rows, for judging by: all of its distribution, or its top alone. Both have the same two functions.

``own(id, targets)`` measures the teacher itself on the learnt tokens of a row; ``beside(id, here, logits, targets)`` a model's ``logits`` at some of
these places. Both return (positions, 4): see :func:`potstill.evaluation.generation.measured`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ..errors import StoreError
from ..evaluation.generation import Tops, beside_top, measured, of_top

CHUNK = 128  # positions whose logits stand in memory at a time: some ten MB each side


@final
@dataclass(frozen=True)
class Whole:
    """A teacher on this machine, asked for its states: the logits are made of these, some positions at a time."""

    teacher: Any
    states: Mapping[str, np.ndarray]  # by row, (positions, width)

    def __contains__(self, id: str) -> bool:
        return id in self.states

    def own(self, id: str, targets: np.ndarray) -> np.ndarray:
        parts = [np.zeros((0, 4))]
        for start in range(0, len(targets), CHUNK):
            logits = self.teacher.scores(self.states[id][start : start + CHUNK])
            parts.append(measured(logits, targets[start : start + CHUNK], logits))
        return np.concatenate(parts)

    def beside(self, id: str, here: slice, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return measured(logits, targets, self.teacher.scores(self.states[id][here]))


@final
@dataclass(frozen=True)
class Top:
    """A teacher that tells of some tokens, the one that stands there among them, and of what all others have together: kl is over these alone."""

    coder: Any  # potstill.labels.tokens.coders:GivenCoder
    values: Mapping[str, bytes]  # by row

    def __contains__(self, id: str) -> bool:
        return id in self.values

    def own(self, id: str, targets: np.ndarray) -> np.ndarray:
        return of_top(self._told(id, len(targets)), targets) if len(targets) else np.zeros((0, 4))

    def beside(self, id: str, here: slice, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return beside_top(logits, targets, self._told(id, None).part(here))

    def _told(self, id: str, positions: int | None) -> Tops:
        """Return what was said of a row. Raises :class:`StoreError` where it is of other than ``positions``."""
        found = Tops.made(**self.coder.decode([self.values[id]]), vocabulary=self.coder.vocabulary)
        if positions is not None and len(found) != positions:
            words = f"the teacher told of {len(found)} positions of a row, {positions} are learnt in it"
            raise StoreError(words, place=id[:12], remedy="its tokenizer, template or max_length are others now: raise teacher.version")
        return found
