"""A student that needs no teacher's weights: hashed n-grams of words and characters, their mean embedding, and a head.

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
from .protocol import Output

DEVIATION = 0.1  # of the embeddings at the start


@dataclass
class NgramStudent:
    """An embedding for each bucket and a head; bucket 0 is padding and has no say."""

    module: Bag
    head: Head
    spec: dict[str, Any]  # preprocessing
    kind: str = "ngram"
    learns: Literal["loop"] = "loop"
    hidden_layers: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        self.preprocess: Preprocess = Hashed.read(self.spec, Path())
        self.parameters = sum(p.numel() for p in self.module.parameters())

    def forward(self, batch: dict[str, Tensor], hidden: bool = False) -> Output:
        ids = batch["ids"]
        return Output(self.module(ids, (ids > 0).long()))

    def save(self, folder: Path) -> None:
        embedding = self.module.embedding.weight.detach().cpu().contiguous()
        state = {f"head.{name}": value.detach().cpu() for name, value in self.module.head.state_dict().items()}
        with storage.disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            save_file({"embeddings": embedding, **state}, folder / "model.safetensors")
        storage.write_text(folder / "README.md", readme.ngram())
        write(folder, kind=self.kind, spec={"dimensions": embedding.shape[1]}, head=self.head, preprocess=self.spec)

    def preprocess_spec(self) -> dict[str, Any]:
        return copy.deepcopy(self.spec)

    def save_preprocess(self, folder: Path) -> None:
        """No-op: the spec says it all."""

    def export_module(self) -> nn.Module:
        return Traceable(self.module, masked=False)


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
    """Return a fresh student of ``spec.buckets`` buckets, ``spec.dimensions`` wide, over ``word_ngrams`` and ``char_ngrams``.

    ``spec.hidden``: units of the head's hidden layer, 0 for none. ``rows``: see :mod:`.prior`. ``source`` and ``max_length``
    are not needed.
    """
    preprocess = preprocessing("hash", spec, fields)
    generator = torch.Generator().manual_seed(rng.integer(seed, "student", "embeddings"))
    embedding = torch.randn(spec.buckets + 1, spec.dimensions, generator=generator) * DEVIATION
    embedding[0] = 0
    return NgramStudent(fresh(embedding, head, spec.hidden, rng.integer(seed, "student", "head"), rows), head, preprocess)


def load(folder: Path) -> NgramStudent:
    """Return the student that :meth:`NgramStudent.save` wrote."""
    saved = read(folder, "ngram")
    state = load_file(folder / "model.safetensors")
    head = {name.removeprefix("head."): value for name, value in state.items() if name.startswith("head.")}
    return NgramStudent(restored(state["embeddings"], head), head_of(saved), saved["preprocess"])
