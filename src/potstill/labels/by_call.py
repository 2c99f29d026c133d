"""Ask a teacher of which each call is paid by itself: what it may cost is set aside and its intent durable before a call, what it did cost is
booked and its answer durable after it. So a kill loses the calls in flight, and a budget is passed by no more than these."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..contracts import PaidByCall
from ..records import Answer, Example, Failed, Limits, Usage, Want
from . import journal
from .entries import Spent
from .shards import Origin, Row
from .store import LabelStore

GATHERED = 256  # answers in a shard


@dataclass
class ByCall:
    """One pass over rows: ``run`` yields nothing, and leaves what was said in ``said``, what others ask for in ``busy``."""

    teacher: PaidByCall
    wants: tuple[Want, ...]
    store: LabelStore
    origin: Origin
    run_name: str
    limits: Limits
    asked: Mapping[bytes, Example]
    left: deque[bytes]
    open: dict[str, tuple[int, bytes, Usage]] = field(default_factory=dict)  # example id -> its batch in the ledger, its key, what is set aside
    rows: list[tuple[int, Mapping[Want, Row]]] = field(default_factory=list)  # durable in the journal, and in no shard yet
    usage: Usage = field(default_factory=Usage)
    spent: Spent = field(default_factory=Spent)
    busy: set[bytes] = field(default_factory=set)
    posted: set[bytes] = field(default_factory=set)  # keys that a dead asker had sent by the file, and that are ours now
    full: bool = False

    def take(self) -> Example | None:
        """Give the next row, claimed, where the budget has room for it. What is in flight may yet turn out cheaper, and make room."""
        while self.left:
            key = self.left[0]
            if key in self.posted:
                self.left.popleft()
                continue
            example = self.asked[key]
            reserve = self.teacher.reserve(example)
            if not self._room(reserve):
                self.full = not self.open
                return None
            claim = self.store.claim([key], self.wants, identity=self.origin.identity, run=self.run_name, reserve=reserve)
            self.left.popleft()
            self.busy |= claim.busy
            self.usage += Usage(possibly_paid=claim.possibly_paid)
            if claim.batch is not None:
                self.open[example.id] = (claim.batch, key, reserve)
                return example
        return None

    def booked(self, id: str, usage: Usage) -> None:
        batch, _, reserve = self.open[id]
        journal.book(self.store.index, batch, usage, reserve)
        self.usage += usage

    def settle(self, id: str, answer: Answer, usage: Usage, rows: Mapping[Want, Row]) -> None:
        batch, _, reserve = self.open.pop(id)
        journal.settle(self.store.index, batch, self.origin, rows, usage, reserve)
        self.usage += usage
        if not isinstance(answer, Failed):
            self.rows.append((batch, rows))
        if len(self.rows) >= GATHERED:
            self.gather()

    def gather(self) -> None:
        """Move what is in the journal to a shard."""
        if self.rows:
            by_want: dict[Want, Sequence[Row]] = {want: [rows[want] for _, rows in self.rows] for want in self.wants}
            self.store.gather(self.origin, by_want, [batch for batch, _ in self.rows])
            self.rows = []

    def _room(self, reserve: Usage) -> bool:
        """Return whether one call more, all that are in flight costing what is set aside, keeps within the limits."""
        aside = sum((usage for _, _, usage in self.open.values()), reserve)
        before, now = self.spent, self.usage
        tokens = before.tokens_in + before.tokens_out + before.possibly_tokens + now.tokens_in + now.tokens_out + aside.tokens_in + aside.tokens_out
        sums = (
            (self.limits.calls, before.calls + before.possibly_paid + now.teacher_calls + now.possibly_paid + aside.teacher_calls),
            (self.limits.tokens, tokens), (self.limits.usd, before.usd + before.possibly_usd + now.usd + aside.usd),
        )  # fmt: skip
        return all(limit is None or total <= limit * (1 + 1e-9) for limit, total in sums)
