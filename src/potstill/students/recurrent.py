"""A student that reads from both ends: bidirectional LSTM layers over subword embeddings, and a linear map of their last states.

Tang et al. 2019, "Distilling task-specific knowledge from BERT into simple neural networks" (arXiv:1903.12136), section 3.1,
without the hidden layer between the states and the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from .. import rng
from ..records import Example, Head
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


def build(spec: Any, head: Head, *, source: Path, fields: Sequence[str], seed: int, max_length: int, rows: Sequence[Example] = ()) -> SubwordStudent:
    """Return a student over the tokenizer, and unless ``spec.source`` is "scratch" the embeddings, of the model in ``source``.

    ``rows`` are not needed. Raises :class:`UserError` for a folder that can't be used.
    """
    tokenizer, preprocess, embedding = begin(spec, source, fields=fields, seed=seed, max_length=max_length)
    vocabulary, dimensions = embedding.shape
    shape = {
        "vocabulary": vocabulary, "dimensions": dimensions, "hidden": spec.hidden, "layers": spec.layers, "dropout": spec.dropout, "classes": head.width,
    }  # fmt: skip
    with seeded(rng.integer(seed, "student", "net")):
        module = BiLSTM(**shape)
    module.embedding.weight.data.copy_(embedding)
    return SubwordStudent(module, head, tokenizer, preprocess, shape, KIND)


def load(folder: Path) -> SubwordStudent:
    """Return the student that :meth:`SubwordStudent.save` wrote."""
    return restored(folder, KIND, BiLSTM)
