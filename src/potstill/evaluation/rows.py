"""The paired rows that a figure stands on, and the intervals of what they show: drop, relative drop, retention, disagreement.

Which method serves which quantity is ARCHITECTURE.md's "Statistics, once and for all"; this file is where it is chosen, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..contracts import Metric
from ..errors import PotstillError
from ..records import Interval
from .decisions import Decisions, answered, of
from .metrics import ratio
from .statistics import Paired, bca, clopper_pearson, grouped_difference, grouped_share, jackknife_t, seeds_and_rows, tango
from .statistics.bootstrap import Value, by_group
from .statistics.intervals import MIN_GROUPS
from .statistics.special import normal_ppf


@dataclass(frozen=True)
class Rows:
    """Both sides on the same rows. *Shapes:* ``gold`` (n,) integers, ``teacher`` and ``student`` log-probabilities (n, classes);
    ``groups`` (n,) integers or None. Rows that the teacher did not answer (NaN), or without gold (-1), are left out by :meth:`known`.
    With several labels a row: gold (n, labels), log-odds (n, labels), their thresholds taken off (:mod:`.decisions`)."""

    gold: np.ndarray
    teacher: np.ndarray
    student: np.ndarray
    groups: np.ndarray | None

    def __post_init__(self) -> None:
        sizes = {len(part) for part in (self.gold, self.teacher, self.student, self.groups) if part is not None}
        if len(sizes) > 1 or self.teacher.shape != self.student.shape:
            raise PotstillError(f"the rows of both sides differ: {self.teacher.shape} and {self.student.shape}, {len(self.gold)} gold answers")

    def known(self, *, need_gold: bool) -> Rows:
        """Return the rows that can be judged. Raises where the student has no answer: it always has one, unless we are wrong."""
        keep = answered(self.teacher)
        if need_gold:
            keep &= self.decisions.labeled(self.gold)
        if not answered(self.student)[keep].all():
            raise PotstillError("a student's log-probabilities are not numbers", remedy="its artifact or its export is broken: potstill verify")
        groups = None if self.groups is None else np.unique(self.groups[keep], return_inverse=True)[1]
        return Rows(self.gold[keep], self.teacher[keep], self.student[keep], groups)

    @property
    def decisions(self) -> Decisions:
        """How these rows are decided."""
        return of(self.gold)

    def __len__(self) -> int:
        return len(self.gold)

    @property
    def units(self) -> int:
        """The independent units: groups where there are any, else rows."""
        return len(self) if self.groups is None else len(np.unique(self.groups))

    @property
    def few_groups(self) -> bool:
        return self.groups is not None and self.units < MIN_GROUPS


def difference(metric: Metric, share: float = 0.0) -> Value:
    """Return the quantity (1 - share) * first - second in ``metric``, turned so that more is worse for the second."""
    sign = 1.0 if metric.higher_is_better else -1.0
    return lambda first, second: sign * ((1 - share) * metric.combine(first) - metric.combine(second))


def drop_interval(metric: Metric, rows: Rows, alpha: float) -> Interval:
    """Return the drop, teacher minus student (student minus teacher where lower is better), each bound one-sided at ``alpha``.

    Tango's score interval for ungrouped proportions; a cluster-robust t interval where rows have groups; the BCa bootstrap for all
    else. No row at all: the whole range, n 0. ``rows`` must be :meth:`Rows.known`.
    """
    if not len(rows):
        return Interval(0.0, -metric.span, metric.span, 0, "no row to judge by")
    first, second = metric.statistics(rows.gold, rows.teacher), metric.statistics(rows.gold, rows.student)
    value = difference(metric)
    found = float(value(first.sum(axis=0), second.sum(axis=0)))
    if metric.proportion:
        worse, better = first[:, 0] > second[:, 0], first[:, 0] < second[:, 0]
        if rows.groups is None:
            return Interval(found, *tango(int(worse.sum()), int(better.sum()), len(rows), alpha), len(rows), "Tango's score interval")
        return Interval(found, *grouped_difference(worse, better, rows.groups, alpha), rows.units, "cluster-robust t interval over groups")
    sides = Paired.of(first, second, rows.groups)
    if rows.groups is not None:
        bounds, method = jackknife_t(sides, value, alpha), "cluster-robust t interval over groups (jackknife)"
    else:
        # At 400 rows BCa alone ships 5 % at the edge where 4 % was meant: the wider of it and the jackknife's t interval ships 4 %.
        (low, high), (least, most), method = bca(sides, value, alpha), jackknife_t(sides, value, alpha), "BCa bootstrap"
        bounds = min(low, least), max(high, most)
    low, high = bounds
    high = max(high, found + unseen_mistakes(metric, rows, sides, value, alpha))
    return Interval(found, max(low, -metric.span), min(high, metric.span), rows.units, method)


def unseen_mistakes(metric: Metric, rows: Rows, sides: Paired, value: Value, alpha: float) -> float:
    """Return how much worse the quantity may be by mistakes that these rows happen not to hold: resampling never shows them.

    Without a row on which the sides differ every draw is the same, and a bound of 0 would pass anything. So as many more mistakes as
    Tango's bound allows for where it saw none, z^2, each of the dearest kind among these rows. Nothing for metrics that don't judge
    decisions. Measured at the edge in ``benchmarks/simulate_verdict.py``.
    """
    if not metric.decisions:
        return 0.0
    right = rows.decisions.right(rows.gold, rows.student)
    if not right.any():
        return 0.0
    spoilt = np.where(right[:, None], rows.decisions.worst(rows.student), rows.student)
    change = by_group(metric.statistics(rows.gold, spoilt) - metric.statistics(rows.gold, rows.student), rows.groups)
    first, second = sides.first.sum(axis=0), sides.second.sum(axis=0)
    dearest = float((value(first, second + change) - value(first, second)).max())
    return max(0.0, dearest) * normal_ppf(1 - alpha) ** 2


def relative_drop_interval(metric: Metric, rows: Rows, share: float, alpha: float) -> Interval:
    """Return the relative drop, 1 - student / teacher, with bounds that decide as (1 - share) * teacher - student <= 0 does.

    The bootstrap's bounds of that difference, carried over at the observed teacher. The whole range where the teacher is not above 0.
    """
    if not len(rows):
        return Interval(0.0, -1.0, 1.0, 0, "no row to judge by")
    sides = Paired.of(metric.statistics(rows.gold, rows.teacher), metric.statistics(rows.gold, rows.student), rows.groups)
    teacher, student = float(metric.combine(sides.first.sum(axis=0))), float(metric.combine(sides.second.sum(axis=0)))
    if teacher <= 0:
        return Interval(0.0, -1.0, 1.0, rows.units, "no relative drop: the teacher's quality is not above 0")
    value = difference(metric, share)
    low, high = bca(sides, value, alpha)
    high = max(high, (1 - share) * teacher - student + unseen_mistakes(metric, rows, sides, value, alpha))
    return Interval(1 - student / teacher, share + low / teacher, share + high / teacher, rows.units, "BCa bootstrap of (1 - r) teacher - student")


def retention_interval(metric: Metric, rows: Rows, alpha: float) -> Interval | None:
    """Return student quality / teacher quality with its bootstrap interval; None where the ratio means nothing: a loss, a teacher at 0."""
    if not len(rows) or not metric.higher_is_better:
        return None
    sides = Paired.of(metric.statistics(rows.gold, rows.teacher), metric.statistics(rows.gold, rows.student), rows.groups)
    if float(metric.combine(sides.first.sum(axis=0))) <= 0:
        return None

    def ratio(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.asarray(metric.combine(second) / np.maximum(metric.combine(first), 1e-12))

    found, (low, high) = sides.value(ratio), bca(sides, ratio, alpha)
    low = min(low, found - unseen_mistakes(metric, rows, sides, lambda first, second: -ratio(first, second), alpha))
    return Interval(found, low, high, rows.units, "BCa bootstrap")


def disagreement_interval(rows: Rows, alpha: float) -> Interval:
    """Return the share of rows decided otherwise than the teacher: exact binomial, or cluster-robust where there are groups."""
    if not len(rows):
        return Interval(0.0, 0.0, 1.0, 0, "no row to judge by")
    parted = rows.decisions.parted(rows.teacher, rows.student)
    if parted is not None:
        return _share_interval(parted, rows.groups, alpha)
    other = rows.decisions.differ(rows.teacher, rows.student)
    if rows.groups is not None:
        return Interval(float(other.mean()), *grouped_share(other, rows.groups, alpha), rows.units, "cluster-robust t interval over groups")
    return Interval(float(other.mean()), *clopper_pearson(int(other.sum()), len(other), alpha), len(other), "exact binomial")


def _share_interval(parted: np.ndarray, groups: np.ndarray | None, alpha: float) -> Interval:
    """Return the share of decisions, of which each row has many, that are made otherwise: rows, or groups, are what is independent."""
    sides = Paired.of(parted, parted, groups)

    def share(first: np.ndarray, _: np.ndarray) -> np.ndarray:
        return ratio(first[..., 0], first[..., 1])

    low, high = jackknife_t(sides, share, alpha)
    if groups is None:
        least, most = bca(sides, share, alpha)
        low, high = min(low, least), max(high, most)
    units = len(parted) if groups is None else len(np.unique(groups))
    method = "BCa bootstrap over rows" if groups is None else "cluster-robust t interval over groups (jackknife)"
    return Interval(float(share(parted.sum(axis=0), parted)), max(low, 0.0), min(high, 1.0), units, method)


def quality_interval(metric: Metric, gold: np.ndarray, logprobs: np.ndarray, groups: np.ndarray | None, alpha: float) -> Interval:
    """Return a model's quality by itself, each bound one-sided at ``alpha``: exact binomial for proportions, cluster-robust in groups.

    Other metrics by the wider of BCa and the jackknife, or by the latter alone in groups. *Shapes:* (n,), (n, classes); all with gold.
    """
    if not len(gold):
        return Interval(0.0, 0.0, 1.0, 0, "no row to judge by")
    statistics = metric.statistics(gold, logprobs)
    found, units = float(metric.combine(statistics.sum(axis=0))), len(gold) if groups is None else len(np.unique(groups))
    if metric.proportion:
        right = statistics[:, 0] > 0
        if groups is not None:
            return Interval(found, *grouped_share(right, groups, alpha), units, "cluster-robust t interval over groups")
        return Interval(found, *clopper_pearson(int(right.sum()), len(right), alpha), units, "exact binomial")
    sides = Paired.of(statistics, statistics, groups)
    low, high = jackknife_t(sides, lambda first, _: metric.combine(first), alpha)
    if groups is None:
        least, most = bca(sides, lambda first, _: metric.combine(first), alpha)
        low, high = min(low, least), max(high, most)
    top = 1.0 if metric.higher_is_better else metric.span
    method = "BCa bootstrap" if groups is None else "cluster-robust t interval over groups (jackknife)"
    return Interval(found, max(low, top - metric.span), min(high, top), units, method)


def seeds_interval(
    metric: Metric, *, gold: np.ndarray, against: Sequence[np.ndarray], students: Sequence[np.ndarray], groups: np.ndarray | None, alpha: float
) -> Interval:
    """Return the mean over seeds of the drop from ``against``, rows or groups and seeds resampled together; of the quality where it is empty.

    ``against`` holds one side for all seeds (the teacher), or one a seed. It describes the recipe; the verdict is about one artifact.
    Rows must be answered and have gold. *Shape:* (n, classes) each.
    """
    firsts, seconds = ([by_group(metric.statistics(gold, side), groups) for side in sides] for sides in (against, students))
    value: Callable[[np.ndarray, np.ndarray], np.ndarray] = difference(metric) if firsts else lambda _, second: metric.combine(second)
    found, low, high = seeds_and_rows(firsts or [np.zeros_like(seconds[0])], seconds, value, alpha)
    return Interval(found, low, high, len(seconds[0]), f"bootstrap over {'groups' if groups is not None else 'rows'} and {len(students)} seeds")
