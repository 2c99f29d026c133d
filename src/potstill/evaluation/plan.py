"""What validation lets us expect of the test: the drop, and how many test rows would show it to be small enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..contracts import Metric
from ..records import Check
from .checks import Fidelity, Quality, untested_fidelity, untested_quality
from .rows import Rows, difference, unseen_mistakes
from .statistics import Paired, rows_needed, rows_needed_mean, rows_needed_share
from .statistics.intervals import design_effect, group_size
from .statistics.special import normal_cdf, normal_ppf


@dataclass(frozen=True)
class Plan:
    """What is expected of one student, from validation.

    ``line``: its quality or fidelity check, untested. ``kind`` says which bound the test will use. ``drop`` is expected, ``margin``
    allowed, both absolute. ``discordance``: share of rows on which just one side is right (on which they differ, for fidelity).
    ``effect``, ``group``: design effect, and mean size of a row's group. Only where no proportion is tested: ``variance`` of a row's
    part in the drop, ``jump``: how far a mistake moves it, ``unseen``: rows per z^2 of alpha that mistakes not yet seen call for.
    """

    line: Check | None
    kind: Literal["difference", "share", "mean"]
    drop: float
    margin: float
    discordance: float
    effect: float = 1.0
    group: float = 1.0
    variance: float = 0.0
    jump: float = 0.0
    unseen: float = 0.0

    def rows_needed(self, alpha: float) -> int | None:
        """Return the test rows with which it passes in 80 % of draws at ``alpha``; None where the expected drop is over what is allowed."""
        gap = self.margin - self.drop
        if self.kind == "share":
            return rows_needed_share(share=self.drop, most=self.margin, alpha=alpha, design_effect=self.effect)
        if self.kind == "difference":
            return rows_needed(
                discordance=self.discordance, drop=self.drop, max_drop=self.margin, alpha=alpha, design_effect=self.effect, group_size=self.group
            )
        found = rows_needed_mean(variance=self.variance, gap=gap, alpha=alpha, jump=self.jump, design_effect=self.effect)
        return None if found is None else max(found, int(np.ceil(self.unseen * normal_ppf(1 - alpha) ** 2 / gap)))


def quality_plan(required: Quality, metric: Metric, validation: Rows) -> Plan | None:
    """Return what validation lets us expect of ``quality``; None where no row there has gold and an answer."""
    rows = validation.known(need_gold=True)
    if not len(rows):
        return None
    line = untested_quality(required, metric)
    first, second = metric.statistics(rows.gold, rows.teacher), metric.statistics(rows.gold, rows.student)
    sides = Paired.of(first, second, None)
    teacher, drop = float(metric.combine(first.sum(axis=0))), sides.value(difference(metric))
    right = _right(metric, rows, first, second)
    discordance, group = float((right[0] != right[1]).mean()), group_size(rows.groups)
    if required.max_drop is not None and metric.proportion:
        effect = design_effect(right[0].astype(float) - right[1], rows.groups)
        return Plan(line, "difference", drop, required.max_drop, discordance, effect, group)
    share = required.max_relative_drop or 0.0
    margin = share * teacher if required.max_drop is None else required.max_drop
    value = difference(metric, share)
    left = sides.without_each(value)
    parts = (len(rows) - 1) * (left.mean() - left)  # each row's influence on the quantity (jackknife pseudo-values, centered)
    # At z = 1: one more mistake of the dearest kind.
    dearest = unseen_mistakes(metric, Rows(rows.gold, rows.teacher, rows.student, None), sides, value, normal_cdf(-1.0))
    spread = float((parts**2).mean())
    jump = float((np.abs(parts) ** 3).mean()) / spread if spread > 0 else 0.0  # the size of a row's part where it has one: 1 for accuracy
    return Plan(
        line, "mean", drop, margin, discordance, effect=design_effect(parts, rows.groups), group=group, jump=jump, unseen=dearest * len(rows),
        variance=spread + len(rows) * dearest**2,  # one mistake more than was seen: none seen is no proof of none
    )  # fmt: skip


def _right(metric: Metric, rows: Rows, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows each side is right on: as a proportion counts them, else by what is decided."""
    if metric.proportion:
        return first[:, 0] > 0, second[:, 0] > 0
    return rows.decisions.right(rows.gold, rows.teacher), rows.decisions.right(rows.gold, rows.student)


def fidelity_plan(required: Fidelity, validation: Rows) -> Plan | None:
    """Return what validation lets us expect of ``fidelity``; None where the teacher answered no row there."""
    rows = validation.known(need_gold=False)
    if not len(rows):
        return None
    differ = rows.decisions.differ(rows.teacher, rows.student)
    share = float(differ.mean())
    effect = design_effect(differ.astype(float), rows.groups)
    return Plan(untested_fidelity(required), "share", share, required.max_disagreement, share, effect, group_size(rows.groups))
