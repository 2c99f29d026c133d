"""Integers as a symbol of a small alphabet and plain bits behind it: exact below 2^(m+1), then 2^m symbols an octave (as Elias gamma, finer)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

SYMBOLS, BITS = 256, 16  # what the coder takes: symbols in a byte, plain bits of one word


@dataclass(frozen=True)
class Numbers:
    """Integers 0..``largest`` with ``m`` mantissa bits."""

    largest: int
    m: int

    @cached_property
    def symbols(self) -> int:
        return int(self.split(np.array([self.largest]))[0][0]) + 1

    @cached_property
    def bases(self) -> np.ndarray:
        """The least integer of each symbol; SYMBOLS entries."""
        symbols, m = np.arange(SYMBOLS), self.m
        e = self.widths.astype(np.int64)
        return np.where(symbols < 2 << m, symbols, ((symbols & ((1 << m) - 1)) + (1 << m)) << e).astype(np.int64)

    @cached_property
    def widths(self) -> np.ndarray:
        """How many plain bits follow each symbol; SYMBOLS entries."""
        return np.clip((np.arange(SYMBOLS) >> self.m) - 1, 0, BITS).astype(np.uint32)

    def split(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return symbols, numbers of plain bits, plain bits."""
        values = np.asarray(values, np.int64)
        e = np.maximum(np.frexp(values.astype(np.float64))[1] - 1 - self.m, 0)  # exact: values are far below 2^53
        symbols = np.where(values < 2 << self.m, values, ((e + 1) << self.m) + (values >> e) - (1 << self.m))
        e = np.where(values < 2 << self.m, 0, e)
        return symbols, e, values & ((1 << e) - 1)
