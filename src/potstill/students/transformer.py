"""A student cut from a transformer: some of its layers, its embeddings and its tokenizer, as a plain sequence classifier.

Layers kept from the teacher: Sanh et al. 2019, "DistilBERT", section 3; evenly spread ones do best or near it: Sajjad et al.
2023, "On the effect of dropping layers of pre-trained transformer models".
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from .. import rng, storage
from ..errors import UserError
from ..records import Example, Head, HeadKind
from ..serving.preprocess import Preprocess, Tokenized
from . import narrow, prior
from .architectures import Architecture, architecture, choose, renamed
from .decoder import rendered
from .folder import head_of, read, write
from .protocol import Output
from .source import SAFE, plain, quiet, read_config, read_tokenizer, seeded

SCRATCH = "scratch"  # `from` where nothing but architecture and tokenizer is taken from the model
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
PROBLEMS: Mapping[HeadKind, str] = {"classes": "single_label_classification", "labels": "multi_label_classification"}  # transformers' names


@dataclass
class TransformerStudent:
    """A sequence classifier of ``transformers`` and its tokenizer; ``layers`` says which of its source's layers it began with."""

    module: PreTrainedModel
    head: Head
    tokenizer: Any  # a fast tokenizer of transformers
    spec: dict[str, Any]  # preprocessing
    layers: tuple[int, ...]
    kind: str = "transformer"
    learns: Literal["loop"] = "loop"

    def __post_init__(self) -> None:
        self.preprocess: Preprocess = Tokenized.make(self.spec, self.tokenizer.backend_tokenizer)
        row = architecture(self.module.config.model_type)
        self.hidden_layers = int(getattr(self.module.config, row.count))
        self.width = int(getattr(self.module.config, row.width))
        self.parameters = sum(p.numel() for p in self.module.parameters())

    def forward(self, batch: dict[str, Tensor], hidden: bool = False) -> Output:
        """Answer a batch; hidden states are those of real tokens, row by row. *Shapes:* see :class:`protocol.Output`."""
        out = self.module(**{name: batch[name] for name in self.preprocess.inputs}, output_hidden_states=hidden)
        if not hidden:
            return Output(out.logits)
        real = batch["attention_mask"].bool()
        return Output(out.logits, tuple(state[real] for state in out.hidden_states))

    def save_model(self, folder: Path) -> None:
        """Write what ``from_pretrained`` reads: config, safetensors, tokenizer. Nothing else."""
        with storage.disk_errors(folder), quiet():
            self.module.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    def save(self, folder: Path) -> None:
        self.save_model(folder)
        write(folder, kind=self.kind, spec={"layers": list(self.layers)}, head=self.head, preprocess=self.spec)

    def preprocess_spec(self) -> dict[str, Any]:
        return copy.deepcopy(self.spec)

    def save_preprocess(self, folder: Path) -> None:
        storage.write_text(folder / "tokenizer.json", plain(self.tokenizer.backend_tokenizer).to_str())

    def export_module(self) -> nn.Module:
        return Positional(eager(self.module), self.preprocess.inputs)


class Positional(nn.Module):
    """Takes ``names`` by position, gives logits alone: what exporters can trace."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, tuple(names)
        self.eval()

    def forward(self, *inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(**dict(zip(self.names, inputs))).logits
        return logits


class Top(nn.Module):
    """All that stands above the layers, on its own: one token's last state *Shape:* (rows, width) in, logits (rows, classes) out.

    Its parameters are ``model``'s own.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        row = architecture(model.config.model_type)
        self.parts = nn.ModuleList(model.get_submodule(name) for name in row.top)
        self.relu = row.relu

    def forward(self, state: Tensor) -> Tensor:
        out = state[:, None]  # heads and poolers take the first token themselves
        for part in self.parts[:-1]:
            out = functional.relu(part(out)) if self.relu else part(out)
        logits: Tensor = self.parts[-1](out).flatten(1)
        return logits


