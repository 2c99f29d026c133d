"""How a student that writes learns: what the loop takes of it in the place of :mod:`.learner`, position by position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

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

if TYPE_CHECKING:
    from ..serving.preprocess import Item


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


def parts(student: TokenStudent, rows: TrainingRows, batch: Sequence[int] | np.ndarray, wants: frozenset[Want], spec: LoopSpec) -> list[Part]:
    """Return the rows ``batch`` in parts of at most ``spec.micro_tokens`` tokens, padding counted, with the teacher's answers where any is wanted.

    A row may be a long text, of many windows: it can be in several parts. Windows stand side by side where ``spec`` says so. Raises
    :class:`UserError` where answers are not as many as the rows' learnt positions.
    """
    windows = [window for row in batch for window in alone(rows.items[row])]
    counts = [learnt(window) for window in windows]
    told = None if not wants or rows.column is None else rows.column.gather([int(row) for row in batch])
    if told is not None and told.rows != sum(counts):
        words = f"the teacher's answers to rows {', '.join(str(row) for row in batch[:8])} are {told.rows} positions, {sum(counts)} are learnt"
        raise UserError(words, place="objectives tokens", remedy="teacher and student must read rows alike: one tokenizer, template and max_length")
    made = list((packed if spec.pack else apart)(student.preprocess, windows, spec.micro_tokens))
    if told is None or len(made) == 1:
        return [Part(*lines[:3], told) for lines in made]
    begin = np.concatenate([[0], np.cumsum(counts)])
    index = [torch.from_numpy(np.concatenate([np.arange(begin[n], begin[n + 1]) for n in lines.windows])) for lines in made]
    return [Part(*lines[:3], column.taken(told, own)) for lines, own in zip(made, index)]


class Lines(NamedTuple):
    """Some windows as a model takes them: its inputs, the ``places`` that foretell, the ``tokens`` that they foretell, in the order of ``windows``."""

    inputs: dict[str, Tensor]
    places: Tensor
    tokens: Tensor
    windows: Sequence[int]


def alone(item: Item) -> list[Item]:
    """Return an item's windows as items."""
    places = [item["window"] == n for n in range(int(item["window"].max(initial=-1)) + 1)]
    return [{name: array[place] * (name != "window") for name, array in item.items()} for place in places]


def apart(preprocess: Any, windows: Sequence[Item], most: int) -> Iterator[Lines]:
    """Yield windows, a line each, in lots of at most ``most`` tokens, one window at least; one lot without lines where there is no window."""
    for lot in _lots([preprocess.length(window) for window in windows], most) or [[]]:
        arrays = {name: torch.from_numpy(array) for name, array in preprocess.collate([windows[n] for n in lot]).items()}
        ahead = arrays.pop(NEXT).flatten()
        places = torch.nonzero(ahead != IGNORED).squeeze(1)
        yield Lines(arrays, places, ahead[places], lot)


def packed(preprocess: Any, windows: Sequence[Item], most: int) -> Iterator[Lines]:
    """Yield windows side by side, none of which sees another, in lots of at most ``most`` tokens, one pack at least."""
    sizes = [preprocess.length(window) for window in windows]
    size = max(preprocess.max_length, *sizes) if sizes else 1
    packs, each = packing.plan(sizes, size).packs, max(1, most // size)
    for lot in [packs[at : at + each] for at in range(0, len(packs), each)]:
        made = packing.packed([(window["input_ids"], window["learnt"]) for window in windows], lot, pad=preprocess.pad)
        ahead = next_tokens(made.labels).flatten()
        places = torch.nonzero(ahead != IGNORED).squeeze(1)
        places = places[torch.argsort(made.rows.flatten()[places], stable=True)]
        seen = made.mask == 0  # as bool: torch takes a mask of another float than the states' for something else, and says nothing
        inputs = {"input_ids": made.ids, "attention_mask": seen, "position_ids": made.positions}
        yield Lines(inputs, places, ahead[places], sorted(n for pack in lot for n in pack))


def _lots(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Return the numbers of lines, in order, in lots whose longest line times their number is at most ``most``."""
    lots: list[list[int]] = []
    longest = 0
    for n, size in enumerate(sizes):
        longest = max(longest, size)
        if not lots or longest * (len(lots[-1]) + 1) > most:
            lots.append([])
            longest = size
        lots[-1].append(n)
    return lots


def check(student: TokenStudent, rows: TrainingRows, terms: Sequence[Term], spec: LoopSpec) -> None:
    """Raise :class:`UserError` where the rows lack what a term needs: at the start, not after an hour."""
    taught = next((row for row, item in enumerate(rows.items) if learnt(item)), None)
    if taught is None:
        raise UserError("no row has a token that is to be learnt", place="data.train", remedy="give answers: a last turn of the assistant's, or a completion")
    for term in terms:
        if term.needs and rows.column is None:
            raise UserError(f"'{term.name}' needs what the teacher says of tokens, which was not asked for", remedy="label with it first")
    parts(student, rows, [taught], frozenset(want for term in terms for want in term.needs), spec)
