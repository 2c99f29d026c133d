"""Metrics as per-row sufficient statistics and a way to combine their sum. Rows without gold are left out by the caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

FLOOR = float(np.log(1e-15))  # of a log-probability


def _one_hot(places: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[places]


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Return top / bottom, 0 where there is nothing to divide by."""
    return np.asarray(np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), 0.0))


@final
@dataclass(frozen=True)
class Accuracy:
    """The share of rows that are right."""

    classes: int
    name: str = "accuracy"
    higher_is_better: bool = True
    proportion: bool = True
    decisions: bool = True
    span: float = 1.0

    def statistics(self, gold: np.ndarray, logprobs: np.ndarray) -> np.ndarray:
        """*Shapes:* (n,), (n, classes) -> (n, 2): right, one."""
        return np.stack([logprobs.argmax(axis=1) == gold, np.ones(len(gold))], axis=1).astype(np.float64)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        return ratio(sums[..., 0], sums[..., 1])


@final
@dataclass(frozen=True)
class MacroF1:
    """The mean of F1 over the classes that gold or the answers hold, as scikit-learn's ``f1_score(average="macro")`` has it."""

    classes: int
    name: str = "macro_f1"
    higher_is_better: bool = True
    proportion: bool = False
    decisions: bool = True
    span: float = 1.0

    def statistics(self, gold: np.ndarray, logprobs: np.ndarray) -> np.ndarray:
        """*Shapes:* (n,), (n, classes) -> (n, 3 * classes): right, told, gold, each a count by class."""
        told, true = _one_hot(logprobs.argmax(axis=1), self.classes), _one_hot(gold, self.classes)
        return np.concatenate([told * true, told, true], axis=1)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        right, told, true = np.split(sums, 3, axis=-1)
        return ratio(ratio(2 * right, told + true).sum(axis=-1), (told + true > 0).sum(axis=-1))


@final
@dataclass(frozen=True)
class MCC:
    """Matthews' correlation for any number of classes (Gorodkin 2004); 0 where either side has one class alone."""

    classes: int
    name: str = "mcc"
    higher_is_better: bool = True
    proportion: bool = False
    decisions: bool = True
    span: float = 2.0

    def statistics(self, gold: np.ndarray, logprobs: np.ndarray) -> np.ndarray:
        """*Shapes:* (n,), (n, classes) -> (n, 1 + 2 * classes): right, then told and gold by class."""
        decided = logprobs.argmax(axis=1)
        return np.concatenate([(decided == gold)[:, None], _one_hot(decided, self.classes), _one_hot(gold, self.classes)], axis=1)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        right, told, true = sums[..., 0], sums[..., 1 : 1 + self.classes], sums[..., 1 + self.classes :]
        n = true.sum(axis=-1)
        top = right * n - (told * true).sum(axis=-1)
        bottom = np.sqrt(np.maximum(n**2 - (told**2).sum(axis=-1), 0) * np.maximum(n**2 - (true**2).sum(axis=-1), 0))
        return ratio(top, bottom)


@final
@dataclass(frozen=True)
class LogLoss:
    """The mean of -log p(gold); a probability counts at least ``FLOOR``, so that one sure mistake is dear, not infinite."""

    classes: int
    name: str = "log_loss"
    higher_is_better: bool = False
    proportion: bool = False
    decisions: bool = False
    span: float = -FLOOR

    def statistics(self, gold: np.ndarray, logprobs: np.ndarray) -> np.ndarray:
        """*Shapes:* (n,), (n, classes) -> (n, 2): loss, one."""
        loss = -np.maximum(logprobs[np.arange(len(gold)), gold].astype(np.float64), FLOOR)
        return np.stack([loss, np.ones(len(gold))], axis=1)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        return ratio(sums[..., 0], sums[..., 1])
