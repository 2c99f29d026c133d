"""What the convolutional and the recurrent student share: subword ids of a model's tokenizer into a small torch module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from .. import rng, storage
from ..records import Head
from ..serving.preprocess import Preprocess, Tokenized
from . import readme
from .folder import head_of, read, write
from .protocol import Output
from .source import plain, read_tokenizer
from .vectors import input_vectors, vocabulary

WEIGHTS = "model.safetensors"
SCRATCH = "scratch"  # `from` where nothing but the tokenizer is taken from the model


@dataclass
class SubwordStudent:
    """``module`` takes ids and mask *Shape:* (rows, length) int64, the mask's ones first, and gives logits (rows, classes).

    ``shape`` holds the module's own arguments, so that it is built anew from them; all its weights are in its state.
    """

    module: nn.Module
    head: Head
    tokenizer: Tokenizer  # neither padding nor truncation
    spec: dict[str, Any]  # preprocessing
    shape: dict[str, Any]
    kind: str
    traceable: Callable[[nn.Module], nn.Module]  # what an exporter is given for the module
    learns: Literal["loop"] = "loop"
    hidden_layers: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        self.preprocess: Preprocess = Tokenized.make(self.spec, self.tokenizer)
        self.parameters = sum(p.numel() for p in self.module.parameters())

    def forward(self, batch: dict[str, Tensor], hidden: bool = False) -> Output:
        return Output(self.module(batch["input_ids"], batch["attention_mask"]))

    def save(self, folder: Path) -> None:
        state = {name: value.detach().cpu().contiguous() for name, value in self.module.state_dict().items()}
        with storage.disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            save_file(state, folder / WEIGHTS)
        storage.write_text(folder / "README.md", readme.subword(self.kind, type(self.module)))
        self.save_preprocess(folder)
        write(folder, kind=self.kind, spec=self.shape, head=self.head, preprocess=self.spec)

    def preprocess_spec(self) -> dict[str, Any]:
        return copy.deepcopy(self.spec)

    def save_preprocess(self, folder: Path) -> None:
        storage.write_text(folder / "tokenizer.json", self.tokenizer.to_str())

    def export_module(self) -> nn.Module:
        return self.traceable(self.module)


def itself(module: nn.Module) -> nn.Module:
    """Return a copy on the CPU, in eval mode: what is traced where the module has nothing that exporters can't trace."""
    return copy.deepcopy(module).cpu().eval()


def begin(spec: Any, source: Path, *, fields: Sequence[str], seed: int, max_length: int) -> tuple[Tokenizer, dict[str, Any], Tensor]:
    """Return the tokenizer of the model in ``source``, the preprocessing over it, and the embeddings *Shape:* (vocabulary, dimensions).

    The embeddings are the model's input embeddings, reduced to their principal components, or drawn from ``seed`` where ``spec.source`` is "scratch".
    Raises :class:`UserError` for a folder that can't be used.
    """
    tokenizer = read_tokenizer(source)
    own = plain(tokenizer.backend_tokenizer)
    preprocess = {
        "kind": "tokenizer", "file": "tokenizer.json", "fields": list(fields), "special_tokens": len(fields) > 1,
        "max_length": int(spec.max_length or max_length), "inputs": ["input_ids", "attention_mask"], "pad": {"input_ids": 0},
    }  # fmt: skip
    if spec.source != SCRATCH:
        return own, preprocess, torch.from_numpy(input_vectors(source, spec.dimensions))
    generator = torch.Generator().manual_seed(rng.integer(seed, "student", "embeddings"))
    return own, preprocess, torch.randn(vocabulary(tokenizer, source), spec.dimensions, generator=generator)


def restored(folder: Path, kind: str, module: type[nn.Module], traceable: Callable[[nn.Module], nn.Module]) -> SubwordStudent:
    """Return the student that :meth:`SubwordStudent.save` wrote; ``module`` is the class of its weights."""
    saved: Mapping[str, Any] = read(folder, kind)
    net = module(**saved["spec"])
    net.load_state_dict(load_file(folder / WEIGHTS))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return SubwordStudent(net, head_of(saved), tokenizer, saved["preprocess"], saved["spec"], kind, traceable)
