"""What a change of the texts costs: each model against itself on the same rows, and a student against its teacher.

A description, which decides nothing: its intervals are two-sided 95 %, each by itself. ``stands_out`` allows for all that are looked at.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import rng
from ..contracts import Metric
from ..records import Example, Interval
from .decisions import of as decisions_of
from .fidelity import fidelity
from .rows import Rows, answered, difference, disagreement_interval, drop_interval, quality_interval, unseen_mistakes
from .statistics import Paired, bca, jackknife_t
from .statistics.intervals import MIN_GROUPS

ALPHA = 0.025  # two-sided 95 %


@dataclass(frozen=True)
class Sides:
    """One model's log-probabilities, *Shape:* (n, classes) each, on the same rows as they are and as they were changed."""

    clean: np.ndarray
    changed: np.ndarray

    def only(self, rows: np.ndarray) -> Sides:
        return Sides(self.clean[rows], self.changed[rows])

    @property
    def answered(self) -> np.ndarray:
        """Which rows were answered both ways. *Shape:* (n,)."""
        return answered(self.clean) & answered(self.changed)


def sample(rows: tuple[Example, ...], most: int, seed: int) -> np.ndarray:
    """Return the places of at most so many rows, drawn by the hash of their content and so the same for every arm and run; in order."""
    drawn = sorted(range(len(rows)), key=lambda i: (rng.integer(seed, "robustness", rows[i].id), i))[:most]
    return np.array(sorted(drawn), int)


def describe(metric: Metric, gold: np.ndarray, own: Sides, groups: np.ndarray | None, *, teacher: Sides | None = None, looks: int = 1) -> dict[str, Any]:
    """Return what the change cost one model: {n, clean, value, loss, flips, few_groups, confidence ...}, and beside its teacher {teacher_loss,
    difference, stands_out, agreement}, which are None without one.

    ``gold`` *Shape:* (n,) integers, -1 for none; where people gave none, what the teacher decided on the rows as they are. ``difference``:
    the model's loss minus the teacher's, on the rows that the teacher answered both ways; over 0 the model is the more brittle.
    ``looks``: how many such differences are looked at together (Bonferroni).
    """
    rows = Rows(gold, own.clean, own.changed, groups).known(need_gold=True)
    quality = [float(metric.combine(metric.statistics(rows.gold, side).sum(axis=0))) if len(rows) else None for side in (rows.teacher, rows.student)]
    flips = Rows(gold, own.clean, own.changed, groups).known(need_gold=False)
    told = {
        "n": len(rows), "clean": quality[0], "value": quality[1], "loss": _json(drop_interval(metric, rows, ALPHA)),
        "flips": _json(disagreement_interval(flips, ALPHA)), "few_groups": rows.few_groups, "confidence": _confidence(gold, flips.student),
        "confidence_clean": _confidence(gold, flips.teacher), "teacher_loss": None, "difference": None, "stands_out": None, "agreement": None,
    }  # fmt: skip
    if teacher is None or not (both := teacher.answered).any():
        return told
    of = None if groups is None else np.unique(groups[both], return_inverse=True)[1]
    told["agreement"] = _agreement(gold, teacher.changed[both], own.changed[both], of)
    both &= decisions_of(gold).labeled(gold)
    if both.any():
        own, teacher, gold = own.only(both), teacher.only(both), gold[both]
        of = None if groups is None else np.unique(groups[both], return_inverse=True)[1]
        told["teacher_loss"] = _json(drop_interval(metric, Rows(gold, teacher.clean, teacher.changed, of), ALPHA))
        told["difference"] = _json(excess_interval(metric, gold, own, teacher, of, ALPHA))
        told["stands_out"] = bool(excess_interval(metric, gold, own, teacher, of, ALPHA / looks).low > 0)
    return told