def build(spec: Any, head: Head, *, source: Path, fields: Sequence[str], seed: int, max_length: int, rows: Sequence[Example] = ()) -> TransformerStudent:
    """Return a student that begins as ``spec.layers`` of the model in ``source``, an encoder or a sequence classifier.

    The source's classifier is kept where it has the same labels, its rows put in the order of ``head`` by name; else the
    student's is fresh. ``spec.max_length``, where given, goes before ``max_length``; both yield to what the model can read.
    ``rows``: see :mod:`.prior`, for a fresh classifier; and they show which parts matter where it is to be narrower. Raises
    :class:`UserError` for a folder, an architecture, layers, widths or labels that can't be used.
    """
    way = _fresh if getattr(spec, "source", None) == SCRATCH else _cut
    return way(spec, head, source, rows, fields=fields, seed=seed, max_length=spec.max_length or max_length)


def _cut(spec: Any, head: Head, source: Path, rows: Sequence[Example], *, fields: Sequence[str], seed: int, max_length: int) -> TransformerStudent:
    """Return the layers that ``spec`` names, of the heads, neurons and channels those that matter most on ``rows``."""
    config = read_config(source)
    layers = choose(spec.layers, getattr(config, architecture(config.model_type, str(source)).count))
    student = cut(source, head, layers=layers, fields=fields, seed=seed, max_length=max_length, rows=rows)
    sizes = [getattr(spec, name, None) for name in ("heads", "intermediate", "hidden")]
    if all(size is None for size in sizes):
        return student
    wanted = narrow.shape(config, *sizes)
    whole = cut(source, head, layers=None, fields=fields, seed=seed, max_length=max_length)
    found = narrow.importance(whole.module, _batches(whole, sorted(rows, key=lambda row: row.id)[: narrow.ROWS]))
    kept = narrow.Importance(found.heads[list(layers)], found.neurons[list(layers)], found.hidden)
    state = narrow.sliced(student.module.state_dict(), student.module.config, wanted, kept)
    with quiet(), seeded(0):
        model = AutoModelForSequenceClassification.from_config(narrow.resized(student.module.config, wanted), attn_implementation="sdpa", dtype=torch.float32)
    model.load_state_dict(state)
    return TransformerStudent(model, head, student.tokenizer, student.spec, layers)


def _batches(student: TransformerStudent, rows: Sequence[Example], size: int = 32) -> Iterator[dict[str, Tensor]]:
    items = student.preprocess.encode([row.fields for row in rows])
    for first in range(0, len(items), size):
        arrays = student.preprocess.collate(items[first : first + size])
        yield {name: torch.from_numpy(array) for name, array in arrays.items()}


def _fresh(spec: Any, head: Head, source: Path, rows: Sequence[Example], *, fields: Sequence[str], seed: int, max_length: int) -> TransformerStudent:
    """Return a student with the architecture and the tokenizer of the model in ``source`` and none of its weights; what ``spec`` leaves out is the source's."""
    config = read_config(source)
    row = architecture(config.model_type, str(source))
    small, tokenizer = _for_task(config, row, head, source)
    sizes = {row.count: spec.layers, row.width: spec.hidden, row.heads: spec.heads, row.inner: spec.intermediate}
    for name, size in sizes.items():
        setattr(small, name, size or getattr(config, name))
    width, heads = getattr(small, row.width), getattr(small, row.heads)
    if width % heads:
        remedy = f"say heads: {max(n for n in range(1, heads + 1) if width % n == 0)}, or another hidden size"
        raise UserError(f"{width} hidden channels can't be dealt out to {heads} heads", place="students.heads", remedy=remedy)
    with quiet(), seeded(rng.integer(seed, "student", "scratch")):
        model = AutoModelForSequenceClassification.from_config(small, attn_implementation="sdpa", dtype=torch.float32)
    prior.start(model.get_submodule(row.classifier), rows, head)
    return TransformerStudent(model, head, tokenizer, preprocessing(model, tokenizer, row, fields, max_length), tuple(range(spec.layers)))


def _for_task(config: Any, row: Architecture, head: Head, source: Path) -> tuple[Any, Any]:
    """Return a copy of ``config`` for the task's labels, and the tokenizer that a classifier reads with."""
    own = copy.deepcopy(config)
    own.id2label = dict(enumerate(head.labels))
    own.label2id = {label: i for i, label in enumerate(head.labels)}
    own.problem_type = PROBLEMS[head.kind]
    tokenizer = read_tokenizer(source)
    return own, rendered(tokenizer, own, place=str(source)) if row.decoder else tokenizer


