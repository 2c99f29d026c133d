"""A student without layers: one vector a token, their mean, and a small head. The vectors come from a model and go on learning.

Its folder is one of model2vec: ``StaticModel.from_pretrained(folder).encode`` gives the pooled vector; ``head.safetensors``
holds the rest.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from .. import rng, storage
from ..records import Example, Head
from ..serving.preprocess import Preprocess, Tokenized
from . import readme
from .bag import Bag, Traceable, fresh, means, restored
from .folder import head_of, read, write
from .protocol import Output
from .source import plain, read_tokenizer
from .vectors import SIF, token_vectors


@dataclass
class StaticStudent:
    """Token embeddings and a head; the unknown token has no say, as in model2vec."""

    module: Bag
    head: Head
    tokenizer: Tokenizer  # neither padding nor truncation
    spec: dict[str, Any]  # preprocessing
    kind: str = "static"
    learns: Literal["loop"] = "loop"
    hidden_layers: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        self.preprocess: Preprocess = Tokenized.make(self.spec, self.tokenizer)
        self.parameters = sum(p.numel() for p in self.module.parameters())

    def forward(self, batch: dict[str, Tensor], hidden: bool = False) -> Output:
        return Output(self.module(batch["input_ids"], means(batch["attention_mask"])))

    def save(self, folder: Path) -> None:
        embedding = self.module.embedding.weight.detach().cpu().contiguous()
        config = {
            "model_type": "model2vec", "architectures": ["StaticModel"], "normalize": False, "max_length": self.spec["max_length"],
            "hidden_dim": embedding.shape[1], "apply_pca": embedding.shape[1], "sif_coefficient": SIF, "pooling": "mean",
            "embedding_dtype": "float32",
        }  # fmt: skip
        modules = [{"idx": 0, "name": "0", "path": ".", "type": "sentence_transformers.models.StaticEmbedding"}]
        with storage.disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            save_file({"embeddings": embedding}, folder / "model.safetensors")
            save_file({name: value.detach().cpu() for name, value in self.module.head.state_dict().items()}, folder / "head.safetensors")
        storage.write_json(folder / "config.json", config)
        storage.write_json(folder / "modules.json", modules)
        storage.write_text(folder / "README.md", readme.static())
        self.save_preprocess(folder)
        write(folder, kind=self.kind, spec={"dimensions": embedding.shape[1]}, head=self.head, preprocess=self.spec)

    def preprocess_spec(self) -> dict[str, Any]:
        return copy.deepcopy(self.spec)

    def save_preprocess(self, folder: Path) -> None:
        storage.write_text(folder / "tokenizer.json", self.tokenizer.to_str())

    def export_module(self) -> nn.Module:
        return Traceable(self.module, mean=True)


def build(spec: Any, head: Head, *, source: Path, fields: Sequence[str], seed: int, max_length: int, rows: Sequence[Example] = ()) -> StaticStudent:
    """Return a student whose embeddings are those of the model in ``source``, ``spec.dimensions`` wide or as wide as the model.

    ``spec.hidden``: units of the head's hidden layer, 0 for none. ``rows``: see :mod:`.prior`. Raises :class:`UserError` for a
    folder that can't be used.
    """
    tokenizer = plain(read_tokenizer(source).backend_tokenizer)
    preprocess = {
        "kind": "tokenizer", "file": "tokenizer.json", "fields": list(fields), "special_tokens": False,
        "max_length": int(spec.max_length or max_length), "inputs": ["input_ids", "attention_mask"], "pad": {"input_ids": 0},
        "drop": unknown(tokenizer),
    }  # fmt: skip
    vectors = torch.from_numpy(token_vectors(source, spec.dimensions))
    return StaticStudent(fresh(vectors, head, spec.hidden, rng.integer(seed, "student", "head"), rows), head, tokenizer, preprocess)


def unknown(tokenizer: Tokenizer) -> list[int]:
    """Return the id of the unknown token, if the tokenizer has one."""
    model = json.loads(tokenizer.to_str())["model"]
    token = model.get("unk_token")  # unigram models name it by id
    found = model.get("unk_id") if token is None else tokenizer.token_to_id(token)
    return [] if found is None else [int(found)]


def load(folder: Path) -> StaticStudent:
    """Return the student that :meth:`StaticStudent.save` wrote."""
    saved = read(folder, "static")
    module = restored(load_file(folder / "model.safetensors")["embeddings"], load_file(folder / "head.safetensors"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return StaticStudent(module, head_of(saved), tokenizer, saved["preprocess"])
