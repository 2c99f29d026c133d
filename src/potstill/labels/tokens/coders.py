"""The ways with their settings: what writes a row's value, and what reads many of them back. One class a way, all with the same functions.

``name`` names a coder's values in a :class:`Want`: the way, what is kept, and the eight bytes of what they are read with. ``encode(key, states,
scores)`` returns a row's value: ``key`` is the row's content, on which draws hang; ``states`` (positions, width) are what goes into the head;
``scores`` its logits, (some, vocabulary) at a time. ``decode(values)`` returns what values hold, positions end to end, by the names of what a loss
takes; it raises :class:`StoreError` for values of another coder, and for damaged ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from ...errors import StoreError
from . import frame, hidden, sampled, sparse
from .codebook import Codebook
from .sampled import Draws
from .select import Keep, Top, select

Arrays = dict[str, np.ndarray]


@final
@dataclass(frozen=True)
class SparseCoder:
    """The likeliest tokens by ``keep``. Decoded: ``ids``, ``logprobs``, ``tail``."""

    keep: Keep
    book: Codebook
    way: ClassVar[str] = "sparse"

    @property
    def name(self) -> str:
        return f"sparse-{self.keep.mass:g}-{self.keep.floor:g}-{self.keep.k_max}-{self.book.id.hex()}"

    def encode(self, key: bytes, states: np.ndarray, scores: Iterable[np.ndarray]) -> bytes:
        parts = [select(chunk, self.keep) for chunk in scores] or [select(np.empty((0, 1), np.float32), self.keep)]
        top = Top(*(np.concatenate(columns) for columns in zip(*((part.k, part.ids, part.logprobs, part.tail) for part in parts))))
        return sparse.encode(top, [len(top.k)], self.book)[0]

    def decode(self, values: Sequence[bytes]) -> Arrays:
        rows = sparse.decode(values, self.book)
        return {"ids": rows.ids, "logprobs": rows.logprobs, "tail": rows.tail}


@final
@dataclass(frozen=True)
class SampledCoder:
    """``draws`` drawn tokens. Decoded: ``ids``, ``weights``, ``logprobs``."""

    draws: int
    book: Codebook
    seed: int = 0
    way: ClassVar[str] = "sampled"

    @property
    def name(self) -> str:
        return f"sampled-{self.draws}-seed{self.seed}-{self.book.id.hex()}"

    def encode(self, key: bytes, states: np.ndarray, scores: Iterable[np.ndarray]) -> bytes:
        starts, at, parts = sampled.starts(key, len(states), self.seed), 0, []
        for chunk in scores:
            parts.append(sampled.draw(chunk, starts[at : at + len(chunk)], self.draws))
            at += len(chunk)
        parts = parts or [sampled.draw(np.empty((0, 1), np.float32), starts, self.draws)]
        drawn = Draws(*(np.concatenate(columns) for columns in zip(*((part.k, part.ids, part.logprobs, part.counts) for part in parts))))
        return sampled.encode(drawn, [len(drawn.k)], self.book)[0]

    def decode(self, values: Sequence[bytes]) -> Arrays:
        rows = sampled.decode(values, self.book)
        return {"ids": rows.ids, "weights": rows.weights, "logprobs": rows.logprobs}


@final
@dataclass(frozen=True)
class HiddenCoder:
    """The states, in "int8" or "bf16", for the head of the digest ``head``. Decoded: ``states``."""

    precision: str
    head: bytes
    way: ClassVar[str] = "hidden"

    @property
    def name(self) -> str:
        return f"hidden-{self.precision}-{self.head[:8].hex()}"

    def encode(self, key: bytes, states: np.ndarray, scores: Iterable[np.ndarray]) -> bytes:
        return hidden.encode(states, [len(states)], self.head, self.precision)[0]

    def decode(self, values: Sequence[bytes]) -> Arrays:
        return {"states": hidden.decode(values, self.head, self.precision)[1]}


Coder = SparseCoder | SampledCoder | HiddenCoder


def coder(setting: Keep | int | str, *, book: Codebook, head: bytes) -> Coder:
    """Return the coder of a setting, which tells the way: what to keep, how many tokens to draw, or a precision of states."""
    if isinstance(setting, Keep):
        return SparseCoder(setting, book)
    return HiddenCoder(setting, head) if isinstance(setting, str) else SampledCoder(setting, book)


def positions(values: Sequence[bytes | memoryview]) -> list[int]:
    """Return how many positions each value says that it holds, by its header alone. Raises :class:`StoreError` for one without a header."""
    for n, value in enumerate(values):
        if len(value) < frame.HEADER.size or value[:2] != frame.MAGIC:
            raise StoreError(f"value {n} has no header of ours", place="token store", remedy="it is damaged, or of something else: label these rows again")
    return [int(frame.HEADER.unpack_from(value)[-1]) for value in values]
