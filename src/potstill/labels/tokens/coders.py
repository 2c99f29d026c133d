"""The ways with their settings: what writes a row's value, and what reads many of them back. One class a way, all with the same functions.

``name`` names a coder's values in a :class:`Want`: the way, what is kept, and the eight bytes of what they are read with. ``encode(key, states,
scores)`` returns a row's value: ``key`` is the row's content, on which draws hang; ``states`` (positions, width) are what goes into the head;
``scores`` its logits, (some, vocabulary) at a time. ``decode(values)`` returns what values hold, positions end to end, by the names of what a loss
takes; it raises :class:`StoreError` for values of another coder, and for damaged ones. What a server gave is written by ``given`` instead of ``encode``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from ...errors import StoreError
from . import frame, hidden, sampled, sparse
from .codebook import Codebook
from .sampled import Draws
from .select import Keep, Top, given, select

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


@final
@dataclass(frozen=True)
class GivenCoder:
    """What a server gave of each position, as it gave it: at most ``keep.k_max`` tokens of a ``vocabulary``, and what they leave over. Decoded:
    ``ids``, ``logprobs``, ``tail``, whose mass is at most 1.

    Few tokens, and each of them paid for: nothing is rounded but to float32, and no codebook has to be fitted before the first answer.
    """

    keep: Keep
    vocabulary: int
    way: ClassVar[str] = "sparse"

    @property
    def name(self) -> str:
        return f"given-{self.keep.k_max}-{self.vocabulary}"

    def given(self, ids: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]]) -> bytes:
        """Return a row's value: for each position some tokens, in any order. Raises :class:`StoreError` for what can't be; see :func:`.select.given`."""
        top = given(ids, logprobs, self.vocabulary, self.keep)
        body = b"".join(
            (top.k.astype("<u2").tobytes(), top.ids.astype("<u4").tobytes(), top.logprobs.astype("<f4").tobytes(), top.tail.astype("<f4").tobytes())
        )
        return frame.close(GIVEN, self.vocabulary.to_bytes(8, "little"), len(top.k), zlib.compress(body, 9))

    def decode(self, values: Sequence[bytes]) -> Arrays:
        parts = [self._read(value) for value in values]
        k, ids, logprobs, tail = (np.concatenate([np.empty(0), *columns]) for columns in zip(*parts)) if parts else (np.empty(0),) * 4
        square, values_of = sparse.padded(k.astype(np.int64), ids.astype(np.int64), logprobs - sparse.UNDER)
        return {"ids": square, "logprobs": values_of, "tail": (tail * (1 - sparse.UNDER)).astype(np.float32)}

    def _read(self, value: bytes) -> tuple[np.ndarray, ...]:
        positions, body = frame.open(value, GIVEN, self.vocabulary.to_bytes(8, "little"))
        data = zlib.decompress(body)
        k = np.frombuffer(data, "<u2", positions)
        at, many = 2 * positions, int(k.sum(dtype=np.int64))
        if len(data) != at + 8 * many + 4 * positions:
            raise StoreError("the bytes don't hold what their header says", place="token store", remedy="the value is damaged: label these rows again")
        return k, np.frombuffer(data, "<u4", many, at), np.frombuffer(data, "<f4", many, at + 4 * many), np.frombuffer(data, "<f4", positions, at + 8 * many)


GIVEN = b"g"  # the kind of a value that a server's tokens stand in
Coder = SparseCoder | SampledCoder | HiddenCoder | GivenCoder


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
