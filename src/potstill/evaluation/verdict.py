"""Does it ship? Students tested in the order that validation gave, at full alpha, until one is not shown to be good enough.

A fixed sequence keeps the share of false "ship" at alpha however many students stand in it: Maurer et al. 1995. The smallest that
passed ships.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..records import Check
from .registration import Read, share
from .statistics import rows_needed

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
    """The decision, the student that ships, why, and what would help."""

    decision: Decision | None
    student: str | None
    reasons: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    rows_needed: int | None = None
    outcomes: tuple[Outcome, ...] = ()


def certify(contenders: Sequence[Contender], *, alpha: float, read: Read, test_rows: int) -> Verdict:
    """Decide. ``alpha`` is the whole of the requirement (1 - confidence), ``read`` what this look may spend of it."""
    ordered = sorted(contenders, key=lambda c: c.validation_drop)
    going = [c for c in ordered if not any(check.status == "fail" for check in c.fixed)]
    outcomes = {c.name: Outcome(c.name, c.fixed, False, tested=False) for c in ordered if c not in going}
    stopped = False
    for contender in going:
        if stopped:
            outcomes[contender.name] = Outcome(contender.name, contender.fixed, None, tested=False)
            continue
        outcome = _test(contender, read, alpha)
        outcomes[contender.name] = outcome
        stopped = contender.test is not None and outcome.checks[0].status != "pass"
    found = [outcomes[c.name] for c in ordered]
    passed = [c for c in ordered if outcomes[c.name].meets]
    shipped = min(passed, key=lambda c: c.size_bytes) if passed else None
    decision: Decision = "ship" if shipped else "do-not-ship" if all(o.meets is False for o in found) else "inconclusive"
    needed = [o.rows_needed for o in found if o.rows_needed is not None]
    verdict = Verdict(decision, shipped.name if shipped else None, rows_needed=min(needed) if needed and not shipped else None, outcomes=tuple(found))
    return replace(verdict, reasons=_reasons(verdict, ordered), advice=_advice(verdict, test_rows))


def _test(contender: Contender, read: Read, alpha: float) -> Outcome:
    checks = (*((contender.test(read.alpha),) if contender.test else ()), *contender.fixed)
    meets = False if any(c.status == "fail" for c in checks) else True if all(c.status == "pass" for c in checks) else None
    needed = None
    if contender.test and checks[0].status == "inconclusive":
        needed = rows_needed(
            discordance=contender.discordance, drop=contender.validation_drop, max_drop=contender.margin,
            alpha=share(read.number + 1, alpha), design_effect=contender.design_effect,
        )  # fmt: skip
    return Outcome(contender.name, checks, meets, tested=True, rows_needed=needed)


def _reasons(verdict: Verdict, ordered: Sequence[Contender]) -> list[str]:
    sizes = {c.name: c.size_bytes for c in ordered}
    lines = []
    for outcome in verdict.outcomes:
        bad = [check for check in outcome.checks if check.status != "pass"]
        if outcome.meets:
            last = f", and is the smallest that does ({sizes[outcome.name] / 1e6:.1f} MB)" if outcome.name == verdict.student else ""
            lines.append(f"{outcome.name} meets every line of the requirement{last}: " + "; ".join(sentence(c) for c in outcome.checks[:1]))
        elif bad:
            lines.append(f"{outcome.name}: " + "; ".join(sentence(check) for check in bad))
        else:
            lines.append(f"{outcome.name} was not tested: the sequence stopped at a student before it that was not shown to be good enough")
    return lines


def sentence(check: Check) -> str:
    """Return a check in words: "drop in accuracy 0.012, at most 0.024 by its bound; allowed 0.020: inconclusive"."""
    unit = check.unit or check.name
    if check.value is None:
        return f"{unit}: {check.note}: {check.status}"
    name = unit if check.name in ("quality", "fidelity") else check.name.replace("_", " ")
    wanted = "required at least" if check.name == "speedup" else "allowed"
    if check.low is None or check.high is None or check.low == check.high:
        return f"{name} {check.value:.4g}, {wanted} {check.required:.4g}: {check.status}"
    return f"{name} {check.value:.4g} (bounds {check.low:.4g} to {check.high:.4g}), {wanted} {check.required:.4g}: {check.status}"


def _advice(verdict: Verdict, test_rows: int) -> list[str]:
    if verdict.decision == "ship":
        return ["keep the teacher behind it, and watch its agreement with the teacher in production"]
    lines = []
    if verdict.rows_needed is not None:
        lines.append(f"about {verdict.rows_needed:,} test rows would decide in 80 % of cases; there are {test_rows:,}")
    failed = {check.name for outcome in verdict.outcomes for check in outcome.checks if check.status == "fail"}
    if "quality" in failed or "fidelity" in failed:
        lines.append("more of the pool for the teacher to label, a larger student, or more epochs bring a student closer to its teacher")
    if "latency_p95_ms" in failed or "speedup" in failed:
        lines.append("a student of another kind (static, ngram) or with fewer layers is faster")
    if "size_mb" in failed:
        lines.append("half of a small encoder is its embedding table: a student of kind ngram, or of fewer dimensions, is smaller")
    return lines


@dataclass(frozen=True)
class Standing:
    """How the teacher stands on validation: good enough to learn from?"""

    status: Literal["ok", "warn", "refuse"]
    message: str


def teacher_standing(*, teacher: float, majority: float, floor: float | None, n: int, metric: str, saturated: float = 0.0) -> Standing:
    """Judge the teacher before anything is learnt from it. ``refuse`` at chance: not above the majority by two standard errors.

    All on validation, in ``metric`` (higher is better).
    """
    error = (max(majority * (1 - majority), 1e-12) / max(n, 1)) ** 0.5
    if teacher <= majority + 2 * error:
        return Standing("refuse", f"the teacher is at chance: {metric} {teacher:.3f} on {n:,} validation rows, the majority alone has {majority:.3f}")
    if floor is not None and teacher < floor:
        return Standing("warn", f"the teacher ({metric} {teacher:.3f}) is below TF-IDF with a linear model ({floor:.3f}): do not distil this teacher")
    if saturated > 0.95:
        return Standing("warn", f"{saturated:.0%} of the teacher's answers are all but certain: soft labels teach no more than hard ones")
    return Standing("ok", f"the teacher has {metric} {teacher:.3f} on {n:,} validation rows")
