"""General distillation: what a student needs that learns from plain text, where there is nothing to be right or wrong about.

Jiao et al. 2020, TinyBERT, arXiv:1909.10351, section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from .. import rng
from ..evaluation.statistics import Score
from ..objectives.build import Term
from ..records import Example
from ..students.protocol import LoopStudent
from . import precision
from .learner import Learner, gather
from .records import TrainingRows

HELD_SHARE, HELD_MOST = 20, 500  # one text in 20 is held out, and no more than 500: what is kept is chosen by it


def held_out(rows: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Return the rows to learn from, and those that choose the weights, by the hash of their content; one row does both."""
    order = sorted(rows, key=lambda row: rng.integer(0, "general", row.id))
    count = min(max(1, len(order) // HELD_SHARE), HELD_MOST)
    held = {row.id for row in order[:count]}
    learnt = [row for row in rows if row.id not in held]
    return learnt or list(rows), [row for row in rows if row.id in held]


def judge(rows: TrainingRows, terms: Sequence[Term], arithmetic: str, *, batch_size: int = 64) -> Callable[[LoopStudent], Score]:
    """Return the function that gives a student's loss on ``rows``, turned over, on the scale of the training loss.

    Its error is 0: a mean over thousands of tokens, whose differences between two looks are not noise.
    """
    wants = frozenset(want for term in terms for want in term.needs)

    def score(student: LoopStudent) -> Score:
        learner = Learner(student, terms, precision.resolve(arithmetic).name).eval()
        device = next(student.module.parameters()).device
        order = np.argsort([student.preprocess.length(item) for item in rows.items], kind="stable")
        sums = torch.zeros(len(terms), dtype=torch.float64)
        counts = torch.zeros_like(sums)
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                part = gather(student, rows, order[start : start + batch_size], wants).to(device)
                sums += learner(part).double().cpu()
                counts += learner.counts(part).cpu()
        weights = torch.tensor([term.weight for term in terms], dtype=torch.float64)
        return Score(-float((weights * sums / counts.clamp(min=1)).sum()))

    return score
