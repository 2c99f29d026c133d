"""What a masked language model would say in the place of a word (Jiao et al. 2020, arXiv:1909.10351, algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .neighbours import Neighbours, distinct
from .vocabulary import Vocabulary
from .words import Read

TOKENS = 2048  # in a batch, padding included


@dataclass(frozen=True)
class _Variant:
    """A text with one word masked."""

    read: Read
    place: int

    @property
    def length(self) -> int:
        return len(self.read.ids)

    @property
    def at(self) -> int:
        return self.read.words[self.place].at[0]

    @property
    def own(self) -> str:
        return self.read.written(self.place).casefold()


class Masked:
    """Proposes the ``top_k`` likeliest whole words, other than the word itself in whatever case.

    One forward pass a word, as in the paper, but those of many words of many texts in one batch of about equal lengths; and the
    head, as dear as the layers below it where the vocabulary is large, sees the masked position alone. Words of several pieces, where
    they are not left alone, get their neighbours in the model's embedding table, in the place of the paper's GloVe.
    """

    def __init__(self, model: Any, vocabulary: Vocabulary, *, mask: int, pad: int, top_k: int, table: np.ndarray) -> None:
        self._model, self._vocabulary, self._mask, self._pad, self._top_k = model, vocabulary, mask, pad, top_k
        self._neighbours = Neighbours(vocabulary, table, top_k)
        self._ids, self._words = torch.tensor(list(vocabulary.words)), list(vocabulary.words.values())

    def read(self, texts: Sequence[str]) -> list[Read]:
        return self._vocabulary.read(texts)

    def propose(self, wanted: Sequence[tuple[Read, int]]) -> list[tuple[str, ...]]:
        single = [i for i, (read, place) in enumerate(wanted) if len(read.words[place].ids) == 1]
        several = sorted(set(range(len(wanted))) - set(single))
        found = dict(zip(several, self._neighbours.propose([wanted[i] for i in several])))
        order = sorted(single, key=lambda i: len(wanted[i][0].ids))  # sorted() keeps the order of equals: the same batches each time
        for batch in batches([len(wanted[i][0].ids) for i in order], TOKENS):
            places = [order[i] for i in batch]
            found.update(zip(places, self._answers([_Variant(*wanted[i]) for i in places])))
        return [found[i] for i in range(len(wanted))]

    @torch.inference_mode()
    def _answers(self, batch: Sequence[_Variant]) -> list[tuple[str, ...]]:
        length = max(one.length for one in batch)
        ids, types = torch.full((len(batch), length), self._pad), torch.zeros((len(batch), length), dtype=torch.long)
        attended = torch.zeros((len(batch), length), dtype=torch.long)
        for row, one in enumerate(batch):
            ids[row, : one.length] = torch.tensor(one.read.ids)
            types[row, : one.length] = torch.tensor(one.read.types)
            attended[row, : one.length] = 1
            ids[row, one.at] = self._mask
        inputs = {"input_ids": ids, "attention_mask": attended, **({"token_type_ids": types} if types.any() else {})}
        with _only(self._model.base_model, torch.tensor([one.at for one in batch])):
            logits = self._model(**inputs).logits[:, 0, self._ids]  # (batch, whole words)
        spare = min(len(self._words), self._top_k + 8)  # a word may be known in several cases
        places = logits.topk(spare).indices
        return [distinct((self._words[place] for place in row), one.own, self._top_k) for row, one in zip(places.tolist(), batch)]


def batches(lengths: Sequence[int], tokens: int) -> Iterator[range]:
    """Yield runs of places of rising ``lengths`` that, padded, hold at most ``tokens``; a longer text goes alone."""
    first = 0
    for place, length in enumerate(lengths):
        if place > first and length * (place - first + 1) > tokens:
            yield range(first, place)
            first = place
    if lengths:
        yield range(first, len(lengths))


@contextmanager
def _only(body: Any, positions: torch.Tensor) -> Iterator[None]:
    """Inside, ``body`` gives each row's last state at its position alone *Shape:* (rows, 1, width): heads work on each position by itself."""

    def cut(module: Any, inputs: Any, output: Any) -> Any:
        states = output.last_hidden_state
        output.last_hidden_state = states[torch.arange(len(states)), positions].unsqueeze(1)
        return output

    handle = body.register_forward_hook(cut)
    try:
        yield
    finally:
        handle.remove()
