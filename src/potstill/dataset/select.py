"""Which rows of the pool to ask about next: those where the student is least sure, or those near to where it is known to err.

Pure functions of arrays; ties go to the row that stands first.
"""

from __future__ import annotations

import numpy as np

BLOCK = 4096  # rows of the pool whose distances are held at a time


def least_sure(logprobs: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the ``count`` rows with the least margin between the two likeliest answers (Scheffer et al. 2001), rising.

    *Shape:* (rows, classes) -> (count,), fewer where there are no more rows.
    """
    top = np.partition(logprobs, -2, axis=1)[:, -2:]
    return np.argsort(top[:, 1] - top[:, 0], kind="stable")[:count]


def least_sure_of_a_label(logodds: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the ``count`` rows that have the label nearest to its threshold, rising.

    *Shape:* (rows, labels), the thresholds taken off -> (count,).
    """
    return np.argsort(np.abs(logodds).min(axis=1), kind="stable")[:count]


def near(vectors: np.ndarray, around: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the ``count`` rows that lie nearest, by cosine, to the rows ``around``, each of which has its say in turn.

    *Shapes:* (rows, width), (seeds, width) -> (count,). First every seed's nearest row, the closest pair before the others, then every
    seed's next: the nearest of all pairs would crowd round a few seeds that many rows resemble.
    """
    count = min(count, len(vectors))
    if not count or not len(around):
        return np.empty(0, np.int64)
    depth = min(len(vectors), -(-2 * count // len(around)) + 8)
    places, closeness = _nearest(_unit(vectors), _unit(around), depth)
    chosen: dict[int, None] = {}  # in the order of choice
    for rank in range(depth):
        for seed in np.argsort(-closeness[:, rank], kind="stable"):
            chosen.setdefault(int(places[seed, rank]))
            if len(chosen) == count:
                return np.array(list(chosen), np.int64)
    # Seeds that share their neighbors have too few between them: the rest by their closeness to any seed.
    closest = _closest(_unit(vectors), _unit(around))
    for place in np.argsort(-closest, kind="stable"):
        chosen.setdefault(int(place))
        if len(chosen) == count:
            break
    return np.array(list(chosen), np.int64)


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float32)
    length: np.ndarray = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(length > 0, length, 1)


def _nearest(rows: np.ndarray, seeds: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each seed's ``depth`` nearest rows and their closeness, *Shapes:* (seeds, depth), nearest first."""
    places = np.empty((len(seeds), 0), np.int64)
    closeness = np.empty((len(seeds), 0), np.float32)
    for start in range(0, len(rows), BLOCK):
        block = seeds @ rows[start : start + BLOCK].T
        places = np.concatenate([places, np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)], axis=1)
        closeness = np.concatenate([closeness, block], axis=1)
        order = np.argsort(-closeness, axis=1, kind="stable")[:, :depth]
        places, closeness = np.take_along_axis(places, order, 1), np.take_along_axis(closeness, order, 1)
    return places, closeness


def _closest(rows: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Return each row's closeness to the seed nearest to it *Shape:* (rows,)."""
    return np.concatenate([(rows[start : start + BLOCK] @ seeds.T).max(axis=1) for start in range(0, len(rows), BLOCK)])
