"""Is the exported model the trained one? Asked of real inputs and of odd ones: empty, longest, not Latin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..records import Field
from ..serving.predictor import Predictor
from ..students.protocol import LoopStudent

ODD = ("", " ", "ß", "Ελληνικά κείμενο", "中文文本，没有空格", "نص عربي", "👩‍👩‍👧 emoji", "word " * 600)


@dataclass(frozen=True)
class Parity:
    """``max_abs_diff`` of logits, and in how many of ``n`` rows the decision differs."""

    max_abs_diff: float
    label_flips: int
    n: int

    def as_json(self) -> dict[str, Any]:
        return {"max_abs_diff": self.max_abs_diff, "label_flips": self.label_flips, "n": self.n}


def probes(rows: Sequence[Mapping[str, Field]], fields: Sequence[str]) -> list[Mapping[str, Field]]:
    """Return ``rows`` and the odd inputs, each odd one in every field."""
    return [*rows, *({name: text for name in fields} for text in ODD)]


def parity(student: LoopStudent, predictor: Predictor, rows: Sequence[Mapping[str, Field]]) -> Parity:
    """Compare the trained student with the exported one on ``rows``, in batches of one and of all: padding must change nothing."""
    trained = _trained(student, rows)
    alone, together = predictor.logits(rows, batch_size=1), predictor.logits(rows, batch_size=len(rows))
    diff = max(np.abs(trained - alone).max(), np.abs(trained - together).max())
    flips = (trained.argmax(1) != alone.argmax(1)) | (trained.argmax(1) != together.argmax(1))
    return Parity(round(float(diff), 8), int(flips.sum()), len(rows))


def _trained(student: LoopStudent, rows: Sequence[Mapping[str, Field]]) -> np.ndarray:
    was_training = student.module.training
    student.module.eval()
    with torch.inference_mode():
        outputs = []
        for item in student.preprocess.encode(rows):
            batch = {name: torch.from_numpy(array) for name, array in student.preprocess.collate([item]).items()}
            outputs.append(student.forward(batch).logits.float().numpy())
    student.module.train(was_training)
    return np.concatenate(outputs)
