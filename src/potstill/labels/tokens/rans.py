"""Symbols to words and back: range asymmetric numeral systems (Duda 2013, arXiv:1311.2540), one state a lane, all lanes a step at a time.

A state is in [2^16, 2^32) and moves words of 16 bits; probabilities are twelve bits. Behind a symbol may stand up to 16 plain bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import StoreError

PRECISION = 12
TOTAL = 1 << PRECISION
LOW = 1 << 16


def frequencies(weights: np.ndarray) -> np.ndarray:
    """Return integers that add up to TOTAL in each row and are nowhere 0, near to ``weights`` (contexts, symbols)."""
    symbols = weights.shape[1]
    share = weights / np.maximum(weights.sum(1, keepdims=True), 1e-300)
    found = 1 + np.floor(share * (TOTAL - symbols)).astype(np.int64)
    found[np.arange(len(found)), found.argmax(1)] += TOTAL - found.sum(1)
    return found


def packed(found: np.ndarray) -> np.ndarray:
    """Return for each context and slot the symbol, its frequency less one, and the slot's place in it: 8, 12 and 12 bits of a uint32."""
    contexts, symbols = found.shape
    each = np.broadcast_to(np.arange(symbols), found.shape).ravel()
    below = np.cumsum(found, 1) - found
    symbol, frequency, start = (np.repeat(part, found.ravel()) for part in (each, found.ravel(), below.ravel()))
    place = np.tile(np.arange(TOTAL), contexts) - start
    return (symbol | (frequency - 1) << 8 | place << 20).astype(np.uint32)


@dataclass(frozen=True)
class Steps:
    """What is written, lane by lane end to end, in the order of reading.

    *Shapes:* (steps,) each: the symbol's ``frequency`` and the sum of those ``below`` it, ``width`` and value of the plain ``bits`` behind it.
    """

    frequency: np.ndarray
    below: np.ndarray
    width: np.ndarray
    bits: np.ndarray


def encode(steps: Steps, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each lane's last state (uint32), its number of words, and all words (uint16), lane by lane as they are read."""
    lanes = len(lengths)
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths)[order]  # behind each lane's last step
    sorted_lengths = lengths[order]
    longest = int(sorted_lengths[0]) if lanes else 0
    active = np.searchsorted(-sorted_lengths, -np.arange(longest), side="left")  # lanes that still have a step after so many
    x = np.full(lanes, LOW, np.uint64)
    words = np.empty((2 * longest, lanes), np.uint16)
    written = np.zeros((2 * longest, lanes), bool)
    frequency, below, width, bits = (part.astype(np.uint64) for part in (steps.frequency, steps.below, steps.width, steps.bits))
    shift, word, top = np.uint64(16), np.uint64(0xFFFF), np.uint64(32)
    for step in range(longest):  # backwards: what is written last is read first
        a = int(active[step])
        at, state = ends[:a] - 1 - step, x[:a]
        for row, full in ((2 * step, (state >> (top - width[at])) > 0), (2 * step + 1, None)):
            if full is None:
                f = frequency[at]
                full = state >= f << np.uint64(20)
            words[row, :a], written[row, :a] = state & word, full
            state = np.where(full, state >> shift, state)
            if row & 1:
                quotient, rest = np.divmod(state, f)
                state = (quotient << np.uint64(PRECISION)) + rest + below[at]
            else:
                state = state << width[at] | bits[at]
        x[:a] = state
    back = np.empty(lanes, np.int64)
    back[order] = np.arange(lanes)
    mine, theirs = words[::-1].T[back], written[::-1].T[back]
    return x[back].astype(np.uint32), theirs.sum(1), mine[theirs]


class Reader:
    """Lanes in the middle of being read; ``states`` (lanes,), ``starts`` and ``ends`` of each lane's words in ``words``."""

    def __init__(self, states: np.ndarray, starts: np.ndarray, ends: np.ndarray, words: np.ndarray) -> None:
        self.states, self.at, self.ends = states.astype(np.uint32), starts.astype(np.int64), ends
        self.words = np.concatenate([words, np.zeros(1, np.uint16)]).astype(np.uint32)

    def run(self, lengths: np.ndarray) -> Run:
        """Return a run of ``lengths`` (lanes,) steps a lane."""
        return Run(self, lengths)

    def close(self) -> None:
        """Raise :class:`StoreError` unless each lane is read to its end and its first state."""
        if (self.at != self.ends).any() or (self.states != LOW).any():
            raise StoreError("the bytes don't end where their symbols do", place="token store", remedy="the value is damaged: label these rows again")


class Run:
    """The same number of symbols for each lane, lanes with many first, so that those still active are always a prefix."""

    def __init__(self, reader: Reader, lengths: np.ndarray) -> None:
        self.reader, self.order = reader, np.argsort(-lengths, kind="stable")
        ordered = lengths[self.order]
        self.steps = int(ordered[0]) if len(ordered) else 0
        self.active = np.searchsorted(-ordered, -np.arange(self.steps), side="left").tolist()
        self.x, self.at = reader.states[self.order], reader.at[self.order]

    def symbols(self, table: np.ndarray, contexts: np.ndarray) -> np.ndarray:
        """Return the next symbol of the first ``len(contexts)`` lanes; ``table`` as :func:`packed` makes it."""
        a = len(contexts)
        x = self.x[:a]
        found = table[(contexts << PRECISION) + (x & np.uint32(TOTAL - 1))]
        x = ((found >> np.uint32(8) & np.uint32(0xFFF)) + np.uint32(1)) * (x >> np.uint32(PRECISION)) + (found >> np.uint32(20))
        self._refill(x, a)
        return found & np.uint32(0xFF)

    def bits(self, width: np.ndarray) -> np.ndarray:
        """Return the next ``width`` plain bits of the first ``len(width)`` lanes."""
        a = len(width)
        x = self.x[:a]
        found = x & ((np.uint32(1) << width) - np.uint32(1))
        self._refill(x >> width, a)
        return found

    def _refill(self, x: np.ndarray, a: int) -> None:
        at = self.at[:a]
        dry = x < LOW
        self.x[:a] = np.where(dry, x << np.uint32(16) | self.reader.words.take(at, mode="clip"), x)
        at += dry

    def done(self) -> None:
        self.reader.states[self.order], self.reader.at[self.order] = self.x, self.at