def cut(
    source: Path, head: Head, *, layers: Sequence[int] | None, fields: Sequence[str], seed: int, max_length: int, rows: Sequence[Example] = ()
) -> TransformerStudent:
    """Return the student of ``layers`` (None: all) of the model in ``source``; see :func:`build`."""
    config = read_config(source)
    row = architecture(config.model_type, str(source))
    kept = tuple(range(getattr(config, row.count))) if layers is None else tuple(layers)
    small, tokenizer = _for_task(config, row, head, source)
    setattr(small, row.count, len(kept))
    with quiet(), seeded(rng.integer(seed, "student", "head")):
        model = AutoModelForSequenceClassification.from_config(small, attn_implementation="sdpa", dtype=torch.float32)
    if not _fill(model, source, row, kept, head):
        prior.start(model.get_submodule(row.classifier), rows, head)
    return TransformerStudent(model, head, tokenizer, preprocessing(model, tokenizer, row, fields, max_length), kept)


def _fill(model: PreTrainedModel, source: Path, row: Architecture, layers: Sequence[int], head: Head) -> bool:
    """Copy into ``model`` what the source has for it; what the source lacks (a head) stays as it was initialised. Return whether it has one."""
    with quiet(), seeded(0):  # what is random in the whole model is fresh, and not copied
        whole, info = AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.float32, output_loading_info=True, **SAFE)
    fresh = set(info["missing_keys"]) | {key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"]}
    state = whole.state_dict()
    order = _label_order(whole.config.id2label, head)
    for end in ("weight", "bias"):
        name = f"{row.classifier}.{end}"
        if order is None or name in fresh:
            state.pop(name, None)  # a decoder's has no bias
        elif name in state:
            state[name] = state[name][order]
    numbers = dict(enumerate(layers))
    wanted = {name: renamed(name, row.layer, numbers) for name in model.state_dict()}
    missing, unexpected = model.load_state_dict({name: state[old] for name, old in wanted.items() if old in state and old not in fresh}, strict=False)
    if unexpected or any(name.startswith(row.layer.split("{}")[0]) for name in missing):
        raise UserError("the model's weights don't cover its layers", place=str(source), remedy="is the folder complete?")
    return f"{row.classifier}.weight" in state and f"{row.classifier}.weight" not in fresh


def _label_order(id2label: dict[int, str], head: Head) -> list[int] | None:
    """Return, for each label of ``head``, its row in the source's classifier; None where the labels are others."""
    place = {label: int(i) for i, label in id2label.items()}
    return [place[label] for label in head.labels] if place.keys() == set(head.labels) else None


def preprocessing(model: PreTrainedModel, tokenizer: Any, row: Architecture, fields: Sequence[str], max_length: int) -> dict[str, Any]:
    """Return the spec of the source's own tokenization: every input that both the model and its tokenizer know, none dropped."""
    taken = inspect.signature(type(model).forward).parameters
    positions = model.config.max_position_embeddings - row.reserved
    return {
        "kind": "tokenizer", "file": "tokenizer.json", "fields": list(fields), "special_tokens": True,
        "max_length": int(min(max_length, positions, tokenizer.model_max_length)),
        "inputs": [name for name in INPUTS if name in taken and name in tokenizer.model_input_names],
        "pad": {"input_ids": int(tokenizer.pad_token_id or 0), "token_type_ids": int(tokenizer.pad_token_type_id)},
    }  # fmt: skip


def load(folder: Path) -> TransformerStudent:
    """Return the student that :meth:`TransformerStudent.save` wrote."""
    saved = read(folder, "transformer")
    with quiet():
        model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32, **SAFE)
    return TransformerStudent(model, head_of(saved), read_tokenizer(folder), saved["preprocess"], tuple(saved["spec"]["layers"]))


def eager(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy on the CPU with eager attention, in eval mode: exporters can't trace fused attention in every length."""
    with quiet(), seeded(0):
        twin = AutoModelForSequenceClassification.from_config(copy.deepcopy(model.config), attn_implementation="eager", dtype=torch.float32)
    twin.load_state_dict({name: value.detach().cpu() for name, value in model.state_dict().items()})
    return twin.eval()
