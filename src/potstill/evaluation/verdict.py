"""Does it ship? Students tested in the order that validation gave, at full alpha, until one is not shown to be good enough.

A fixed sequence keeps the share of false "ship" at alpha however many students stand in it: Maurer et al. 1995. The smallest that
passed ships.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, Protocol

from ..contracts import Metric
from ..records import Check
from .checks import Fidelity, Quality, Rows, fidelity_check, quality_check
from .plan import Plan, fidelity_plan, quality_plan
from .reasons import advice, reasons, sentence
from .registration import Read, share
from .standing import Standing, teacher_notes, teacher_standing

__all__ = [
    "Contender", "Decision", "Outcome", "Standing", "Verdict", "certify", "contender", "sentence", "teacher_notes", "teacher_standing",
]  # fmt: skip

Decision = Literal["ship", "do-not-ship", "inconclusive"]


@dataclass(frozen=True)
class Contender:
    """A student as the verdict sees it: what was found without the test rows, and the one check that needs them."""

    name: str
    size_bytes: int
    validation_drop: float
    fixed: tuple[Check, ...]  # latency, speed-up, size, cost
    test: Callable[[float], Check] | None  # alpha -> the quality or fidelity check; None where neither is required
    margin: float  # the drop that is allowed, absolute, in the units of ``validation_drop``
    discordance: float  # on validation: the share of rows on which teacher and student differ in being right (or in deciding)
    design_effect: float = 1.0
    plan: Plan | None = None  # what validation lets us expect; made of the four numbers above where it is not given

    @property
    def expected(self) -> Plan:
        return self.plan or Plan(None, "difference", self.validation_drop, self.margin, self.discordance, self.design_effect)


class Requirement(Protocol):
    """The part of a requirement that is decided on test rows. The recipe's section of that name is one."""

    @property
    def quality(self) -> Quality | None: ...
    @property
    def fidelity(self) -> Fidelity | None: ...


def contender(*, name: str, size_bytes: int, fixed: Sequence[Check], required: Requirement, metric: Metric, validation: Rows, test: Rows) -> Contender:
    """Return a student as the verdict sees it, from its rows on validation (which order and plan) and on the test (which decide)."""
    check: Callable[[float], Check] | None = None
    plan: Plan | None = None
    if required.quality is not None:
        plan, check = quality_plan(required.quality, metric, validation), partial(quality_check, required.quality, metric, test)
    elif required.fidelity is not None:
        plan, check = fidelity_plan(required.fidelity, validation), partial(fidelity_check, required.fidelity, test)
    if plan is None:  # nothing required, or nothing known: the order is then by size
        return Contender(name, size_bytes, 0.0, tuple(fixed), check, 0.0, 0.0)
    return Contender(name, size_bytes, plan.drop, tuple(fixed), check, plan.margin, plan.discordance, plan.effect, plan)


@dataclass(frozen=True)
class Outcome:
    """One student's checks; ``meets`` None: not tested, or not decided."""

    name: str
    checks: tuple[Check, ...]
    meets: bool | None
    tested: bool
    rows_needed: int | None = None


@dataclass(frozen=True)
class Verdict:
    """The decision (None without a requirement), the student that ships, why, and what would help."""

    decision: Decision | None
    student: str | None
    reasons: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    rows_needed: int | None = None
    outcomes: tuple[Outcome, ...] = ()


def certify(contenders: Sequence[Contender], *, alpha: float, read: Read, test_rows: int, order: Sequence[str] | None = None) -> Verdict:
    """Decide. ``alpha`` is the whole of the requirement (1 - confidence), ``read`` what this look may spend of it.

    ``order``: the names as they were registered; by drop on validation, then by size, where it is not given.
    """
    if not any(c.test or c.fixed for c in contenders):
        return Verdict(None, None, reasons=["nothing was required: there is no verdict"])
    ordered = in_order(contenders) if order is None else sorted(contenders, key=lambda c: order.index(c.name))
    found = _sequence(ordered, read, alpha)
    passed = [c for c, outcome in zip(ordered, found) if outcome.meets]
    shipped = min(passed, key=lambda c: c.size_bytes) if passed else None
    decision: Decision = "ship" if shipped else "do-not-ship" if all(o.meets is False for o in found) else "inconclusive"
    needed = [o.rows_needed for o in found if o.rows_needed is not None]
    verdict = Verdict(decision, shipped.name if shipped else None, rows_needed=min(needed) if needed and not shipped else None, outcomes=tuple(found))
    return replace(verdict, reasons=reasons(verdict, {c.name: c for c in ordered}, read.alpha), advice=advice(verdict, ordered, test_rows))


def in_order(contenders: Sequence[Contender]) -> list[Contender]:
    """Return the order of the test: least drop on validation first; of equals the smaller, then by name, so that it hangs on nothing else."""
    return sorted(contenders, key=lambda c: (c.validation_drop, c.size_bytes, c.name))


def _sequence(ordered: Sequence[Contender], read: Read, alpha: float) -> list[Outcome]:
    """Return an outcome for each student: left out, tested, or not reached. Only the quality or fidelity check stops the sequence."""
    found, stopped = [], False
    for contender in ordered:
        if any(check.status == "fail" for check in contender.fixed):
            found.append(Outcome(contender.name, _untested(contender), False, tested=False))
        elif stopped:
            found.append(Outcome(contender.name, _untested(contender), None, tested=False))
        else:
            outcome = _test(contender, read, alpha)
            found.append(outcome)
            stopped = contender.test is not None and outcome.checks[0].status != "pass"
    return found


def _untested(contender: Contender) -> tuple[Check, ...]:
    line = contender.expected.line
    return contender.fixed if line is None else (line, *contender.fixed)


def _test(contender: Contender, read: Read, alpha: float) -> Outcome:
    checks = (*((contender.test(read.alpha),) if contender.test else ()), *contender.fixed)
    meets = False if any(c.status == "fail" for c in checks) else True if all(c.status == "pass" for c in checks) else None
    undecided = contender.test is not None and checks[0].status == "inconclusive"
    needed = contender.expected.rows_needed(share(read.next, alpha)) if undecided else None
    return Outcome(contender.name, checks, meets, tested=True, rows_needed=needed)
