"""Metrics of any number of labels a row, as scikit-learn has them with ``zero_division=0``; see :mod:`.metrics`.

*Shapes:* gold (n, labels) of 0 and 1; scores (n, labels) log-odds, their thresholds taken off: 0 or more is told. Labels are counted by
name, so a label that neither gold nor the answers hold has the F1 0 and counts in the macro mean: that is scikit-learn's choice too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from .metrics import ratio


@final
@dataclass(frozen=True)
class MicroF1:
    """F1 over all decisions, label by label, of all rows: 2 right / (told + gold); 0 where nothing was told nor is gold."""

    labels: int
    name: str = "micro_f1"
    higher_is_better: bool = True
    proportion: bool = False
    decisions: bool = True
    span: float = 1.0

    def statistics(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """-> (n, 2): right, told and gold."""
        told, true = scores >= 0, gold > 0
        return np.stack([(told & true).sum(axis=1), told.sum(axis=1) + true.sum(axis=1)], axis=1).astype(np.float64)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        return ratio(2 * sums[..., 0], sums[..., 1])


@final
@dataclass(frozen=True)
class LabelMacroF1:
    """The mean over all labels of each label's F1."""

    labels: int
    name: str = "macro_f1"
    higher_is_better: bool = True
    proportion: bool = False
    decisions: bool = True
    span: float = 1.0

    def statistics(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """-> (n, 2 * labels): right, then told and gold, each a count by label."""
        told, true = scores >= 0, gold > 0
        return np.concatenate([told & true, told.astype(int) + true], axis=1).astype(np.float64)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        right, both = np.split(sums, 2, axis=-1)
        return np.asarray(ratio(2 * right, both).mean(axis=-1))


@final
@dataclass(frozen=True)
class SubsetAccuracy:
    """The share of rows that are right in every label: the exact match."""

    labels: int
    name: str = "subset_accuracy"
    higher_is_better: bool = True
    proportion: bool = True
    decisions: bool = True
    span: float = 1.0

    def statistics(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """-> (n, 2): right, one."""
        return np.stack([((scores >= 0) == (gold > 0)).all(axis=1), np.ones(len(gold))], axis=1).astype(np.float64)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        return ratio(sums[..., 0], sums[..., 1])


@final
@dataclass(frozen=True)
class HammingLoss:
    """The share of decisions, label by label, that are wrong."""

    labels: int
    name: str = "hamming_loss"
    higher_is_better: bool = False
    proportion: bool = False
    decisions: bool = True
    span: float = 1.0

    def statistics(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """-> (n, 2): the share of its labels that are wrong, one."""
        return np.stack([((scores >= 0) != (gold > 0)).mean(axis=1), np.ones(len(gold))], axis=1)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        return ratio(sums[..., 0], sums[..., 1])
