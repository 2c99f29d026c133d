"""Is the exported model the trained one? Asked of real inputs and of odd ones: empty, longest, not Latin."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..records import Field, HeadKind
from ..serving.predictor import Predictor
from ..students.protocol import AnyStudent, LoopStudent
from .to_onnx import evaluating

ODD = ("", " ", "ß", "Ελληνικά κείμενο", "中文文本，没有空格", "نص عربي", "👩‍👩‍👧 emoji", "word " * 600)


@dataclass(frozen=True)
class Parity:
    """How far the exported model is from the trained one in ``n`` rows.

    ``max_abs_diff``: of logits, infinite where one is no number; ``label_flips``: rows whose decision differs (of labels, at p = 1/2);
    ``neighbor_diff``: how far a row's logits depend on the rows that it is batched with; ``scale``: of the greatest logit, 1 at least: what
    digits are lost to float32 grows with it.
    """

    max_abs_diff: float
    label_flips: int
    n: int
    neighbor_diff: float
    scale: float = 1.0

    def as_json(self) -> dict[str, Any]:
        """Return the numbers as JSON has them: null for the infinite."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


def probes(rows: Sequence[Mapping[str, Field]], fields: Sequence[str]) -> list[Mapping[str, Field]]:
    """Return ``rows`` and the odd inputs, each odd one in every field."""
    return [*rows, *({name: text for name in fields} for text in ODD)]


def parity(student: AnyStudent, predictor: Predictor, rows: Sequence[Mapping[str, Field]]) -> Parity:
    """Compare the trained student, one row at a time, with the exported one, both alone and all in one batch: padding must change nothing."""
    trained = student.scores(student.preprocess.encode(rows)) if student.learns == "fit" else _trained(student, rows)
    alone, together = predictor.logits(rows, batch_size=1), predictor.logits(rows, batch_size=len(rows))
    differ = DIFFER[student.head.kind]
    flips = differ(trained, alone) | differ(trained, together)
    diff = max(_furthest(trained, alone), _furthest(trained, together))
    return Parity(diff, int(flips.sum()), len(rows), _furthest(alone, together), _scale(trained))


DIFFER: Mapping[HeadKind, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "classes": lambda left, right: left.argmax(1) != right.argmax(1),
    "labels": lambda left, right: ((left >= 0) != (right >= 0)).any(1),
}


def _scale(logits: np.ndarray) -> float:
    """Return the greatest logit's size, 1 at least; 1 where one is no number: nothing may be forgiven there."""
    greatest = float(np.abs(logits).max())
    return max(1.0, round(greatest, 3)) if math.isfinite(greatest) else 1.0


def _furthest(left: np.ndarray, right: np.ndarray) -> float:
    """Return the greatest absolute difference; a NaN compares with nothing and would pass any ``>``: it, and infinity less infinity, count as infinite."""
    with np.errstate(invalid="ignore"):
        diff = np.abs(left.astype(np.float64) - right)
    return round(float(np.where(np.isnan(diff), np.inf, diff).max()), 8)


def _trained(student: LoopStudent, rows: Sequence[Mapping[str, Field]]) -> np.ndarray:
    device = next(student.module.parameters()).device
    outputs = []
    with torch.inference_mode(), evaluating(student.module):
        for item in student.preprocess.encode(rows):
            batch = {name: torch.from_numpy(array).to(device) for name, array in student.preprocess.collate([item]).items()}
            outputs.append(student.forward(batch).logits.float().cpu().numpy())
    return np.concatenate(outputs)
