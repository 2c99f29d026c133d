"""A student that reads from both ends: bidirectional LSTM layers over subword embeddings, and a linear map of their last states.

Tang et al. 2019, "Distilling task-specific knowledge from BERT into simple neural networks" (arXiv:1903.12136), section 3.1,
without the hidden layer between the states and the logits.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from .. import rng
from ..records import Example, Head
from . import prior
from .source import seeded
from .subword import SubwordStudent, begin, restored

KIND = "recurrent"


class BiLSTM(nn.Module):
    """``hidden`` units in each direction of each layer; sequences are packed, so that no state ever sees padding."""

    def __init__(self, vocabulary: int, dimensions: int, hidden: int, layers: int, dropout: float, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dimensions)
        self.lstm = nn.LSTM(dimensions, hidden, layers, batch_first=True, bidirectional=True, dropout=dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(2 * hidden, classes)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        words = self.embedding(ids) * mask.to(self.embedding.weight.dtype).unsqueeze(2)
        lengths = mask.sum(1).clamp(min=1).cpu()  # a text without tokens is one zero
        packed = pack_padded_sequence(self.dropout(words), lengths, batch_first=True, enforce_sorted=False)
        states = self.lstm(packed)[1][0]  # (layers * 2, rows, hidden), the last layer's directions at the end
        return self.out(self.dropout(torch.cat([states[-2], states[-1]], 1)))


class Unpacked(nn.Module):
    """The same answers without packing, which exporters can't trace quietly: each direction is an LSTM that reads from left to right.

    The backward one is given each row's own tokens turned around, so that padding comes last in both and is read by no state that counts.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        assert isinstance(module, BiLSTM)
        self.embedding, self.out = (copy.deepcopy(part).cpu() for part in (module.embedding, module.out))
        whole = {name: value.detach().cpu() for name, value in module.lstm.state_dict().items()}
        self.layers = nn.ModuleList(nn.ModuleList(_single(whole, f"_l{number}{end}") for end in ("", "_reverse")) for number in range(module.lstm.num_layers))
        self.eval()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = self.embedding(ids) * mask.to(self.embedding.weight.dtype).unsqueeze(2)
        last = (mask.sum(1, keepdim=True) - 1).clamp(min=0)
        around = (last - (torch.ones_like(mask).cumsum(1) - 1)).clamp(min=0)  # (rows, length): where the k-th token from the end stands
        ends: list[Tensor] = []
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            ahead, back = layer
            right, left = ahead(states)[0], back(_at(states, around))[0]
            ends = [_at(side, last).squeeze(1) for side in (right, left)]
            states = torch.cat([right, _at(left, around)], 2)
        logits: Tensor = self.out(torch.cat(ends, 1))
        return logits


def _at(states: Tensor, places: Tensor) -> Tensor:
    """Return of each row the states at its places. *Shapes:* (rows, length, width) and (rows, n) -> (rows, n, width)."""
    return states.gather(1, places.unsqueeze(2).expand(-1, -1, states.shape[2]))


def _single(whole: Mapping[str, Tensor], end: str) -> nn.LSTM:
    """Return one direction of one layer as an LSTM of its own."""
    own = {f"{name}_l0": whole[name + end] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    lstm = nn.LSTM(own["weight_ih_l0"].shape[1], own["weight_hh_l0"].shape[1], batch_first=True)
    lstm.load_state_dict(own)
    return lstm


def build(spec: Any, head: Head, *, source: Path, fields: Sequence[str], seed: int, max_length: int, rows: Sequence[Example] = ()) -> SubwordStudent:
    """Return a student over the tokenizer, and unless ``spec.source`` is "scratch" the embeddings, of the model in ``source``.

    ``rows``: see :mod:`.prior`. Raises :class:`UserError` for a folder that can't be used.
    """
    tokenizer, preprocess, embedding = begin(spec, source, fields=fields, seed=seed, max_length=max_length)
    vocabulary, dimensions = embedding.shape
    shape = {
        "vocabulary": vocabulary, "dimensions": dimensions, "hidden": spec.hidden, "layers": spec.layers, "dropout": spec.dropout, "classes": head.width,
    }  # fmt: skip
    with seeded(rng.integer(seed, "student", "net")):
        module = BiLSTM(**shape)
    module.embedding.weight.data.copy_(embedding)
    prior.start(module.out, rows, head)
    return SubwordStudent(module, head, tokenizer, preprocess, shape, KIND, Unpacked)


def load(folder: Path) -> SubwordStudent:
    """Return the student that :meth:`SubwordStudent.save` wrote."""
    return restored(folder, KIND, BiLSTM, Unpacked)
