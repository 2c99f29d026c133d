"""What the teacher said about each example asked: every one answered, refused or failed, never absent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import PotstillError, StoreError
from ..records import Answer, Answered, Usage, Want
from .shards import Row
from .store import LabelStore


@dataclass(frozen=True)
class Answers:
    """Answers by example id; arrays are read from the store when asked for.

    ``columns`` gives the order in which the teacher's labels stand in the stored log-probabilities, so that what comes
    out is in the order of ``labels``.
    """

    usage: Usage
    counts: Mapping[str, int]  # answered, refused, failed: they add up to the rows that were given
    wants: tuple[Want, ...]
    labels: tuple[str, ...]
    store: LabelStore = field(repr=False)
    keys: Mapping[str, bytes] = field(repr=False)  # example id -> store key
    refusals: Mapping[str, Answer] = field(repr=False)  # example id -> Refused | Failed
    shift: np.ndarray | None = field(default=None, repr=False)  # (labels,), added to log-probabilities, which are then made to sum to 1

    def shifted(self, shift: np.ndarray | None) -> Answers:
        """Return the same answers, their log-probabilities calibrated by ``shift``; the store keeps them as they were said."""
        return replace(self, shift=shift)

    def answered(self, ids: Iterable[str]) -> list[str]:
        """Return those of ``ids`` that were answered, in order."""
        return [i for i in ids if self._known(i) not in self.refusals]

    def of(self, id: str) -> Answer:
        """Return the answer to one example; its arrays are read when looked at."""
        if self._known(id) in self.refusals:
            return self.refusals[id]
        return Answered(_Arrays(self, id))

    def array(self, ids: Sequence[str], want: Want) -> np.ndarray:
        """Return the arrays of answers of one unit, stacked. *Shape:* (len(ids), d). Raises for one that was not answered."""
        arrays = self.arrays(ids, want)
        for i, array in zip(ids, arrays):
            if array.shape[0] != 1:
                raise PotstillError(f"the answer has {array.shape[0]} units, not one", place=f"{want.key} of {i[:12]}")
        return np.concatenate(arrays) if arrays else np.empty((0, len(self.labels) if want.by_label else 0), np.float32)

    def arrays(self, ids: Sequence[str], want: Want) -> list[np.ndarray]:
        """Return each example's array, read-only. *Shape:* (units, d) each. Raises for one that was not answered."""
        if want not in self.wants:
            raise PotstillError(f"'{want.key}' was not asked for", place="answers")
        for i in ids:
            if self._known(i) in self.refusals:
                raise PotstillError(f"there is no answer: {self.refusals[i]}", place=f"{want.key} of {i[:12]}")
        rows = self.store.get(list(dict.fromkeys(self.keys[i] for i in ids)), want)
        arrays = [self._array(rows.get(self.keys[i]), want, i) for i in ids]
        columns = from_stored(self.labels)
        if want.by_label and not (columns == np.arange(len(columns))).all():
            arrays = [array[:, columns] for array in arrays]
        return [_calibrated(array, self.shift) for array in arrays] if want.kind == "logprobs" and self.shift is not None else arrays

    def _known(self, id: str) -> str:
        if id not in self.keys:
            raise PotstillError("this example was not among those asked", place=id[:12])
        return id

    def _array(self, row: Row | None, want: Want, id: str) -> np.ndarray:
        if row is None or row.array is None:
            raise StoreError(
                f"an answer ({want.key} of {id[:12]}) is no longer in the store",
                place=str(self.store.root),
                remedy="was `potstill store gc` run at the same time? run the same command again: what is gone is asked again",
            )
        return row.array


@dataclass(frozen=True)
class _Arrays(Mapping[Want, np.ndarray]):
    answers: Answers
    id: str

    def __getitem__(self, want: Want) -> np.ndarray:
        if want not in self.answers.wants:
            raise KeyError(want)
        return self.answers.arrays([self.id], want)[0]

    def __iter__(self) -> Iterator[Want]:
        return iter(self.answers.wants)

    def __len__(self) -> int:
        return len(self.answers.wants)


def _calibrated(array: np.ndarray, shift: np.ndarray) -> np.ndarray:
    moved = array.astype(np.float64) + shift
    return np.asarray(moved - np.logaddexp.reduce(moved, axis=1, keepdims=True), np.float32)


def from_stored(labels: Sequence[str]) -> np.ndarray:
    """Return the stored column of each label: columns are stored sorted by name, whatever the order of the head. *Shape:* (labels,)."""
    return np.argsort(np.argsort(np.array(labels, dtype=object), kind="stable"), kind="stable")


def to_stored(labels: Sequence[str]) -> np.ndarray:
    """Return the teacher's column for each stored one: the inverse of :func:`from_stored`. *Shape:* (labels,)."""
    return np.argsort(np.array(labels, dtype=object), kind="stable")
