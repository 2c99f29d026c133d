"""A student that looks for phrases: one layer of convolutions over subword embeddings, the strongest answer of each filter, a linear map.

Kim 2014, "Convolutional neural networks for sentence classification" (arXiv:1408.5882), figure 1: the single-channel model
whose embeddings go on learning.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import rng
from ..records import Example, Head
from . import prior
from .source import seeded
from .subword import SubwordStudent, begin, itself, restored

KIND = "convolutional"


class TextCNN(nn.Module):
    """``filters`` filters of each of ``widths``, in tokens; padding is zeroed, and windows that lie in it alone are left out."""

    def __init__(self, vocabulary: int, dimensions: int, widths: Sequence[int], filters: int, dropout: float, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dimensions)
        self.widths = tuple(widths)
        # Windows may reach over both ends of a text, as in Kim's own code: so a text shorter than the widest one has its windows too.
        self.convolutions = nn.ModuleList(nn.Conv1d(dimensions, filters, width, padding=width - 1) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(filters * len(widths), classes)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        real = mask.to(self.embedding.weight.dtype)
        words = (self.embedding(ids) * real.unsqueeze(2)).transpose(1, 2)  # (rows, dimensions, length)
        found = []
        for width, convolution in zip(self.widths, self.convolutions):
            scores = functional.relu(convolution(words))  # (rows, filters, length + width - 1)
            reaches = functional.pad(real, (width - 1, 0), value=1.0)  # the last token of a window is none beyond the text
            found.append((scores * reaches.unsqueeze(1)).amax(2))  # scores are 0 or more, so a window that is left out has no say
        return self.out(self.dropout(torch.cat(found, 1)))


def build(spec: Any, head: Head, *, source: Path, fields: Sequence[str], seed: int, max_length: int, rows: Sequence[Example] = ()) -> SubwordStudent:
    """Return a student over the tokenizer, and unless ``spec.source`` is "scratch" the embeddings, of the model in ``source``.

    ``rows``: see :mod:`.prior`. Raises :class:`UserError` for a folder that can't be used.
    """
    tokenizer, preprocess, embedding = begin(spec, source, fields=fields, seed=seed, max_length=max_length)
    vocabulary, dimensions = embedding.shape
    shape = {
        "vocabulary": vocabulary, "dimensions": dimensions, "widths": sorted(set(spec.widths)), "filters": spec.filters, "dropout": spec.dropout,
        "classes": head.width,
    }  # fmt: skip
    with seeded(rng.integer(seed, "student", "net")):
        module = TextCNN(**shape)
    module.embedding.weight.data.copy_(embedding)
    prior.start(module.out, rows, head)
    return SubwordStudent(module, head, tokenizer, preprocess, shape, KIND, itself)


def load(folder: Path) -> SubwordStudent:
    """Return the student that :meth:`SubwordStudent.save` wrote."""
    return restored(folder, KIND, TextCNN, itself)
