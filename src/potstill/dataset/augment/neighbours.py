"""The words nearest to a word in a model's table of input embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .vocabulary import Vocabulary
from .words import Read

BLOCK = 256  # words compared with all others at a time: 30,000 others are 30 MB


@dataclass
class Neighbours:
    """Proposes the ``top_k`` nearest whole words by cosine, other than the word itself in whatever case; each word is looked up once.

    ``table`` *Shape:* (vocabulary, width). A word of several pieces is known by the mean of their embeddings.
    """

    vocabulary: Vocabulary
    table: np.ndarray
    top_k: int
    _known: dict[tuple[tuple[int, ...], str], tuple[str, ...]] = field(default_factory=dict)

    def read(self, texts: Sequence[str]) -> list[Read]:
        return self.vocabulary.read(texts)

    def propose(self, wanted: Sequence[tuple[Read, int]]) -> list[tuple[str, ...]]:
        keys = [(read.words[place].ids, read.written(place).casefold()) for read, place in wanted]
        missing = [key for key in dict.fromkeys(keys) if key not in self._known]
        for start in range(0, len(missing), BLOCK):
            self._look_up(missing[start : start + BLOCK])
        return [self._known[key] for key in keys]

    @cached_property
    def _candidates(self) -> tuple[list[str], np.ndarray]:
        known = self.vocabulary.words
        return list(known.values()), _unit(self.table[list(known)])

    def _look_up(self, keys: Sequence[tuple[tuple[int, ...], str]]) -> None:
        words, units = self._candidates
        asked = _unit(np.stack([self.table[list(ids)].mean(axis=0) for ids, _ in keys]))
        cosines = asked @ units.T
        spare = min(len(words), 2 * self.top_k + 8)  # a word may be in the table in several cases
        best = np.argpartition(-cosines, spare - 1, axis=1)[:, :spare]
        for row, (key, places) in enumerate(zip(keys, best)):
            order = places[np.lexsort((places, -cosines[row, places]))]
            self._known[key] = distinct((words[place] for place in order.tolist()), key[1], self.top_k)


def distinct(words: Iterable[str], own: str, count: int) -> tuple[str, ...]:
    """Return the first ``count`` of ``words`` that are neither ``own``, which is casefolded, nor each other in another case."""
    found: dict[str, str] = {}
    for word in words:
        if len(found) == count:
            break
        if word.casefold() != own:
            found.setdefault(word.casefold(), word)
    return tuple(found.values())


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12))
