"""A student small enough to follow by hand: an embedding a token, averaged, and a linear layer; with hidden states and dropout if wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from potstill.objectives.build import LOGPROBS, build
from potstill.records import Head, Want
from potstill.students.protocol import Output
from potstill.training.records import LoopSpec, TrainingRows

WORDS, WIDTH, CLASSES = 30, 6, 3


@dataclass(frozen=True)
class Ids:
    """Items hold ids from 1 on; 0 is padding."""

    inputs: tuple[str, ...] = ("ids",)

    def encode(self, rows):
        return [{"ids": np.asarray(row["ids"], np.int64)} for row in rows]

    def collate(self, items):
        made = np.zeros((len(items), max(len(item["ids"]) for item in items)), np.int64)
        for row, item in zip(made, items):
            row[: len(item["ids"])] = item["ids"]
        return {"ids": made}

    def length(self, item):
        return len(item["ids"])


class Net(nn.Module):
    def __init__(self, dropout: float, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.middle = nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(WIDTH, classes)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, ids: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        self.calls += self.training
        mask = ids > 0
        first = self.embedding(ids)
        second = torch.tanh(self.middle(self.dropout(self.norm(first))))
        pooled = (second * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.out(pooled), (first[mask], second[mask])


class Toy:
    """A LoopStudent of one layer above its embeddings."""

    kind, hidden_layers, width, preprocess = "toy", 1, WIDTH, Ids()

    def __init__(self, *, seed: int = 0, dropout: float = 0.0, double: bool = False, classes: int = CLASSES) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = Net(dropout, classes)
        if double:
            self.module.double()
        self.head = Head("classes", tuple("abc"[:classes]))
        self.parameters = sum(p.numel() for p in self.module.parameters())

    def forward(self, batch: dict[str, Tensor], hidden: bool = False) -> Output:
        logits, states = self.module(batch["ids"])
        return Output(logits, states if hidden else None)


def rows(count: int = 40, *, seed: int = 0, gold: float = 1.0, teacher_width: int = 4) -> TrainingRows:
    """Rows of 1 to 12 ids whose class follows from their sum; a share ``gold`` has a gold label; the teacher answers all, hidden too."""
    random = np.random.default_rng(seed)
    items = [{"ids": random.integers(1, WORDS, random.integers(1, 13))} for _ in range(count)]
    labels = np.array([item["ids"].sum() % CLASSES for item in items])
    scores = [random.normal(size=(1, CLASSES)) + 2 * np.eye(CLASSES)[[label]] for label in labels]
    logprobs = [(s - np.log(np.exp(s).sum())).astype(np.float32) for s in scores]
    hidden = {Want("hidden", layer=k): [random.normal(size=(len(i["ids"]), teacher_width)).astype(np.float16) for i in items] for k in (0, 2)}
    known = np.where(random.random(count) < gold, labels, -1)
    return TrainingRows(items, known, {LOGPROBS: logprobs, **hidden})


def terms(*specs: dict, seed: int = 0, teacher_width: int = 4) -> list:
    """Terms for a toy and a teacher of two layers; logits, hidden and hard where none are named."""
    specs = specs or ({"kind": "logits", "weight": 1.0}, {"kind": "hidden", "weight": 0.5}, {"kind": "hard", "weight": 0.25})
    sizes = {"student_layers": 1, "student_width": WIDTH, "teacher_layers": 2, "teacher_width": teacher_width}
    return build(specs, head_width=CLASSES, seed=seed, **sizes)[0]


def spec(**changes) -> LoopSpec:
    return LoopSpec(**{"steps": 12, "batch_size": 8, "learning_rate": 1e-2, "evaluations": 3, "precision": "fp32", "threads": 1, **changes})
