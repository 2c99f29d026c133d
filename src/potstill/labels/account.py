"""On whose account a teacher is asked: where its answers are kept, what they may cost, and what failed before."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..records import Failed, Limits
from ..runlog import RunLog
from .store import LabelStore


@dataclass(frozen=True)
class Account:
    """A store, and a run that pays.

    ``run`` names the run in the ledger (:meth:`LabelStore.spent`), over all of whose invocations ``limits`` hold; ``offline`` asks
    nothing; ``failed`` remembers, from one ``ask`` to the next, what failed: it is not asked (and paid) again while this is kept.
    """

    store: LabelStore
    log: RunLog = field(default_factory=RunLog)
    run: str = ""
    limits: Limits = Limits()  # noqa: RUF009 - frozen
    offline: bool = False
    part: bool = False  # what is asked is a part of a call that is paid for elsewhere
    failed: dict[bytes, Failed] = field(default_factory=dict)
