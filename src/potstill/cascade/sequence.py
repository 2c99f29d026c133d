"""Fixed-sequence testing: from which confidence on are answers wrong in at most a stated share, with a stated confidence?

The thresholds are tried in an order that is fixed before anyone looks at which answers are wrong: from the surest rows on, each keeping
some more. Each is a hypothesis, "of the answers kept here more than ``risk`` are wrong", and is rejected where the exact binomial bound
(Clopper & Pearson 1934) says so; the first that can't be rejected ends the walk. So the whole walk errs with at most the chance of its
first true hypothesis (Bauer 1991, Statistics in Medicine 10:871-890; Angelopoulos et al. 2021, Learn then Test, arXiv:2110.01052).

Where the thresholds lie follows from the confidences of the rows alone, never from their answers. Of the rows above one, given the one it
is drawn at, each is a fresh draw from all rows that sure: hence an exact binomial. That the walk may begin at a count of rows, and not at
a confidence, takes one more thing: that the share of wrong answers, as ever less sure ones are kept, passes ``risk`` once and stays above.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..evaluation.statistics import clopper_pearson, grouped_share
from ..evaluation.statistics.intervals import MIN_GROUPS, group_size
from ..evaluation.statistics.special import beta_cdf

NOTHING = 1.0  # the threshold that no confidence exceeds: all is passed on
MISTAKES = 3  # that the first step can bear: with none borne, one stray label would end the walk (simulated in benchmarks/simulate_cascade.py)
FIRST, STEP = 0.15, 1.05  # the first step keeps at least this share of the rows; each next one so many times as many
ROOM = 3  # the first step bears fewer mistakes where it would keep more than one row in so many


@dataclass(frozen=True)
class Step:
    """One threshold: the rows above it, how many of them are wrong, the upper bound of the share, and whether the bound is low enough."""

    threshold: float
    kept: int
    wrong: int
    bound: float
    certified: bool


@dataclass(frozen=True)
class Walk:
    """The thresholds that were tried, in order; ``chosen`` is the last that was certified before the first that was not, None where none was."""

    steps: tuple[Step, ...]
    chosen: Step | None


def p_value(wrong: int, kept: int, risk: float) -> float:
    """Return the chance of at most ``wrong`` mistakes among ``kept`` answers, were the share exactly ``risk``: the binomial's lower tail."""
    return 1.0 if wrong >= kept else beta_cdf(1 - risk, kept - wrong, wrong + 1)


@lru_cache(maxsize=100_000)
def most_wrong(kept: int, risk: float, alpha: float) -> int:
    """Return how many of ``kept`` answers may be wrong for ``risk`` to be certified; -1 where not even none is enough."""
    if p_value(0, kept, risk) > alpha:
        return -1
    low, high = 0, kept  # certified; not certified
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if p_value(middle, kept, risk) <= alpha else (low, middle)
    return low


def rows_for(mistakes: int, risk: float, alpha: float) -> int:
    """Return the fewest answers of which ``mistakes`` may be wrong: with none, log(alpha) / log(1 - risk)."""
    low, high = mistakes, mistakes + 1
    while most_wrong(high, risk, alpha) < mistakes:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if most_wrong(middle, risk, alpha) >= mistakes else (middle, high)
    return high


@lru_cache(maxsize=64)
def counts(n: int, risk: float, alpha: float) -> tuple[int, ...]:
    """Return how many of ``n`` rows the steps keep, rising; none where ``n`` rows can't certify anything.

    At each the next mistake becomes bearable: a row more than that only makes it harder. The last keeps all.
    """
    if most_wrong(n, risk, alpha) < 0:
        return ()
    first = max((m for m in range(MISTAKES + 1) if m == 0 or ROOM * rows_for(m, risk, alpha) <= n), default=0)
    found: list[int] = []
    wanted = max(rows_for(first, risk, alpha), math.ceil(FIRST * n))
    while wanted < n:
        rows = rows_for(most_wrong(wanted, risk, alpha), risk, alpha)
        rows = rows if rows >= wanted else rows_for(most_wrong(wanted, risk, alpha) + 1, risk, alpha)
        found += [rows] if rows < n else []
        wanted = math.ceil(STEP * rows)
    return (*found, n)


def walk(confidence: np.ndarray, wrong: np.ndarray, *, risk: float, alpha: float, groups: np.ndarray | None = None) -> Walk:
    """Return the walk over these rows, each ``confidence`` in [0, 1]. *Shapes:* (n,), (n,) bool, (n,) integers or None.

    An answer is kept where its confidence is above the threshold, never at it. Where rows come in groups, the bound is the wider of the
    cluster-robust one and the exact one on the rows' worth, and the walk begins where enough groups are kept for either to say anything.
    """
    order = np.argsort(-confidence, kind="stable")
    sure, mistakes = confidence[order], np.concatenate([[0], np.cumsum(wrong[order])])
    clusters = None if groups is None else groups[order]
    judge = _judge(wrong[order], mistakes, clusters, risk, alpha)
    steps: list[Step] = []
    chosen = None
    for kept in _distinct(sure, _places(clusters, len(sure), risk, alpha)):
        threshold = float(sure[kept]) if kept < len(sure) else 0.0
        step = Step(threshold, kept, int(mistakes[kept]), *judge(kept))
        steps.append(step)
        if not step.certified:
            break
        chosen = step
    return Walk(tuple(steps), chosen)


def _places(groups: np.ndarray | None, n: int, risk: float, alpha: float) -> tuple[int, ...]:
    """Return how many rows the steps keep: :func:`counts`, of rows in groups from where they are worth as many as the first step needs, were
    each group right or wrong as one, and ``MIN_GROUPS`` of them are there. Nothing of this looks at the answers."""
    places = counts(n, risk, alpha)
    if groups is None or not places:
        return places
    whole = group_size(np.unique(groups, return_inverse=True)[1])
    worth = counts(int(n / whole), risk, alpha)
    if not worth:
        return ()
    least = worth[0] * whole
    return tuple(kept for kept in places if kept >= least and len(np.unique(groups[:kept])) >= MIN_GROUPS)


def _distinct(sure: np.ndarray, wanted: tuple[int, ...]) -> list[int]:
    """Return how many rows are kept at least as many are as ``wanted``: rows of one confidence are kept together."""
    rising = -sure
    return sorted({int(np.searchsorted(rising, rising[rows - 1], side="right")) for rows in wanted})


def _judge(wrong: np.ndarray, mistakes: np.ndarray, groups: np.ndarray | None, risk: float, alpha: float) -> Callable[[int], tuple[float, bool]]:
    """Return what tells, of the surest rows so many, the upper bound of the share that is wrong, and whether it is certified."""

    def exact(kept: int) -> tuple[float, bool]:
        hits = int(mistakes[kept])
        return clopper_pearson(hits, kept, alpha)[1], hits <= most_wrong(kept, risk, alpha)

    def clustered(kept: int) -> tuple[float, bool]:
        assert groups is not None
        inside = np.unique(groups[:kept], return_inverse=True)[1]
        alone, certified = exact(kept)
        together = grouped_share(wrong[:kept], inside, alpha)[1]
        return max(alone, together), certified and together <= risk

    return exact if groups is None else clustered
