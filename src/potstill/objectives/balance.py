"""What rows weigh by their gold: rare classes more, where the recipe says so; the mean weight stays 1, so the loss keeps its scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import UserError
from ..lookup import did_you_mean

Given = str | Mapping[str, float]


def weights(given: Given, gold: np.ndarray, labels: Sequence[str]) -> np.ndarray | None:
    """Return the weights of classes *Shape:* (classes,), or of each label's no and yes (2, labels); None for "none".

    *Shapes:* ``gold`` (n,) or (n, labels), of the rows that are learnt from, -1 where there is none. "balanced" is scikit-learn's:
    n / (classes * rows of the class), for a label n / (2 * rows with, or without, it). {label: weight} names those that don't weigh 1.
    Either is scaled so that the rows' mean weight, in each label, is 1. A class without a row weighs 1. Raises :class:`UserError` for a
    label that there is not.
    """
    if given == "none":
        return None
    counts = _counts(gold, len(labels))  # (kinds, labels): of classes one kind, of labels no and yes
    raw = _balanced(counts) if isinstance(given, str) else _named(given, labels, counts)
    axis = None if len(counts) == 1 else 0  # classes share one mean, labels have one each
    rows, mass = counts.sum(axis=axis, keepdims=True), (raw * counts).sum(axis=axis, keepdims=True)
    scaled = raw * np.where(mass > 0, rows / np.where(mass > 0, mass, 1.0), 1.0)
    found: np.ndarray = np.where(counts > 0, scaled, 1.0).astype(np.float32)
    return found[0] if len(counts) == 1 else found


def _counts(gold: np.ndarray, width: int) -> np.ndarray:
    if gold.ndim == 1:
        return np.bincount(gold[gold >= 0], minlength=width)[None].astype(np.float64)
    known = gold[(gold >= 0).all(axis=1)]
    yes = (known > 0).sum(axis=0)
    return np.stack([len(known) - yes, yes]).astype(np.float64)


def _balanced(counts: np.ndarray) -> np.ndarray:
    return np.where(counts > 0, 1.0 / np.maximum(counts, 1.0), 1.0)


def _named(given: Mapping[str, float], labels: Sequence[str], counts: np.ndarray) -> np.ndarray:
    for label in given:
        if label not in labels:
            raise UserError(f"there is no label '{label}'", place="objectives hard.class_weights", remedy=did_you_mean(label, labels))
    raw = np.ones_like(counts)
    raw[-1] = [given.get(label, 1.0) for label in labels]
    return raw
