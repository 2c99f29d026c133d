"""From texts to changed texts, given what is drawn: words replaced by what a model proposes, or a span left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .words import Read, cased, pieces, replaced

Streams = Sequence[Sequence[np.random.Generator]]  # by text, then by copy


class Changer(Protocol):
    """Makes copies of texts. What is drawn for one text depends on its own streams alone, never on the texts beside it."""

    def change(self, texts: Sequence[str], streams: Streams) -> list[list[str]]:
        """Return for each text a copy a stream; the text itself where there is nothing in it to change."""


class Proposer(Protocol):
    """Knows which words of a text may be replaced, and by what."""

    def read(self, texts: Sequence[str]) -> list[Read]:
        """Return the texts with the words that may be replaced, in order."""

    def propose(self, wanted: Sequence[tuple[Read, int]]) -> list[tuple[str, ...]]:
        """Return the words that may stand in for each wanted word of a text, best first."""


@dataclass(frozen=True)
class Substitution:
    """Each word is replaced with probability ``share``, and at least one is, by any of the words proposed for it.

    All copies of a text draw from the same proposals, made for the text as it is: so does TinyBERT's published code, where its
    algorithm 1 would propose anew after each change. Only words that some copy replaces are asked about.
    """

    proposer: Proposer
    share: float

    def change(self, texts: Sequence[str], streams: Streams) -> list[list[str]]:
        read = self.proposer.read(texts)
        draws = [[_drawn(len(one.words), self.share, stream) for stream in own] for one, own in zip(read, streams)]
        wanted = sorted({(i, place) for i, copies in enumerate(draws) for copy in copies for place in copy})
        proposed = dict(zip(wanted, self.proposer.propose([(read[i], place) for i, place in wanted])))
        return [[_substituted(read[i], copy, {place: proposed[i, place] for place in copy}) for copy in copies] for i, copies in enumerate(draws)]


def _drawn(count: int, share: float, stream: np.random.Generator) -> dict[int, float]:
    """Return which of ``count`` words are replaced, each with the luck in [0, 1) that picks among its proposals."""
    if not count:
        return {}
    chance, luck, one = stream.random(count), stream.random(count), int(stream.integers(count))
    chosen = np.flatnonzero(chance < share).tolist() or [one]
    return {place: float(luck[place]) for place in chosen}


def _substituted(read: Read, lucks: Mapping[int, float], proposed: Mapping[int, Sequence[str]]) -> str:
    changes = [
        (read.words[place].span, cased(proposed[place][int(luck * len(proposed[place]))], read.written(place)))
        for place, luck in lucks.items()
        if proposed[place]
    ]
    return replaced(read.text, changes)


@dataclass(frozen=True)
class Deletion:
    """A run of words, ``share`` of all and at least one, is left out of each copy; a text of one word stays as it is."""

    share: float

    def change(self, texts: Sequence[str], streams: Streams) -> list[list[str]]:
        return [[self._one(text, stream) for stream in own] for text, own in zip(texts, streams)]

    def _one(self, text: str, stream: np.random.Generator) -> str:
        words = pieces(text)
        if len(words) < 2:
            return text
        length = min(max(1, round(self.share * len(words))), len(words) - 1)
        first = int(stream.integers(len(words) - length + 1))
        if first + length < len(words):
            return text[: words[first].start] + text[words[first + length].start :]
        return text[: words[first - 1].end] + text[words[-1].end :]
