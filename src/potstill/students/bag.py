"""One vector an id, their weighted sum, and a small head: the module of the static and the n-gram student."""

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
    """``pooled`` is the weighted sum of the embeddings of some ids. The head reads it; without one, the sum is the scores, but for a bias.

    ``norm``: the head begins with a layer norm; ``hidden``: it has a hidden layer of so many units; ``linear``: there is a head.
    """

    def __init__(self, embedding: Tensor, classes: int, hidden: int, *, norm: bool, linear: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(embedding, freeze=False)
        dimensions = embedding.shape[1]
        self.head = nn.ModuleDict({"norm": nn.LayerNorm(dimensions)} if norm else {})
        if hidden:
            self.head["hidden"] = nn.Linear(dimensions, hidden)
        self.head["out"] = nn.Linear(hidden or dimensions, classes) if linear else Bias(classes)

    def pooled(self, ids: Tensor, weights: Tensor) -> Tensor:
        """*Shapes:* ids int64 and weights (rows, length) -> (rows, dimensions). Fused: no tensor of rows x length x dimensions."""
        table = self.embedding.weight
        return functional.embedding_bag(ids, table, per_sample_weights=weights.to(table.dtype), mode="sum")

    def logits(self, pooled: Tensor) -> Tensor:
        """*Shapes:* (rows, dimensions) -> (rows, classes)."""
        state = self.head["norm"](pooled) if "norm" in self.head else pooled
        if "hidden" in self.head:
            state = functional.relu(self.head["hidden"](state))
        logits: Tensor = self.head["out"](state)
        return logits

    def forward(self, ids: Tensor, weights: Tensor) -> Tensor:
        return self.logits(self.pooled(ids, weights))


class Bias(nn.Module):
    """What is added to scores."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, scores: Tensor) -> Tensor:
        return scores + self.bias


def means(mask: Tensor) -> Tensor:
    """Return the weights that make a sum over the ids that ``mask`` keeps their mean, zero where it keeps none; both *Shape:* (rows, length)."""
    kept = mask.to(torch.float32)
    return kept / kept.sum(1, keepdim=True).clamp(min=1)


class Traceable(nn.Module):
    """The same answers by a gather and a product with the weights: operators that every runtime has, and int8 rows can leave their scales to
    the weights (:mod:`potstill.export.int8`). ``mean``: the second input is a mask, else weights."""

    def __init__(self, bag: Bag, *, mean: bool) -> None:
        super().__init__()
        self.bag, self.mean = copy.deepcopy(bag).cpu(), mean
        self.eval()

    def forward(self, ids: Tensor, given: Tensor) -> Tensor:
        weights = means(given) if self.mean else given
        return self.bag.logits((weights.unsqueeze(1) @ self.bag.embedding(ids)).squeeze(1))


def fresh(embedding: Tensor, head: Head, hidden: int, seed: int, rows: Sequence[Example] = (), *, norm: bool = True, linear: bool = True) -> Bag:
    """Return a bag over ``embedding`` with a head drawn from ``seed``; of ``rows`` it knows how common the labels are."""
    with seeded(seed):
        made = Bag(embedding, head.width, hidden, norm=norm, linear=linear)
    prior.start(made.head["out"], rows, head)
    return made


def restored(embedding: Tensor, head: Mapping[str, Tensor]) -> Bag:
    """Return the bag that has these weights; what it is made of is read from them. ``head``: its state by name."""
    hidden = head["hidden.weight"].shape[0] if "hidden.weight" in head else 0
    bag = Bag(embedding, head["out.bias"].shape[0], hidden, norm="norm.weight" in head, linear="out.weight" in head)
    bag.head.load_state_dict(dict(head))
    return bag
