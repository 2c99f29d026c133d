"""One line of the requirement, decided: a value, its bounds at the alpha of this read, and pass, fail or inconclusive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contracts import Metric
from ..records import Check, Interval
from .statistics import Paired, bca, clopper_pearson, cluster_t, tango
from .statistics.intervals import MIN_GROUPS


@dataclass(frozen=True)
class Rows:
    """The rows that a decision stands on. *Shapes:* ``gold`` (n,) integers, ``teacher`` and ``student`` (n, classes); ``groups`` (n,)
    integers or None. Rows that the teacher did not answer, or without gold where gold is needed, are left out by :meth:`known`."""

    gold: np.ndarray
    teacher: np.ndarray
    student: np.ndarray
    groups: np.ndarray | None

    def known(self, *, need_gold: bool) -> Rows:
        keep = np.isfinite(self.teacher).any(axis=1) & ~np.isnan(self.teacher).any(axis=1)
        if need_gold:
            keep &= self.gold >= 0
        groups = None if self.groups is None else np.unique(self.groups[keep], return_inverse=True)[1]
        return Rows(self.gold[keep], self.teacher[keep], self.student[keep], groups)

    @property
    def few_groups(self) -> bool:
        return self.groups is not None and (len(self.groups) == 0 or int(self.groups.max()) + 1 < MIN_GROUPS)


def drop_interval(metric: Metric, rows: Rows, alpha: float) -> Interval:
    """Return the drop, teacher minus student in the sense that higher is worse, each bound one-sided at ``alpha``.

    Tango's score interval for ungrouped proportions; a cluster-robust t interval for row means with groups; the BCa bootstrap, over
    groups where there are any, for everything else.
    """
    sign = 1.0 if metric.higher_is_better else -1.0
    first, second = metric.statistics(rows.gold, rows.teacher), metric.statistics(rows.gold, rows.student)
    n = len(rows.gold)
    value = sign * float(metric.combine(first.sum(axis=0)) - metric.combine(second.sum(axis=0)))
    if metric.proportion and rows.groups is None:
        worse, better = int(((first[:, 0] == 1) & (second[:, 0] == 0)).sum()), int(((first[:, 0] == 0) & (second[:, 0] == 1)).sum())
        return Interval(value, *tango(worse, better, n, alpha), n, "Tango's score interval")
    if first.shape[1] == 2 and rows.groups is not None:  # a mean over rows: (sum, one)
        units = int(rows.groups.max()) + 1
        return Interval(value, *cluster_t(sign * (first[:, 0] - second[:, 0]), rows.groups, alpha), units, "cluster-robust t interval over groups")
    sides = Paired.of(first, second, rows.groups)
    low, high = bca(sides, lambda a, b: sign * (metric.combine(a) - metric.combine(b)), alpha)
    return Interval(value, low, high, len(sides.first), "BCa bootstrap" + (" over groups" if rows.groups is not None else ""))


def relative_drop_interval(metric: Metric, rows: Rows, share: float, alpha: float) -> Interval:
    """Return the relative drop, 1 - student / teacher, with bounds that decide as (1 - share) * teacher - student <= 0 does.

    The bootstrap's bounds of that difference, carried over at the observed teacher.
    """
    sides = Paired.of(metric.statistics(rows.gold, rows.teacher), metric.statistics(rows.gold, rows.student), rows.groups)
    teacher, student = float(metric.combine(sides.first.sum(axis=0))), float(metric.combine(sides.second.sum(axis=0)))
    low, high = bca(sides, lambda a, b: (1 - share) * metric.combine(a) - metric.combine(b), alpha)
    if teacher <= 0:
        return Interval(0.0, -np.inf, np.inf, len(sides.first), "no relative drop: the teacher's quality is not above 0")
    return Interval(1 - student / teacher, share + low / teacher, share + high / teacher, len(sides.first), "BCa bootstrap of (1 - r) teacher - student")


def disagreement_interval(rows: Rows, alpha: float) -> Interval:
    """Return the share of rows decided otherwise than the teacher: exact binomial, or cluster-robust where there are groups."""
    other = rows.teacher.argmax(axis=1) != rows.student.argmax(axis=1)
    if rows.groups is not None:
        return Interval(
            float(other.mean()),
            *cluster_t(other.astype(float), rows.groups, alpha),
            int(rows.groups.max()) + 1,
            "cluster-robust t interval over groups",
        )
    return Interval(float(other.mean()), *clopper_pearson(int(other.sum()), len(other), alpha), len(other), "exact binomial")


def at_most(name: str, required: float, found: Interval, *, unit: str = "", few_groups: bool = False) -> Check:
    """Decide "at most": the upper bound under the limit passes, the lower bound over it fails."""
    status: Any = "pass" if found.high <= required else "fail" if found.low > required else "inconclusive"
    note = found.method
    if few_groups:
        status, note = "inconclusive", f"fewer than {MIN_GROUPS} groups: too few for the bound to be trusted"
    return Check(name, required, found.value, found.low, found.high, found.n, status, unit, note)


def at_least(name: str, required: float, found: Interval, *, unit: str = "") -> Check:
    """Decide "at least": the lower bound over the limit passes, the upper bound under it fails."""
    status: Any = "pass" if found.low >= required else "fail" if found.high < required else "inconclusive"
    return Check(name, required, found.value, found.low, found.high, found.n, status, unit, found.method)


def unknown(name: str, required: float, reason: str, *, unit: str = "") -> Check:
    """A line that can't be decided here, and why."""
    return Check(name, required, None, None, None, None, "inconclusive", unit, reason)


def quality_check(required: Any, metric: Metric, rows: Rows, alpha: float) -> Check:
    """Decide the requirement's ``quality`` (its ``max_drop`` or ``max_relative_drop``) on these rows."""
    rows = rows.known(need_gold=True)
    if required.max_drop is not None:
        return at_most("quality", required.max_drop, drop_interval(metric, rows, alpha), unit=f"drop in {metric.name}", few_groups=rows.few_groups)
    found = relative_drop_interval(metric, rows, required.max_relative_drop, alpha)
    return at_most("quality", required.max_relative_drop, found, unit=f"relative drop in {metric.name}", few_groups=rows.few_groups)


def fidelity_check(required: Any, rows: Rows, alpha: float) -> Check:
    """Decide the requirement's ``fidelity`` on these rows; gold is not needed."""
    rows = rows.known(need_gold=False)
    return at_most("fidelity", required.max_disagreement, disagreement_interval(rows, alpha), unit="disagreement", few_groups=rows.few_groups)
