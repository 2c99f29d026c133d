"""A student that needs no teacher's weights: hashed n-grams of words and characters, what each says for each class, and their sum.

After Joulin et al. 2017, "Bag of tricks for efficient text classification", and Bojanowski et al. 2017, "Enriching word
vectors with subword information"; the hash is :mod:`potstill.serving.hashing`'s.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .. import rng, storage
from ..records import Example, Head
from ..serving.preprocess import Hashed, Preprocess
from . import readme
from .bag import Bag, Traceable, fresh, restored
from .folder import head_of, read, write
from .grams import preprocessing
from .known import FILE, Known
from .protocol import Output

DEVIATION = 0.1  # of the embeddings at the start, where there is a head: without one they begin at zero, and what was never seen stays silent
WIDEST = 64  # as many classes have a column each; more share so many dimensions


@dataclass
class NgramStudent:
    """A row for each bucket, and a head where the rows are no scores themselves; bucket 0 is padding and has no say."""

    module: Bag
    head: Head
    spec: dict[str, Any]  # preprocessing
    known: Known | None = None  # words that get a row of their own when it is exported
    kind: str = "ngram"
    learns: Literal["loop"] = "loop"
    hidden_layers: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        self.preprocess: Preprocess = Hashed.read(self.spec, Path())
        self.parameters = sum(p.numel() for p in self.module.parameters())

    def forward(self, batch: dict[str, Tensor], hidden: bool = False) -> Output:
        return Output(self.module(batch["ids"], batch["weights"]))

    def save(self, folder: Path) -> None:
        embedding = self.module.embedding.weight.detach().cpu().contiguous()
        state = {f"head.{name}": value.detach().cpu() for name, value in self.module.head.state_dict().items()}
        with storage.disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            save_file({"embeddings": embedding, **state, **(self.known.tensors() if self.known else {})}, folder / "model.safetensors")
        storage.write_text(folder / "README.md", readme.ngram())
        write(folder, kind=self.kind, spec={"dimensions": embedding.shape[1]}, head=self.head, preprocess=self.spec)

    def preprocess_spec(self) -> dict[str, Any]:
        return copy.deepcopy(self.spec) | ({"words": FILE} if self.known else {})

    def save_preprocess(self, folder: Path) -> None:
        if self.known:
            self.known.write(folder)

    def export_module(self) -> nn.Module:
        if not self.known:
            return Traceable(self.module, mean=False)
        table = self.module.embedding.weight.detach().cpu()
        head = {name: value.cpu() for name, value in self.module.head.state_dict().items()}
        return Traceable(restored(torch.cat([table, self.known.rows(table)]), head), mean=False)


def build(
    spec: Any,
    head: Head,
    *,
    source: Path | None = None,
    fields: Sequence[str],
    seed: int,
    max_length: int = 0,
    rows: Sequence[Example] = (),
) -> NgramStudent:
    """Return a fresh student of ``spec.buckets`` buckets over ``word_ngrams`` and ``char_ngrams``.

    ``spec.dimensions``: of a bucket's embedding; None: a score for each class, where there is no hidden layer and no more than
    ``WIDEST`` classes. ``spec.hidden``: units of the head's hidden layer, 0 for none. ``rows``: those it will learn from, see
    :mod:`.prior` and :mod:`.known`. ``source`` and ``max_length`` are not needed.
    """
    preprocess = preprocessing("hash", spec, fields)
    scores = spec.dimensions is None and not spec.hidden and head.width <= WIDEST
    if scores:
        embedding = torch.zeros(spec.buckets + 1, head.width)
    else:
        generator = torch.Generator().manual_seed(rng.integer(seed, "student", "embeddings"))
        embedding = torch.randn(spec.buckets + 1, spec.dimensions or WIDEST, generator=generator) * DEVIATION
        embedding[0] = 0
    bag = fresh(embedding, head, spec.hidden, rng.integer(seed, "student", "head"), rows, norm=not scores, linear=not scores)
    return NgramStudent(bag, head, preprocess, Known.of(rows, preprocess))


def load(folder: Path) -> NgramStudent:
    """Return the student that :meth:`NgramStudent.save` wrote."""
    saved = read(folder, "ngram")
    state = load_file(folder / "model.safetensors")
    head = {name.removeprefix("head."): value for name, value in state.items() if name.startswith("head.")}
    return NgramStudent(restored(state["embeddings"], head), head_of(saved), saved["preprocess"], Known.read(state))
