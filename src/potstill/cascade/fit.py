"""From calibration rows to a policy: the walk, for all labels or for each, and what to say where nothing can be certified."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..evaluation.statistics import clopper_pearson, rows_needed_share
from ..evaluation.statistics.intervals import cautious_effect
from . import conformal
from .policy import Place, Rule, Sets, Tried
from .sequence import NOTHING, Walk, rows_for, walk

TWO_SIDED = 0.025  # each end of an interval that describes, 95 % together
PRIOR = 0.5  # of a mistake, beside those that were seen: where none was, the share is not taken for 0


@dataclass(frozen=True)
class Judged:
    """Calibration rows as the fit sees them *Shapes:* (n,) each: how sure the student was, whether it was wrong, what it told (places of
    labels; None where answers are sets), groups or None."""

    confidence: np.ndarray
    wrong: np.ndarray
    told: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.confidence)

    def of(self, label: int) -> Judged:
        """Return the rows that were told this label."""
        assert self.told is not None
        use = self.told == label
        return Judged(self.confidence[use], self.wrong[use], self.told[use], None if self.groups is None else self.groups[use])


def rule(rows: Judged, *, risk: float, confidence: float) -> Rule:
    """Return the rule that these rows certify: see :mod:`sequence`."""
    alpha = 1 - confidence
    return _rule(rows, walk(rows.confidence, rows.wrong, risk=risk, alpha=alpha, groups=rows.groups), risk, alpha)


def rules(rows: Judged, labels: Sequence[str], *, risk: float, confidence: float) -> tuple[Rule, dict[str, Rule]]:
    """Return what is true of all answers together, and each label's own rule.

    At ``confidence`` no label's rule misses ``risk``: each is fitted at its share of the chance to err (Bonferroni). So the kept
    answers of all labels together don't either, for their share of mistakes is a mean of the labels'.
    """
    each = 1 - (1 - confidence) / len(labels)
    found = {label: rule(rows.of(place), risk=risk, confidence=each) for place, label in enumerate(labels)}
    thresholds = np.array([found[label].threshold for label in labels])
    keep = rows.confidence > thresholds[rows.told] if len(rows) else np.zeros(0, bool)
    certified = keep.any()
    bounds = [one.bound for one in found.values() if one.bound is not None]
    least = NOTHING if not certified else min(one.threshold for one in found.values())
    needed = None if certified else _fewest(one.rows_needed for one in found.values())
    together = _described(len(rows), int(keep.sum()), int(rows.wrong[keep].sum()))
    return Rule(threshold=least, bound=max(bounds) if bounds else None, rows_needed=needed, **together), found


def sets(probabilities: np.ndarray, gold: np.ndarray, coverage: float) -> Sets:
    """Return the level of conformal label sets: see :mod:`conformal`."""
    return Sets(coverage=coverage, level=conformal.level(probabilities, gold, coverage), n=len(gold))


def _rule(rows: Judged, found: Walk, risk: float, alpha: float) -> Rule:
    tried = tuple(Tried(threshold=s.threshold, kept=s.kept, wrong=s.wrong, bound=s.bound, certified=s.certified) for s in found.steps)
    if found.chosen is None:
        needed = rows_needed(rows, tried, risk, alpha)
        return Rule(threshold=NOTHING, bound=None, rows_needed=needed, tried=tried, **_described(len(rows), 0, 0))
    chosen = found.chosen
    return Rule(threshold=chosen.threshold, bound=chosen.bound, tried=tried, **_described(len(rows), chosen.kept, chosen.wrong))


def _described(n: int, kept: int, wrong: int) -> dict[str, Any]:
    """Return the counts, and the share that will be passed on with its exact 95 % interval, rows taken for independent."""
    low, high = clopper_pearson(n - kept, n, TWO_SIDED) if n else (0.0, 1.0)
    share = (n - kept) / n if n else 1.0
    return {"n": n, "kept": kept, "wrong": wrong, "passed_on": share, "passed_on_low": min(low, share), "passed_on_high": max(high, share)}


def rows_needed(rows: Judged, tried: Sequence[Tried], risk: float, alpha: float) -> int | None:
    """Return the calibration rows with which, at 80 %, the first step would be certified, were its share of mistakes the one seen.

    Never fewer than can certify anything, nor than there are. None where the surest answers are wrong as often as ``risk``, or more.
    Where there are too few rows for a first step, the best of the places at which they can be cut stands for it.
    """
    least = max(rows_for(0, risk, alpha), len(rows) + 1)
    if len(rows) < 2:
        return least
    order = np.argsort(-rows.confidence, kind="stable")
    wrong, groups = rows.wrong[order], None if rows.groups is None else rows.groups[order]
    places = [tried[0].kept] if tried else sorted({max(1, len(rows) * k // 10) for k in range(1, 11)})
    found = []
    for kept in places:
        share = (float(wrong[:kept].sum()) + PRIOR) / (kept + 2 * PRIOR)
        effect = 1.0 if groups is None else cautious_effect(wrong[:kept].astype(float), np.unique(groups[:kept], return_inverse=True)[1], alpha)
        needed = rows_needed_share(share=share, most=risk, alpha=alpha, design_effect=effect) if share < risk else None
        if needed is not None:
            found.append(math.ceil(needed * len(rows) / kept))
    if not found:  # so few rows that not even none wrong would be under the risk: there is nothing to go by
        return least if not tried and not wrong[: places[-1] // 2].any() else None
    return max(least, min(found))


def _fewest(needed: Any) -> int | None:
    known = [rows for rows in needed if rows is not None]
    return min(known) if known else None


def curve(rows: Judged, *, points: int = 60) -> tuple[Place, ...]:
    """Return the risk at evenly spaced shares: what the page draws; intervals two-sided 95 %, each for itself."""
    order = np.argsort(-rows.confidence, kind="stable")
    mistakes = np.cumsum(rows.wrong[order])
    places = sorted({max(1, round(len(rows) * k / points)) for k in range(1, points + 1)}) if len(rows) else []
    found = []
    for kept in places:
        hits = int(mistakes[kept - 1])
        low, high = clopper_pearson(hits, kept, TWO_SIDED)
        found.append(Place(passed_on=1 - kept / len(rows), risk=hits / kept, low=low, high=high))
    return tuple(found)
