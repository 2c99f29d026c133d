"""What is fitted once and read with all rows: tokens by how often they are likely, and how often each symbol comes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property

import numpy as np

from ... import storage
from ...errors import StoreError
from . import rans
from .levels import TAIL_LEVELS, Levels
from .numbers import Numbers

VERSION = 1
LARGEST = 1 << 18  # tokens: a rank's plain bits fit into a word
FEW = 12  # places at the top of a row that have drops of their own
K_CLASSES, LEFT_CLASSES, RANK_CLASSES, DEPTH_CLASSES, SIZE_CLASSES, LEVELS_APART = 12, 7, 20, 12, 9, 16
CONTEXTS = {  # by name, how many tables of symbols
    "depth": 1, "tail": DEPTH_CLASSES, "size": DEPTH_CLASSES + SIZE_CLASSES * LEVELS_APART,
    "k": 1, "drop": FEW * K_CLASSES, "count": 16, "id": RANK_CLASSES * LEFT_CLASSES,
}  # fmt: skip
MANTISSAS = {"depth": 3, "tail": 7, "size": 2, "k": 2, "drop": 3, "count": 2, "id": 2}
WAYS = {"sparse": ("depth", "tail", "size", "id"), "sampled": ("k", "drop", "count", "id")}
DRAWN = Levels(step=0.1, growth=0.1, widest=0.5)  # log-probabilities of tokens drawn, which are few
PRIOR = 4.0  # how many symbols of all contexts together each context starts with: assumed


@dataclass(frozen=True)
class Codebook:
    """The ``tokens`` of the vocabulary in the order of their ranks, the grid of log-probabilities, and the tables of symbols by way and name."""

    tokens: np.ndarray
    levels: Levels
    k_max: int
    tables: Mapping[str, Mapping[str, np.ndarray]] = field(repr=False)

    @property
    def vocabulary(self) -> int:
        return len(self.tokens)

    @cached_property
    def ranks(self) -> np.ndarray:
        """By token, its rank."""
        found = np.empty(self.vocabulary, np.int64)
        found[self.tokens] = np.arange(self.vocabulary)
        return found

    def grid(self, way: str) -> Levels:
        return DRAWN if way == "sampled" else self.levels

    def numbers(self, way: str) -> dict[str, Numbers]:
        """Return how the integers of each name are split."""
        deepest = len(self.grid(way).centers) - 1
        most = {"depth": deepest, "tail": 2 * TAIL_LEVELS + 1, "drop": deepest, "id": self.vocabulary - 1}
        return {name: Numbers(most.get(name, self.k_max), MANTISSAS[name]) for name in WAYS[way]}

    @cached_property
    def packed(self) -> dict[str, dict[str, np.ndarray]]:
        return {way: {name: rans.packed(found) for name, found in tables.items()} for way, tables in self.tables.items()}

    @cached_property
    def data(self) -> bytes:
        """The codebook as bytes, the same for the same codebook."""
        names = [(way, name) for way in WAYS for name in WAYS[way]]
        facts = {"version": VERSION, "vocabulary": self.vocabulary, "k_max": self.k_max, "levels": asdict(self.levels)}
        parts = [json.dumps(facts, sort_keys=True).encode() + b"\n", self.tokens.astype("<u4").tobytes()]
        parts += [self.tables[way][name].astype("<u2").tobytes() for way, name in names]
        body = zlib.compress(b"".join(parts), 9)
        return bytes.fromhex(storage.sha256_bytes(body)) + body

    @cached_property
    def id(self) -> bytes:
        """Eight bytes that every row names."""
        return self.data[:8]

    @staticmethod
    def read(data: bytes) -> Codebook:
        """Return the codebook of ``data``; raises :class:`StoreError` unless they are whole."""
        if bytes.fromhex(storage.sha256_bytes(data[32:])) != data[:32]:
            raise StoreError("a codebook's bytes don't give its digest", place="token store", remedy="without its codebook rows can't be read: label again")
        head, _, body = zlib.decompress(data[32:]).partition(b"\n")
        facts = json.loads(head)
        if facts["version"] != VERSION:
            raise StoreError(f"codebook of format {facts['version']}, we read {VERSION}", place="token store", remedy="read it with the release that wrote it")
        at = 4 * facts["vocabulary"]
        tables: dict[str, dict[str, np.ndarray]] = {}
        book = Codebook(np.frombuffer(body[:at], "<u4").astype(np.int64), Levels(**facts["levels"]), facts["k_max"], {})
        for way in WAYS:
            tables[way] = {}
            for name, numbers in book.numbers(way).items():
                shape = (CONTEXTS[name], numbers.symbols)
                tables[way][name] = np.frombuffer(body, "<u2", shape[0] * shape[1], at).astype(np.int64).reshape(shape)
                at += 2 * shape[0] * shape[1]
        return Codebook(book.tokens, book.levels, book.k_max, tables)


def order(scores: np.ndarray) -> np.ndarray:
    """Return tokens by falling score; those that tie by their ids."""
    return np.argsort(-scores, kind="stable").astype(np.int64)


def table(contexts: np.ndarray, symbols: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the frequencies of ``symbols`` in their ``contexts``, smoothed by those of all contexts together."""
    counts = np.zeros(shape)
    np.add.at(counts, (contexts, symbols), 1.0)
    every = counts.sum(0) + 0.5
    return rans.frequencies(counts + PRIOR * every / every.sum())
