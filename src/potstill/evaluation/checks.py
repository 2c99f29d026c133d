"""One line of the requirement, decided: a value, its bounds at the alpha of this read, and pass, fail or inconclusive."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, Protocol

from ..contracts import Metric
from ..records import Check, Interval
from .rows import Rows, disagreement_interval, drop_interval, relative_drop_interval, retention_interval, seeds_interval
from .statistics.intervals import MIN_GROUPS

__all__ = [
    "Fidelity", "Quality", "Rows", "at_least", "at_most", "disagreement_interval", "drop_interval", "fidelity_check", "quality_check",
    "relative_drop_interval", "retention_interval", "seeds_interval", "unknown", "untested_fidelity", "untested_quality",
]  # fmt: skip

Status = Literal["pass", "fail", "inconclusive"]


class Quality(Protocol):
    """What is required of quality: one of the two drops. The recipe's section of that name is one."""

    @property
    def max_drop(self) -> float | None: ...
    @property
    def max_relative_drop(self) -> float | None: ...


class Fidelity(Protocol):
    """What is required of fidelity. The recipe's section of that name is one."""

    @property
    def max_disagreement(self) -> float: ...


def at_most(name: str, required: float, found: Interval, *, unit: str = "", few_groups: bool = False) -> Check:
    """Decide "at most": the upper bound under the limit passes, the lower bound over it fails. No unit at all: inconclusive."""
    status: Status = "pass" if found.high <= required else "fail" if found.low > required else "inconclusive"
    check = _check(name, required, found, status, unit)
    return replace(check, status="inconclusive", note=f"fewer than {MIN_GROUPS} groups: too few for the bound to be trusted") if few_groups else check


def at_least(name: str, required: float, found: Interval, *, unit: str = "") -> Check:
    """Decide "at least": the lower bound over the limit passes, the upper bound under it fails. No unit at all: inconclusive."""
    status: Status = "pass" if found.low >= required else "fail" if found.high < required else "inconclusive"
    return _check(name, required, found, status, unit)


def _check(name: str, required: float, found: Interval, status: Status, unit: str) -> Check:
    """A bound that is none is null; a NaN decides nothing, since it compares as false."""
    value, low, high = (part if math.isfinite(part) else None for part in (found.value, found.low, found.high))
    return Check(name, required, value, low, high, found.n, status if found.n else "inconclusive", unit, found.method)


def unknown(name: str, required: float, reason: str, *, unit: str = "") -> Check:
    """A line that can't be decided here, and why."""
    return Check(name, required, None, None, None, None, "inconclusive", unit, reason)


def quality_check(required: Quality, metric: Metric, rows: Rows, alpha: float) -> Check:
    """Decide the requirement's ``quality`` (its ``max_drop`` or ``max_relative_drop``) on these rows."""
    line, rows = untested_quality(required, metric), rows.known(need_gold=True)
    if not len(rows):
        return replace(line, note="no test row has gold and an answer of the teacher")
    if required.max_relative_drop is None:
        found = drop_interval(metric, rows, alpha)
    else:
        found = relative_drop_interval(metric, rows, required.max_relative_drop, alpha)
    return at_most(line.name, line.required, found, unit=line.unit, few_groups=rows.few_groups)


def fidelity_check(required: Fidelity, rows: Rows, alpha: float) -> Check:
    """Decide the requirement's ``fidelity`` on these rows; gold is not needed."""
    line, rows = untested_fidelity(required), rows.known(need_gold=False)
    if not len(rows):
        return replace(line, note="the teacher answered no test row")
    return at_most(line.name, line.required, disagreement_interval(rows, alpha), unit=line.unit, few_groups=rows.few_groups)


def untested_quality(required: Quality, metric: Metric) -> Check:
    """Return the line ``quality`` before any test row is looked at."""
    if required.max_relative_drop is not None:
        return unknown("quality", required.max_relative_drop, "not tested", unit=f"relative drop in {metric.name}")
    return unknown("quality", required.max_drop or 0.0, "not tested", unit=f"drop in {metric.name}")


def untested_fidelity(required: Fidelity) -> Check:
    """Return the line ``fidelity`` before any test row is looked at."""
    return unknown("fidelity", required.max_disagreement, "not tested", unit="disagreement")