def excess_interval(metric: Metric, gold: np.ndarray, own: Sides, teacher: Sides, groups: np.ndarray | None, alpha: float) -> Interval:
    """Return the model's loss minus its teacher's, each bound one-sided at ``alpha``: the four answers to a row, or a group, stay together.

    The wider of BCa and the jackknife's t interval (the latter alone in groups), and never narrower than mistakes not yet seen call for,
    on either side (:func:`rows.unseen_mistakes`). *Shapes:* gold (n,), log-probabilities (n, classes), all answered.
    """
    if not len(gold):
        return Interval(0.0, -2 * metric.span, 2 * metric.span, 0, "no row to judge by")
    clean, after = (np.concatenate([metric.statistics(gold, getattr(side, name)) for side in (own, teacher)], axis=1) for name in ("clean", "changed"))
    width, lost = clean.shape[1] // 2, difference(metric)

    def value(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return lost(first[..., :width], second[..., :width]) - lost(first[..., width:], second[..., width:])

    sides = Paired.of(clean, after, groups)
    found = sides.value(value)
    low, high = jackknife_t(sides, value, alpha)
    method = "cluster-robust t interval over groups (jackknife)"
    if groups is None:
        (least, most), method = bca(sides, value, alpha), "BCa bootstrap"
        low, high = min(low, least), max(high, most)
    low, high = min(low, found - _unseen(metric, gold, teacher, groups, alpha)), max(high, found + _unseen(metric, gold, own, groups, alpha))
    return Interval(found, max(low, -2 * metric.span), min(high, 2 * metric.span), len(sides.first), method)


def _unseen(metric: Metric, gold: np.ndarray, side: Sides, groups: np.ndarray | None, alpha: float) -> float:
    sides = Paired.of(metric.statistics(gold, side.clean), metric.statistics(gold, side.changed), groups)
    return unseen_mistakes(metric, Rows(gold, side.clean, side.changed, groups), sides, difference(metric), alpha)


# ------------------------------------------------------------------------------------------------------ rows of another kind
@dataclass(frozen=True)
class Elsewhere:
    """Rows by themselves: gold *Shape:* (n,), -1 for none; groups (n,) or None; a model's and the teacher's answers (n, classes)."""

    gold: np.ndarray
    groups: np.ndarray | None
    own: np.ndarray
    teacher: np.ndarray | None

    def known(self, *, need_gold: bool, need_teacher: bool = False) -> Elsewhere:
        """Return the rows that the model answered and that can be judged."""
        keep = answered(self.own)
        keep &= decisions_of(self.gold).labeled(self.gold) if need_gold else keep
        keep &= answered(self.teacher) if need_teacher and self.teacher is not None else keep
        groups = None if self.groups is None else np.unique(self.groups[keep], return_inverse=True)[1]
        return Elsewhere(self.gold[keep], groups, self.own[keep], None if self.teacher is None else self.teacher[keep])

    @property
    def few_groups(self) -> bool:
        return self.groups is not None and len(np.unique(self.groups)) < MIN_GROUPS


def describe_elsewhere(metric: Metric, test: Elsewhere, other: Elsewhere, *, looks: int = 1) -> dict[str, Any]:
    """Return as :func:`describe` does what rows of another kind cost a model: two samples, so nothing but the models is paired.

    Without gold there: no quality, the agreement with the teacher and the mean confidence.
    """
    told: dict[str, Any] = dict.fromkeys(("clean", "value", "loss", "flips", "teacher_loss", "difference", "stands_out", "agreement"))
    here, there = test.known(need_gold=True), other.known(need_gold=True)
    told |= {"n": len(other.gold), "few_groups": there.few_groups, "confidence": _confidence(other.gold, other.known(need_gold=False).own)}
    told["confidence_clean"] = _confidence(test.gold, test.known(need_gold=False).own)
    if len(there.gold):
        clean, value = (quality_interval(metric, side.gold, side.own, side.groups, ALPHA) for side in (here, there))
        told |= {"value": value.value, **({"clean": clean.value, "loss": _json(_loss(metric, clean, value))} if clean.n else {})}
    if other.teacher is None or test.teacher is None or not answered(other.teacher).any():
        return told
    both = other.known(need_gold=False, need_teacher=True)
    told["agreement"] = _agreement(both.gold, _some(both.teacher), both.own, both.groups)
    here, there = (side.known(need_gold=True, need_teacher=True) for side in (test, other))
    if len(there.gold) and len(here.gold):
        taught = [quality_interval(metric, side.gold, _some(side.teacher), side.groups, ALPHA) for side in (here, there)]
        told |= {"teacher_loss": _json(_loss(metric, *taught)), "difference": _json(_further(metric, here, there, ALPHA))}
        told["stands_out"] = bool(_further(metric, here, there, ALPHA / looks).low > 0)
    return told


def _further(metric: Metric, here: Elsewhere, there: Elsewhere, alpha: float) -> Interval:
    """Return how much further the model is behind its teacher there than here: its loss minus the teacher's."""
    return apart(*(drop_interval(metric, Rows(side.gold, _some(side.teacher), side.own, side.groups), alpha) for side in (there, here)))


def apart(first: Interval, second: Interval) -> Interval:
    """Return first minus second where the two come from different rows: their bounds' distances, added in squares.

    The method of variance estimates recovery: Zou & Donner 2008, Statistics in Medicine 27:1693-1702; with score or exact bounds of two
    proportions it is Newcombe's (1998, ibid. 17:873-890).
    """
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Interval(value, low, high, min(first.n, second.n), f"two samples, {first.method}")


def _loss(metric: Metric, clean: Interval, value: Interval) -> Interval:
    """Return the loss, higher is worse."""
    return apart(clean, value) if metric.higher_is_better else apart(value, clean)


def _some(found: np.ndarray | None) -> np.ndarray:
    assert found is not None  # known(need_teacher=True) of a side that has a teacher
    return found


def _agreement(gold: np.ndarray, teacher: np.ndarray, own: np.ndarray, groups: np.ndarray | None) -> dict[str, Any]:
    """Return the agreement. Of any number of labels a row no divergence: their thresholds are off, and with them the probabilities."""
    if gold.ndim == 1:
        return fidelity(teacher, own, groups)
    return fidelity(teacher, own, groups, kind="labels") | {"kl": None}


def _confidence(gold: np.ndarray, logprobs: np.ndarray) -> float | None:
    """Return the mean probability of what was decided; None for any number of labels a row, whose thresholds are off."""
    return float(np.exp(logprobs.max(axis=1).astype(np.float64)).mean()) if len(logprobs) and gold.ndim == 1 else None


def _json(found: Interval) -> dict[str, Any]:
    return asdict(found)
