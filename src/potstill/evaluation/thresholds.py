"""From which log-odds on a label is told: chosen on validation rows, where few speak for a label towards one threshold for all.

For F1 the best threshold lies under 1/2 (Lipton et al. 2014, arXiv:1402.1892: at half the best F1, were probabilities what they
say). Chosen label by label on few positives it is mostly noise: hence the shared one, and the pull towards it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .decisions import KINDS, answered
from .metrics import ratio

LEAST = 5  # positives under which a label has no threshold of its own
PULL = 20.0  # positives at which a label's own threshold and the shared one weigh the same; figures in docs/log.md
PASSES = 2  # over the labels: the second one changes little
MARGIN = 1e-3  # in log-odds: how far a cut lies beyond the outermost score

# A label's counts at a cut: right (told and gold), told, gold. Each aim maps them, *Shape:* (..., labels) each, to what is to be high.
Counts = tuple[np.ndarray, np.ndarray, np.ndarray]


def _micro(right: np.ndarray, told: np.ndarray, gold: np.ndarray) -> np.ndarray:
    return ratio(2 * right.sum(axis=-1), (told + gold).sum(axis=-1))


def _macro(right: np.ndarray, told: np.ndarray, gold: np.ndarray) -> np.ndarray:
    return np.asarray(ratio(2 * right, told + gold).mean(axis=-1))


def _few_mistakes(right: np.ndarray, told: np.ndarray, gold: np.ndarray) -> np.ndarray:
    return -np.asarray((told + gold - 2 * right).sum(axis=-1))


# Exact matches are no sum over labels: the fewest mistakes in each label are what comes nearest.
AIMS: Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "micro_f1": _micro, "macro_f1": _macro, "hamming_loss": _few_mistakes, "subset_accuracy": _few_mistakes,
}  # fmt: skip


@dataclass(frozen=True)
class Thresholds:
    """``values`` *Shape:* (labels,) float32 in log-odds; ``shared``: the one that all labels lean on; ``alone``: the places of the labels
    that have no other, for they have fewer than ``LEAST`` positives."""

    values: np.ndarray
    shared: float
    alone: tuple[int, ...]


def choose(gold: np.ndarray, scores: np.ndarray, metric: str) -> Thresholds:
    """Return the thresholds that make ``metric`` best on these rows, each pulled towards the shared one by how few its positives are.

    *Shapes:* gold (n, labels) of 0 and 1, -1 where there is none; scores (n, labels) log-odds. All 0 where no row can be judged.
    """
    known = KINDS["labels"].labeled(gold) & answered(scores)
    true, logodds = gold[known] > 0, scores[known].astype(np.float64)
    if not true.any():
        return Thresholds(np.zeros(gold.shape[1], np.float32), 0.0, tuple(range(gold.shape[1])))
    shared = _shared(true, logodds, AIMS[metric])
    own = _own(true, logodds, AIMS[metric], shared)
    positives = true.sum(axis=0)
    weight = np.where(positives < LEAST, 0.0, positives / (positives + PULL))
    values = (weight * own + (1 - weight) * shared).astype(np.float32)
    return Thresholds(values, float(np.float32(shared)), tuple(np.flatnonzero(positives < LEAST).tolist()))


def _shared(true: np.ndarray, logodds: np.ndarray, aim: Callable[..., np.ndarray], most: int = 200) -> float:
    """Return the best of up to ``most`` cuts through all labels' scores; of equals the one nearest to p = 1/2."""
    cuts = np.unique(np.quantile(logodds, np.linspace(0, 1, most)))
    cuts = np.unique(np.concatenate([cuts, [0.0, cuts[-1] + MARGIN]]))
    counts = [_count(true, logodds >= cut) for cut in cuts]
    values = aim(*(np.stack(part) for part in zip(*counts)))
    return _nearest(cuts, values)


def _own(true: np.ndarray, logodds: np.ndarray, aim: Callable[..., np.ndarray], shared: float) -> np.ndarray:
    """Return each label's best cut, the others held where they are: coordinate ascent from the shared one."""
    cuts = np.full(true.shape[1], shared)
    right, told, gold = (part.astype(np.float64) for part in _count(true, logodds >= shared))
    tables = [_table(true[:, label], logodds[:, label]) for label in range(true.shape[1])]
    for _ in range(PASSES):
        for label, (places, hits, said) in enumerate(tables):
            tried_right, tried_told = np.tile(right, (len(places), 1)), np.tile(told, (len(places), 1))
            tried_right[:, label], tried_told[:, label] = hits, said
            best = _nearest(places, aim(tried_right, tried_told, np.broadcast_to(gold, tried_right.shape)), near=shared)
            at = int(np.flatnonzero(places == best)[0])
            cuts[label], right[label], told[label] = best, hits[at], said[at]
    return cuts


def _count(true: np.ndarray, told: np.ndarray) -> Counts:
    return (true & told).sum(axis=0), told.sum(axis=0), true.sum(axis=0)


def _table(true: np.ndarray, logodds: np.ndarray, most: int = 400) -> Counts:
    """Return a label's cuts, halfway between neighboring scores, with how many are right and told at each."""
    order = np.argsort(-logodds, kind="stable")
    falling, hits = logodds[order], np.concatenate([[0], np.cumsum(true[order])])
    ends = np.flatnonzero(np.diff(falling, append=-np.inf) < 0) + 1  # told so many: a cut can't part equal scores
    inner = ends[:-1]
    places = np.concatenate([[falling[0] + MARGIN], (falling[inner - 1] + falling[inner]) / 2, [falling[-1] - MARGIN]])
    told = np.concatenate([[0], ends])
    if len(places) > most:  # cuts among the many rows that nobody would tell are all alike
        kept = np.unique(np.concatenate([np.arange(most // 2), np.linspace(0, len(places) - 1, most // 2).astype(int)]))
        places, told = places[kept], told[kept]
    return places, hits[told], told


def _nearest(cuts: np.ndarray, values: np.ndarray, near: float = 0.0) -> float:
    """Return the cut of the highest value; of equals the one nearest to ``near``."""
    best = np.flatnonzero(values >= values.max() - 1e-12)
    return float(cuts[best[np.argmin(np.abs(cuts[best] - near))]])
