"""Ask a teacher, once per distinct request ever: look in the store, claim what is missing, ask, keep, settle.

Each call is preceded by a durable intent and followed, batch by batch, by a durable answer. So a kill loses at most the
batch in flight, whose calls are booked as ``possibly_paid`` by whoever asks for them next.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn

import numpy as np

from ..contracts import PaidByCall, Teacher
from ..errors import BudgetError, PotstillError, StoreError, TeacherError
from ..lookup import did_you_mean
from ..records import Answer, Answered, Example, Failed, Limits, Refused, Usage, Want
from .account import Account
from .answers import Answers, to_stored
from .by_call import ByCall
from .entries import Claim
from .posted import Posted
from .shards import Origin, Row
from .store import LabelStore, key_of

POLL_SECONDS = (0.05, 1.0)  # first and longest pause while another process asks for what we need


def ask(teacher: Teacher, examples: Sequence[Example], wants: Sequence[Want], account: Account, *, batch_size: int = 256) -> Answers:
    """Return the teacher's answers to all ``examples``, from the account's store where it holds them.

    Batches are cut by place among the examples, so that after a kill the same rows are asked in the same company and a
    model's answers are the same to the last bit; a teacher that is paid by the call is asked row by row (:mod:`.by_call`). Raises
    :class:`StoreError` offline where an answer is missing, :class:`BudgetError` when the account's limits are reached,
    :class:`TeacherError` for a want that the teacher does not offer, and whatever the teacher raises; what was said before is kept.
    """
    wants = tuple(dict.fromkeys(wants))
    offered = teacher.offers()
    for want in wants:
        if want.kind not in offered:
            raise TeacherError(f"the teacher '{teacher.name}' can't give '{want.kind}'", remedy=did_you_mean(want.kind, offered))
    identity = teacher.identity()
    keys = {example.id: key_of(identity, teacher.request(example)) for example in examples}
    asked = {keys[example.id]: example for example in reversed(examples)}
    order = list(dict.fromkeys(keys[example.id] for example in examples))
    asking = _Asking(teacher, wants, account, identity, asked)
    try:
        asking.all(order, batch_size)
    finally:
        account.store.release()
    return asking.answers(examples, keys)


@dataclass
class _Asking:
    teacher: Teacher
    wants: tuple[Want, ...]
    account: Account
    identity: str
    asked: Mapping[bytes, Example]  # key -> the example that stands for all with this request
    usage: Usage = field(default_factory=Usage)
    done: int = 0
    refused: dict[bytes, Refused] = field(default_factory=dict)
    called: set[bytes] = field(default_factory=set)

    @property
    def store(self) -> LabelStore:
        return self.account.store

    @property
    def failed(self) -> dict[bytes, Failed]:
        return self.account.failed

    @cached_property
    def price(self) -> float:
        """USD for an answer of a teacher whose answers all cost the same."""
        return 0.0 if self.account.part else float(self.teacher.facts().get("usd_per_1000") or 0.0) / 1000

    def all(self, order: Sequence[bytes], batch_size: int) -> None:
        """Go over the batches until nothing is missing; what another process asks for is waited for."""
        pause = POLL_SECONDS[0]
        while missing := self._missing(order):
            if self.account.offline:
                place = self.asked[next(iter(missing))].place
                raise StoreError(f"offline, and {len(missing)} of {len(order)} answers are not in the store", place=place, remedy="run without --offline")
            self.done = len(order) - len(missing)
            busy: set[bytes] = set()
            size = len(order) if isinstance(self.teacher, PaidByCall) else batch_size
            for start in range(0, len(order), size):
                for wants, batch in _by_wants(missing, order[start : start + size]):
                    busy |= self._some(batch, wants, len(order))
            if not busy:
                pause = POLL_SECONDS[0]
                continue
            holders = ", ".join(map(str, self.store.index.holders(sorted(busy)))) or "just finished"
            self.account.log.progress("label", self.done, len(order), f"waiting for another process ({holders})")
            time.sleep(pause)
            pause = min(pause * 1.5, POLL_SECONDS[1])

    def _missing(self, order: Sequence[bytes]) -> dict[bytes, tuple[Want, ...]]:
        """Return which wants of which keys are not held; notes the refusals that are."""
        missing: dict[bytes, list[Want]] = defaultdict(list)
        for want in self.wants:
            held = self.store.get(order, want, arrays=False)
            self.refused.update({key: Refused(row.reason) for key, row in held.items() if row.status == "refused"})
            for key in order:
                if key not in held and key not in self.failed:
                    missing[key].append(want)
        return {key: tuple(wants) for key, wants in missing.items()}

    def _some(self, batch: Sequence[bytes], wants: tuple[Want, ...], total: int) -> set[bytes]:
        """Ask about ``batch`` as the teacher is asked; return the keys that another process asks for."""
        if isinstance(self.teacher, PaidByCall):
            return self._by_call(self.teacher, batch, wants, total)
        return self._batch(batch, wants, total)

    def _batch(self, batch: Sequence[bytes], wants: Sequence[Want], total: int) -> set[bytes]:
        """Claim, ask, keep and settle one batch; return the keys that another process asks for."""
        batch = batch[: self._room(len(batch))]
        if not batch:
            self._used_up(total)
        claim = self.store.claim(batch, wants, identity=self.identity, run=self.account.run, reserve=Usage(usd=self.price))
        self.usage += Usage(possibly_paid=claim.possibly_paid)
        if claim.batch is not None:
            granted = [key for key in batch if key in claim.granted]
            self._call(claim, granted, wants)
            self.done += len(granted)
            self.account.log.progress("label", self.done, total, "")
        return set(claim.busy)

    def _room(self, count: int) -> int:
        """Return how many of ``count`` calls the limits still allow."""
        limits = self.account.limits
        if limits == Limits():
            return count
        spent = self.store.spent(self.account.run)
        made = spent.calls + spent.possibly_paid
        allowed = [] if limits.calls is None else [limits.calls - made]
        if limits.usd is not None and self.price:
            allowed.append(int(limits.usd / self.price + 1e-6) - made)
        return max(0, min([count, *allowed]))

    def _used_up(self, total: int) -> NoReturn:
        words = f"the budget for the teacher is used up: {self.done:,} of {total:,} answers are there, all of them kept"
        remedy = "raise requirement.max_cost_usd" + (" (or teacher.max_tokens, teacher.max_requests)" if isinstance(self.teacher, PaidByCall) else "")
        raise BudgetError(words, remedy=f"{remedy}, or label fewer rows (rounds.first), and run the same command again")

    def _by_call(self, teacher: PaidByCall, batch: Sequence[bytes], wants: tuple[Want, ...], total: int) -> set[bytes]:
        """Ask row by row, each answer durable as it comes; return the keys that another process asks for."""
        account, spent = self.account, self.store.spent(self.account.run)
        calls = ByCall(teacher, wants, self.store, self._origin(), account.run, account.limits, self.asked, deque(batch), spent=spent)
        post = Posted(calls, lambda words: account.log.progress("label", self.done, total, words))
        try:
            for id, said, usage in teacher.calls(calls.take, wants, calls.booked, proven=self.store.index.knows(self.identity), post=post):
                if id not in calls.open:
                    raise PotstillError("the teacher answered what it was not asked, or twice", place=f"{self.teacher.name}, {id[:12]}")
                key, answer = calls.open[id][1], _checked(said, wants, self.teacher.labels)
                calls.settle(id, answer, usage, {} if isinstance(answer, Failed) else {want: self._row(key, answer, want) for want in wants})
                self.called.add(key)
                self.failed.update({key: answer} if isinstance(answer, Failed) else {})
                self.done += 1
                account.log.progress("label", self.done, total, "")
        finally:
            calls.gather()
            self.usage += calls.usage
        if calls.full:
            self._used_up(total)
        return calls.busy

    def _call(self, claim: Claim, granted: Sequence[bytes], wants: Sequence[Want]) -> None:
        key_by_id = {self.asked[key].id: key for key in granted}
        said: dict[bytes, Answer] = {}
        repeated = self.teacher.repeated
        try:
            for id, answer in self.teacher.answer([self.asked[key] for key in granted], wants):
                if id not in key_by_id or key_by_id[id] in said:
                    raise PotstillError("the teacher answered what it was not asked, or twice", place=f"{self.teacher.name}, {id[:12]}")
                said[key_by_id[id]] = _checked(answer, wants, self.teacher.labels)
        except BaseException:  # Ctrl-C too: what came is kept; the claim stays open, so that whoever asks next books the rest
            if said:
                self._keep(said, wants, None, calls=0)
            raise
        said.update({key: Failed("no answer came") for key in granted if key not in said})
        self._keep(said, wants, claim, calls=len(granted) + self.teacher.repeated - repeated)

    def _keep(self, said: Mapping[bytes, Answer], wants: Sequence[Want], claim: Claim | None, *, calls: int) -> None:
        failed = {key: answer for key, answer in said.items() if isinstance(answer, Failed)}
        rows = {want: [self._row(key, answer, want) for key, answer in said.items() if key not in failed] for want in wants}
        self.store.put(self._origin(), rows, claim=claim, calls=calls, failed=len(failed), usd=calls * self.price)
        self.failed.update(failed)
        self.usage += Usage(calls, usd=calls * self.price)
        self.called.update(said)

    def _row(self, key: bytes, answer: Answer, want: Want) -> Row:
        if isinstance(answer, Answered):
            array = answer.arrays[want]
            return Row(key, self.asked[key].id, "answered", array=array[:, to_stored(self.teacher.labels)] if want.by_label else array)
        return Row(key, self.asked[key].id, "refused", answer.reason)

    def _origin(self) -> Origin:
        return Origin(self.identity, self.teacher.name, "", tuple(self.teacher.labels[i] for i in to_stored(self.teacher.labels)))

    def answers(self, examples: Sequence[Example], keys: Mapping[str, bytes]) -> Answers:
        refusals: dict[str, Answer] = {}
        for id, key in keys.items():
            if key in self.failed:
                refusals[id] = self.failed[key]
            elif key in self.refused:
                refusals[id] = self.refused[key]
        kinds = [type(refusals.get(example.id)).__name__.lower() for example in examples]
        counts = {"answered": kinds.count("nonetype"), "refused": kinds.count("refused"), "failed": kinds.count("failed")}
        usage = self.usage + Usage(cached_calls=len(set(keys.values()) - self.called - set(self.failed)))
        self.account.log.event(
            "labels", teacher=self.teacher.name, wants=[want.key for want in self.wants], teacher_calls=usage.teacher_calls,
            cached_calls=usage.cached_calls, possibly_paid=usage.possibly_paid, **counts,
        )  # fmt: skip
        return Answers(usage, counts, self.wants, tuple(self.teacher.labels), self.store, keys, refusals)


def _by_wants(missing: Mapping[bytes, tuple[Want, ...]], keys: Sequence[bytes]) -> Iterator[tuple[tuple[Want, ...], list[bytes]]]:
    """Yield the missing ones of ``keys`` grouped by what they lack: in a store filled by one recipe there is one group."""
    groups: dict[tuple[Want, ...], list[bytes]] = defaultdict(list)
    for key in keys:
        if key in missing:
            groups[missing[key]].append(key)
    yield from groups.items()


def _checked(answer: Answer, wants: Sequence[Want], labels: Sequence[str]) -> Answer:
    """Return the answer, or a failure where it holds a number that is none; raises for one without a want that was asked for."""
    if isinstance(answer, Answered):
        for want in wants:
            if want not in answer.arrays:
                raise PotstillError(f"the teacher's answer lacks '{want.key}'", place="labels")
            array = answer.arrays[want]
            if array.ndim != 2 or (want.by_label and array.shape[1] != len(labels)):
                raise PotstillError(f"'{want.key}' has the shape {array.shape}, {len(labels)} labels", place="labels")
            if not np.isfinite(array).all():
                return Failed(f"'{want.key}' is not finite")
    return answer
