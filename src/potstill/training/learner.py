"""A student and its terms as one module: a batch in, the terms' sums out; and a student's answers to many rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..objectives.build import Term
from ..records import HeadKind, Want
from ..students.attention import watched
from ..students.protocol import Attention, LoopStudent
from .records import LoopSpec, TrainingRows


@dataclass(frozen=True)
class Part:
    """Rows of one step as tensors: the model's inputs, the teacher's answers, each laid end to end in row order, and gold."""

    inputs: dict[str, Tensor]
    answers: dict[Want, Tensor]
    gold: Tensor

    def to(self, device: torch.device) -> Part:
        return Part(
            {name: value.to(device) for name, value in self.inputs.items()},
            {want: value.to(device) for want, value in self.answers.items()},
            self.gold.to(device),
        )


class Learner(nn.Module):
    """All that is trained: the student's module, and what its terms learn beside it.

    The loop calls this module alone, so a wrapper that synchronizes gradients sees every forward pass (TRAPS.md 37).
    """

    def __init__(self, student: LoopStudent, terms: Sequence[Term], precision: str) -> None:
        super().__init__()
        self.module = student.module
        self.beside = nn.ModuleList(term.module for term in terms)
        self.terms = tuple(terms)
        self.hidden = any(term.hidden for term in terms)
        self.attends = sorted({layer for term in terms for layer in term.attends})
        self.low = precision == "bf16"
        self._student = (student,)  # in a tuple: no second way to its parameters, if it is a module itself

    def forward(self, part: Part) -> Tensor:
        """Return each term's sum over the part's units *Shape:* (terms,)."""
        with watched(self.module, self.attends) as seen, torch.autocast(part.gold.device.type, torch.bfloat16, enabled=self.low):
            output = self._student[0].forward(part.inputs, hidden=self.hidden)
        if self.attends:
            output = replace(output, attention=Attention(seen, part.inputs["attention_mask"].bool()))
        return torch.stack([term(output, part.answers, part.gold)[0] for term in self.terms])

    def counts(self, part: Part) -> Tensor:
        """Return each term's units in the part *Shape:* (terms,) float64: from the data alone, before any forward pass."""
        return torch.stack([term.count(part.answers, part.gold) for term in self.terms]).double()


def gather(student: LoopStudent, rows: TrainingRows, batch: Sequence[int] | np.ndarray, wants: frozenset[Want], spec: LoopSpec | None = None) -> Part:
    """Return the rows ``batch`` as tensors, with the answers that are wanted and no others."""
    inputs = student.preprocess.collate([rows.items[i] for i in batch])
    return Part(
        {name: torch.from_numpy(array) for name, array in inputs.items()},
        {want: torch.from_numpy(np.concatenate([rows.teacher[want][i] for i in batch])) for want in wants},
        torch.from_numpy(np.asarray(rows.gold)[np.asarray(batch)]),
    )


def check(student: LoopStudent, rows: TrainingRows, terms: Sequence[Term], spec: LoopSpec | None = None) -> None:
    """Raise :class:`UserError` where the rows lack what a term needs: at the start, not after an hour."""
    if spec is not None and spec.pack:
        raise UserError("rows with one answer each can't be packed", place="training.pack", remedy="leave it out: it is for students that write")
    for term in terms:
        if term.gold and not (np.asarray(rows.gold) >= 0).any():
            raise UserError(f"'{term.name}' learns from gold labels, and no row has one", place="objectives", remedy="leave it out")
        for want in sorted(term.needs, key=lambda want: want.key):
            if want not in rows.teacher:
                raise UserError(f"'{term.name}' needs the teacher's {want.key}, which was not asked for", remedy="label with it first")
            if want.kind in ("hidden", "qkv"):
                _same_tokens(student, rows, want, term.name)
            if term.finite:
                _no_zeros(rows.teacher[want], term.name)


def _same_tokens(student: LoopStudent, rows: TrainingRows, want: Want, name: str) -> None:
    for row, (item, array) in enumerate(zip(rows.items, rows.teacher[want])):
        own = student.preprocess.length(item)
        if len(array) != own:
            raise UserError(
                f"row {row}: the teacher's {want.key} has {len(array)} tokens, the student reads {own}", place=f"objectives {name}",
                remedy="inner states can be compared token by token only: give both the same tokenizer and the same max_length",
            )  # fmt: skip


def _no_zeros(arrays: Sequence[np.ndarray], name: str) -> None:
    for row, array in enumerate(arrays):
        if not np.isfinite(array).all():
            raise UserError(
                f"row {row}: the teacher gives a class the probability 0, whose logit is infinite", place=f"objectives {name}",
                remedy="use {kind: logits, loss: kl}, which can learn from such answers",
            )  # fmt: skip


# From logits to scores: a label's logit is its log-odds.
SCORES: Mapping[HeadKind, Callable[[Tensor], Tensor]] = {"classes": lambda logits: logits.log_softmax(dim=-1), "labels": lambda logits: logits}


def predict(student: LoopStudent, items: Sequence[Mapping[str, np.ndarray]], *, batch_size: int = 64) -> np.ndarray:
    """Return the student's log-probabilities, of labels log-odds *Shape:* (rows, classes) float32, in eval mode, its former mode put back."""
    was_training = student.module.training
    student.module.eval()
    order = np.argsort([student.preprocess.length(item) for item in items], kind="stable")
    device = next(student.module.parameters()).device
    out = np.empty((len(items), student.head.width), np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            arrays = student.preprocess.collate([items[i] for i in batch])
            logits = student.forward({name: torch.from_numpy(array).to(device) for name, array in arrays.items()}).logits
            out[batch] = SCORES[student.head.kind](logits.float()).cpu().numpy()
    student.module.train(was_training)
    return out
