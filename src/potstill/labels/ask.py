"""Ask a teacher, once per distinct request ever: look in the store, claim what is missing, ask, keep, settle.

Each call is preceded by a durable intent and followed, batch by batch, by a durable answer. So a kill loses at most the
batch in flight, whose calls are booked as ``possibly_paid`` by whoever asks for them next.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..contracts import Teacher
from ..errors import BudgetError, PotstillError, StoreError, TeacherError
from ..lookup import did_you_mean
from ..records import Answer, Answered, Example, Failed, Refused, Usage, Want
from ..runlog import RunLog
from .answers import Answers, to_stored
from .index import Claim
from .shards import Origin, Row
from .store import LabelStore, key_of

POLL_SECONDS = (0.05, 1.0)  # first and longest pause while another process asks for what we need


def ask(
    teacher: Teacher, examples: Sequence[Example], wants: Sequence[Want], *, store: LabelStore, log: RunLog, batch_size: int = 256,
    offline: bool = False, run: str = "", budget: int | None = None, failed: dict[bytes, Failed] | None = None,
) -> Answers:  # fmt: skip
    """Return the teacher's answers to all ``examples``, from the store where it holds them.

    Batches are cut by place among the examples, so that after a kill the same rows are asked in the same company and a
    model's answers are the same to the last bit. ``offline`` asks nothing: raises :class:`StoreError` where an answer is
    missing. ``run`` names the run in the ledger (:meth:`LabelStore.spent`); ``budget`` is how many calls may still be made:
    raises :class:`BudgetError` when they are used up. ``failed`` remembers, from one ``ask`` to the next, what failed: it is not asked
    (and paid) again while the caller keeps it. Raises :class:`TeacherError` for a want that the teacher does not
    offer, and whatever the teacher raises; what was said before is kept.
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
    asking = _Asking(teacher, wants, store, log, identity, asked, run, budget, failed={} if failed is None else failed)
    try:
        asking.all(order, batch_size, offline)
    finally:
        store.release()
    return asking.answers(examples, keys)


@dataclass
class _Asking:
    teacher: Teacher
    wants: tuple[Want, ...]
    store: LabelStore
    log: RunLog
    identity: str
    asked: Mapping[bytes, Example]  # key -> the example that stands for all with this request
    run: str
    budget: int | None
    calls: int = 0
    possibly_paid: int = 0
    done: int = 0
    failed: dict[bytes, Failed] = field(default_factory=dict)
    refused: dict[bytes, Refused] = field(default_factory=dict)
    called: set[bytes] = field(default_factory=set)

    def all(self, order: Sequence[bytes], batch_size: int, offline: bool) -> None:
        """Go over the batches until nothing is missing; what another process asks for is waited for."""
        pause = POLL_SECONDS[0]
        while missing := self._missing(order):
            if offline:
                place = self.asked[next(iter(missing))].place
                raise StoreError(f"offline, and {len(missing)} of {len(order)} answers are not in the store", place=place, remedy="run without --offline")
            self.done = len(order) - len(missing)
            busy: set[bytes] = set()
            for start in range(0, len(order), batch_size):
                for wants, batch in _by_wants(missing, order[start : start + batch_size]):
                    busy |= self._batch(batch, wants, len(order))
            if not busy:
                pause = POLL_SECONDS[0]
                continue
            holders = ", ".join(map(str, self.store.index.holders(sorted(busy)))) or "just finished"
            self.log.progress("label", self.done, len(order), f"waiting for another process ({holders})")
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

    def _batch(self, batch: Sequence[bytes], wants: Sequence[Want], total: int) -> set[bytes]:
        """Claim, ask, keep and settle one batch; return the keys that another process asks for."""
        if self.budget is not None:
            batch = batch[: max(0, self.budget - self.calls)]
            if not batch:
                words = f"the budget for the teacher is used up: {self.done:,} of {total:,} answers are there, all of them kept"
                raise BudgetError(words, remedy="raise requirement.max_cost_usd, or label fewer rows (rounds.first), and run the same command again")
        claim = self.store.claim(batch, wants, identity=self.identity, run=self.run)
        self.possibly_paid += claim.possibly_paid
        if claim.batch is not None:
            granted = [key for key in batch if key in claim.granted]
            self._call(claim, granted, wants)
            self.done += len(granted)
            self.log.progress("label", self.done, total, "")
        return set(claim.busy)

    def _call(self, claim: Claim, granted: Sequence[bytes], wants: Sequence[Want]) -> None:
        key_by_id = {self.asked[key].id: key for key in granted}
        said: dict[bytes, Answer] = {}
        repeated = self._repeated()
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
        self._keep(said, wants, claim, calls=len(granted) + self._repeated() - repeated)

    def _repeated(self) -> int:
        """Return how many rows the teacher has asked about again of itself: whoever pays pays for these too."""
        return int(getattr(self.teacher, "repeated", 0))

    def _keep(self, said: Mapping[bytes, Answer], wants: Sequence[Want], claim: Claim | None, *, calls: int) -> None:
        rows: dict[Want, list[Row]] = {want: [] for want in wants}
        failed = {key: answer for key, answer in said.items() if isinstance(answer, Failed)}
        columns = to_stored(self.teacher.labels)
        for key, answer in said.items():
            for want in wants:
                if isinstance(answer, Answered):
                    array = answer.arrays[want]
                    array = array[:, columns] if want.by_label else array
                    rows[want].append(Row(key, self.asked[key].id, "answered", array=array))
                elif isinstance(answer, Refused):
                    rows[want].append(Row(key, self.asked[key].id, "refused", answer.reason))
        origin = Origin(self.identity, self.teacher.name, "", tuple(self.teacher.labels[i] for i in columns))
        self.store.put(origin, rows, claim=claim, calls=calls, failed=len(failed))
        self.failed.update(failed)
        self.calls += calls
        self.called.update(said)

    def answers(self, examples: Sequence[Example], keys: Mapping[str, bytes]) -> Answers:
        refusals: dict[str, Answer] = {}
        for id, key in keys.items():
            if key in self.failed:
                refusals[id] = self.failed[key]
            elif key in self.refused:
                refusals[id] = self.refused[key]
        kinds = [type(refusals.get(example.id)).__name__.lower() for example in examples]
        counts = {"answered": kinds.count("nonetype"), "refused": kinds.count("refused"), "failed": kinds.count("failed")}
        price = float(self.teacher.facts().get("usd_per_1000") or 0.0)
        cached = len(set(keys.values()) - self.called - set(self.failed))
        usage = Usage(self.calls, cached, self.possibly_paid, usd=self.calls * price / 1000)
        self.log.event(
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
