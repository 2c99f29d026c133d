"""Where the answers to a batch's tokens come from: kept ones, decoded as they are needed, or a teacher that is asked in every step.

Both have one function, ``gather(batch)``: the target of the rows of a batch, their positions end to end in the batch's order, on the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..objectives.tokens.heads import Head
from ..objectives.tokens.targets import Full, Hidden, Sampled, Sparse, Target
from ..records import Want

Decode = Callable[[Sequence[bytes]], Mapping[str, np.ndarray]]
Made = Callable[[Mapping[str, Tensor], Any], Target]
WAYS: Mapping[str, Made] = {  # from what a coder's ``decode`` gives, by its way
    "sparse": lambda arrays, head: Sparse(**arrays), "sampled": lambda arrays, head: Sampled(**arrays),
    "hidden": lambda arrays, head: Hidden(arrays["states"], head),
}  # fmt: skip


@final
@dataclass(frozen=True)
class KeptTokens:
    """Rows as the token store keeps them: one value a row, bytes *Shape:* (1, bytes) uint8, of ``way``, read by ``decode``.

    ``head``: the teacher's, for the hidden way. Values are views into the store: what a batch needs is read, and goes again.
    """

    values: Sequence[np.ndarray]
    way: str
    decode: Decode
    head: Head | None = None

    def __post_init__(self) -> None:
        if self.way not in WAYS or (self.way == "hidden" and self.head is None):
            raise UserError(
                f"tokens of the way '{self.way}'{' without a head' if self.way in WAYS else ''}", place="answers", remedy=f"known: {', '.join(WAYS)}"
            )

    def __len__(self) -> int:
        return len(self.values)

    def gather(self, batch: Sequence[int] | np.ndarray) -> Target:
        arrays = self.decode([self.values[int(i)].tobytes() for i in batch])
        return WAYS[self.way]({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}, self.head)


@final
@dataclass(frozen=True)
class KeptStates:
    """Rows as their states, one array *Shape:* (positions, width) a row, and the teacher's head."""

    states: Sequence[np.ndarray]
    head: Head

    def __len__(self) -> int:
        return len(self.states)

    def gather(self, batch: Sequence[int] | np.ndarray) -> Target:
        return Hidden(torch.from_numpy(np.concatenate([self.states[int(i)] for i in batch]).astype(np.float32)), self.head)


@final
@dataclass(frozen=True)
class AskedAnew:
    """A teacher that is asked in every step, and keeps nothing: ``states`` of rows' numbers, what goes into ``head``, end to end.

    ``full``: as logits over the whole vocabulary, which are as large as it; else states, whose logits are made a few at a time.
    """

    states: Callable[[Sequence[int]], Tensor]
    head: Head
    rows: int
    full: Callable[[Tensor], Tensor] | None = None

    def __len__(self) -> int:
        return self.rows

    def gather(self, batch: Sequence[int] | np.ndarray) -> Target:
        states = self.states([int(i) for i in batch])
        return Hidden(states, self.head) if self.full is None else Full(self.full(states))


def check(positions: Sequence[int], items: Sequence[Mapping[str, np.ndarray]], want: Want) -> None:
    """Raise :class:`UserError` unless there are answers to as many positions as each item learns: else each would meet its neighbor's."""
    if len(positions) != len(items):
        raise UserError(f"{len(positions)} answers to {len(items)} rows", place=want.key, remedy="give one answer a row")
    for row, (told, item) in enumerate(zip(positions, items)):
        if told != (own := int(item["learnt"].sum())):
            words = f"row {row}: the teacher answers at {told} positions, the student learns at {own}"
            raise UserError(words, place=want.key, remedy="give both the same tokenizer, chat template and max_length")
