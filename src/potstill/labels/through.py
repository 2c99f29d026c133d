"""A teacher that is asked through the label store: what one ensemble, or one run, was told, another finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..contracts import Teacher
from ..records import Answer, Answered, Example, Want
from .account import Account
from .ask import ask


@dataclass(frozen=True)
class Through:
    """See :class:`potstill.contracts.Teacher`: ``teacher``, whose answers are kept under its own identity.

    Its calls are booked to no run: they are a part of the call that the ensemble was asked by, and of its price.
    """

    teacher: Teacher
    account: Account
    repeated: int = 0

    @property
    def name(self) -> str:
        return self.teacher.name

    @property
    def labels(self) -> tuple[str, ...]:
        return self.teacher.labels

    def identity(self) -> str:
        return self.teacher.identity()

    def offers(self) -> frozenset[str]:
        return self.teacher.offers()

    def request(self, example: Example) -> bytes:
        return self.teacher.request(example)

    def facts(self) -> Mapping[str, Any]:
        return self.teacher.facts()

    def answer(self, examples: Sequence[Example], wants: Sequence[Want]) -> Iterator[tuple[str, Answer]]:
        answers = ask(self.teacher, examples, wants, self.account, batch_size=max(1, len(examples)))
        ids = list(dict.fromkeys(example.id for example in examples))
        known = answers.answered(ids)
        arrays = {want: dict(zip(known, answers.arrays(known, want))) for want in wants}
        there = set(known)
        for id in ids:
            yield id, Answered({want: arrays[want][id] for want in wants}) if id in there else answers.of(id)
