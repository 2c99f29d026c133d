"""One vector an id, averaged, and a small head: the module of the static and the n-gram student."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..records import Example, Head
from . import prior
from .source import seeded


class Bag(nn.Module):
    """``pooled`` is the mean of the embeddings of the ids that ``mask`` keeps, zeros where it keeps none; the head reads it."""

    def __init__(self, embedding: Tensor, classes: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(embedding, freeze=False)
        dimensions = embedding.shape[1]
        self.head = nn.ModuleDict({"norm": nn.LayerNorm(dimensions)})
        if hidden:
            self.head["hidden"] = nn.Linear(dimensions, hidden)
        self.head["out"] = nn.Linear(hidden or dimensions, classes)

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """*Shapes:* ids and mask (rows, length) int64 -> (rows, dimensions). Fused: no tensor of rows x length x dimensions."""
        weights = mask.to(self.embedding.weight.dtype)
        total = functional.embedding_bag(ids, self.embedding.weight, per_sample_weights=weights, mode="sum")
        return total / weights.sum(1, keepdim=True).clamp(min=1)

    def logits(self, pooled: Tensor) -> Tensor:
        """*Shapes:* (rows, dimensions) -> (rows, classes)."""
        state = self.head["norm"](pooled)
        if "hidden" in self.head:
            state = functional.relu(self.head["hidden"](state))
        logits: Tensor = self.head["out"](state)
        return logits

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.logits(self.pooled(ids, mask))


class Traceable(nn.Module):
    """The same answers by a gather and a product with the mask: operators that every runtime has, and int8 rows can leave their scales to the
    mask (:mod:`potstill.export.int8`). ``masked``: the mask is an input, else ids > 0."""

    def __init__(self, bag: Bag, masked: bool) -> None:
        super().__init__()
        self.bag, self.masked = copy.deepcopy(bag).cpu(), masked
        self.eval()

    def forward(self, *inputs: Tensor) -> Tensor:
        ids = inputs[0]
        mask = (inputs[1] if self.masked else ids > 0).to(torch.float32)
        total = (mask.unsqueeze(1) @ self.bag.embedding(ids)).squeeze(1)
        return self.bag.logits(total / mask.sum(1, keepdim=True).clamp(min=1))


def fresh(embedding: Tensor, head: Head, hidden: int, seed: int, rows: Sequence[Example] = ()) -> Bag:
    """Return a bag over ``embedding`` with a head drawn from ``seed``; of ``rows`` it knows how common the labels are."""
    with seeded(seed):
        made = Bag(embedding, head.width, hidden)
    prior.start(made.head["out"], rows, head)
    return made


def restored(embedding: Tensor, head: Mapping[str, Tensor]) -> Bag:
    """Return the bag that has these weights; the sizes are read from them. ``head``: its state by name."""
    hidden = head["hidden.weight"].shape[0] if "hidden.weight" in head else 0
    bag = fresh(embedding, Head("classes", ("",) * head["out.weight"].shape[0]), hidden, 0)
    bag.head.load_state_dict(dict(head))
    return bag
