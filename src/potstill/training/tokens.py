"""How a student that writes learns: what the loop takes of it in the place of :mod:`.learner`, position by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..objectives.build import Term
from ..objectives.tokens import column
from ..objectives.tokens.positions import next_tokens
from ..objectives.tokens.targets import Target
from ..objectives.tokens.term import Spoken
from ..records import Want
from ..serving.turns import IGNORED, NEXT, learnt
from ..students.protocol import TokenStudent
from . import packing
from .records import LoopSpec, TrainingRows


@dataclass(frozen=True)
class Part:
    """Rows of one step as tensors. ``places`` (positions,) of the model's states, its lines laid end to end, foretell ``tokens`` (positions,): those
    of the rows, end to end in their order. ``told`` is what the teacher said there; None where nothing is asked of it."""

    inputs: dict[str, Tensor]
    places: Tensor
    tokens: Tensor
    told: Target | None

    def to(self, device: torch.device) -> Part:
        inputs = {name: value.to(device) for name, value in self.inputs.items()}
        return Part(inputs, self.places.to(device), self.tokens.to(device), None if self.told is None else column.moved(self.told, device))


class Learner(nn.Module):
    """All that is trained: the student's module. Its head is met by the terms inside this module's forward pass, as all else (TRAPS.md 37)."""

    def __init__(self, student: TokenStudent, terms: Sequence[Term], precision: str) -> None:
        super().__init__()
        self.module = student.module
        self.beside = nn.ModuleList(term.module for term in terms)
        self.terms = tuple(terms)
        self.low = precision == "bf16"
        self._student = (student,)  # in a tuple: no second way to its parameters, if it is a module itself

    def forward(self, part: Part) -> Tensor:
        """Return each term's sum over the part's positions *Shape:* (terms,); its logits never stand in memory as a whole."""
        with torch.autocast(part.tokens.device.type, torch.bfloat16, enabled=self.low):
            states = self._student[0].states(part.inputs)
        spoken = Spoken(states.flatten(0, 1)[part.places], self._student[0].token_head())
        return torch.stack([term(spoken, part.told, part.tokens)[0] for term in self.terms])

    def counts(self, part: Part) -> Tensor:
        """Return each term's positions in the part *Shape:* (terms,) float64: from the data alone, before any forward pass."""
        return torch.stack([term.count(part.told, part.tokens) for term in self.terms]).double()


def gather(student: TokenStudent, rows: TrainingRows, batch: Sequence[int] | np.ndarray, wants: frozenset[Want], spec: LoopSpec) -> Part:
    """Return the rows ``batch`` as tensors, side by side where ``spec`` says so, with the teacher's answers where any is wanted.

    Raises :class:`UserError` where those are not as many as the rows' learnt positions.
    """
    items = [rows.items[row] for row in batch]
    inputs, places, tokens = (packed if spec.pack else apart)(student.preprocess, items)
    if not wants or rows.column is None:
        return Part(inputs, places, tokens, None)
    told = rows.column.gather([int(row) for row in batch])
    if told.rows != len(tokens):
        words = f"the teacher's answers to rows {', '.join(str(row) for row in batch[:8])} are {told.rows} positions, {len(tokens)} are learnt"
        raise UserError(words, place="objectives tokens", remedy="teacher and student must read rows alike: one tokenizer, template and max_length")
    return Part(inputs, places, tokens, told)


def apart(preprocess: Any, items: Sequence[Any]) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return a model's inputs, a window a line; the places in them that foretell; and the tokens that they foretell."""
    arrays = {name: torch.from_numpy(array) for name, array in preprocess.collate(items).items()}
    ahead = arrays.pop(NEXT).flatten()
    places = torch.nonzero(ahead != IGNORED).squeeze(1)
    return arrays, places, ahead[places]


def packed(preprocess: Any, items: Sequence[Any]) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return the same of windows side by side, none of which sees another; places and tokens in the order of ``items`` all the same."""
    lines = [line for item in items for line in _windows(item)]
    sizes = [len(ids) for ids, _ in lines]
    made = packing.packed(lines, packing.plan(sizes, max(preprocess.max_length, *sizes)).packs, pad=preprocess.pad)
    ahead = next_tokens(made.labels).flatten()
    places = torch.nonzero(ahead != IGNORED).squeeze(1)
    places = places[torch.argsort(made.rows.flatten()[places], stable=True)]
    seen = made.mask == 0  # as bool: torch takes a mask of another float than the states' for something else, and says nothing
    return {"input_ids": made.ids, "attention_mask": seen, "position_ids": made.positions}, places, ahead[places]


def _windows(item: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    numbers = range(int(item["window"].max(initial=-1)) + 1)
    return [(item["input_ids"][item["window"] == n], item["learnt"][item["window"] == n]) for n in numbers]


def check(student: TokenStudent, rows: TrainingRows, terms: Sequence[Term], spec: LoopSpec) -> None:
    """Raise :class:`UserError` where the rows lack what a term needs: at the start, not after an hour."""
    taught = next((row for row, item in enumerate(rows.items) if learnt(item)), None)
    if taught is None:
        raise UserError("no row has a token that is to be learnt", place="data.train", remedy="give answers: a last turn of the assistant's, or a completion")
    for term in terms:
        if term.needs and rows.column is None:
            raise UserError(f"'{term.name}' needs what the teacher says of tokens, which was not asked for", remedy="label with it first")
    gather(student, rows, [taught], frozenset(want for term in terms for want in term.needs), spec)
