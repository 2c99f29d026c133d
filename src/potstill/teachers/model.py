"""A teacher that is a ``transformers`` sequence classifier on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from .. import storage
from ..errors import TeacherError
from ..records import Answer, Answered, Example, Failed, Field, Head, Want
from ..students.attention import heads, watched
from . import loading
from .build import Given, known, task_names
from .files import folder_digest, local_folder, model_files
from .rows import batches, budget, has_surrogates, texts

TEMPLATE = 1  # raise it when the way in which fields become tokens changes
HALF = float(np.finfo(np.float16).max)
# From logits to what is kept of them: a sigmoid's input is the log-odds.
SCORES: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "logprobs": lambda logits: logits.log_softmax(dim=-1), "logodds": lambda logits: logits,
}  # fmt: skip


@dataclass(frozen=True)
class _Encoded:
    id: str
    inputs: Mapping[str, list[int]]

    @property
    def length(self) -> int:
        return len(self.inputs["input_ids"])


@final
class ModelTeacher:
    """See :class:`potstill.contracts.Teacher`. Gives ``logprobs`` (``logodds`` where any number of labels apply), ``hidden``, ``vector`` and, of the
    encoders in ``students.attention``, ``qkv``.

    ``logprobs``, ``logodds``: (1, classes) float32 in the order of ``labels``; ``hidden``: (tokens, width) float16, special tokens
    included, padding left out, layer 0 the embeddings; ``qkv``: (tokens, 3 * width) float16, likewise, a layer's queries, keys and
    values beside each other; ``vector``: (1, width) float32, the mean of the last layer over its tokens. Without a ``head`` it is
    the encoder alone, and has no labels.
    """

    repeated = 0

    def __init__(self, folder: Path, head: Head | None, *, given: Mapping[str, str], max_length: int, batch_size: int, precision: str,
                 known: Mapping[str, Any]) -> None:  # fmt: skip
        self.folder, self.max_length, self.batch_size, self._known = folder, max_length, batch_size, known
        self.name, self.labels, self._want = folder.name, head.labels if head else (), head.want if head else Want("logprobs")
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self.precision = loading.precision_of(precision, self._device)
        self._model, self._tokenizer = loading.classifier(folder, head.kind) if head else loading.encoder(folder)
        self._model.to(self._device)
        if max_length > (most := loading.longest(self._model, self._tokenizer)):
            raise TeacherError(f"the model takes {most} tokens", place=f"teacher.max_length: {max_length}", remedy=f"max_length: {most}")
        self._names: tuple[str, ...] = ()
        if head:
            id2label = self._model.config.id2label
            self._names = task_names(tuple(str(id2label[i]) for i in range(len(id2label))), given, head, place=str(folder))
        self._columns = torch.tensor([self._names.index(label) for label in self.labels], dtype=torch.int64, device=self._device)

    @property
    def training(self) -> bool:
        return bool(self._model.training)

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        yield from self._model.parameters()

    @cached_property
    def _identity(self) -> str:
        return storage.digest("model", TEMPLATE, folder_digest(self.folder), self.max_length, self.precision, self._names)

    def identity(self) -> str:
        """Return the digest of weights, configuration, tokenizer, ``max_length``, precision and the names given to its labels.

        The order of the task's labels is none of it: what is stored is stored by name.
        """
        return self._identity

    def offers(self) -> frozenset[str]:
        qkv = {"qkv"} if heads(self._model) else set()
        return frozenset({"hidden", "vector"} | qkv | ({self._want.kind} if self.labels else set()))

    def request(self, example: Example) -> bytes:
        return storage.canonical(texts(example.fields))

    def facts(self) -> Mapping[str, Any]:
        config = self._model.config
        return {
            "architecture": type(self._model).__name__,
            "parameters": sum(parameter.numel() for parameter in self._model.parameters()),
            "size_bytes": sum(path.stat().st_size for path in model_files(self.folder)),
            "layers": int(config.num_hidden_layers),
            "width": int(config.hidden_size),
            "heads": heads(self._model),
            "max_length": self.max_length,
            "precision": self.precision,
            "path": str(self.folder),
            "one_hot": False,
            **self._known,
        }

    def predict(self, rows: Sequence[Mapping[str, Field]]) -> np.ndarray:
        """Return log-probabilities, of labels log-odds *Shape:* (n, classes) float32: the teacher as it runs, without the store."""
        want = self._want
        said = dict(self.answer([Example(str(i), row) for i, row in enumerate(rows)], [want]))
        out = np.full((len(rows), len(self.labels)), np.nan, np.float32)
        for i in range(len(rows)):
            answer = said[str(i)]
            if not isinstance(answer, Answered):
                raise TeacherError(answer.reason, place=f"row {i}", remedy="leave this row out")
            out[i] = answer.arrays[want][0]
        return out

    def answer(self, examples: Sequence[Example], wants: Sequence[Want]) -> Iterator[tuple[str, Answer]]:
        """Yield an answer for each example, all at the end.

        So a call that is broken off leaves nothing half kept, and its repetition pads the same rows together: the last
        bits of floating point depend on that. Raises :class:`TeacherError` for a layer that there is not.
        """
        self._check(wants)
        encoded, answers = self._encode(examples)
        for batch in batches(encoded, budget(self.batch_size, self.max_length, self._device)):
            answers.update(self._forward(batch, wants))
        yield from answers.items()

    def _check(self, wants: Sequence[Want]) -> None:
        layers = int(self._model.config.num_hidden_layers)
        for want in wants:
            first = {"hidden": 0, "qkv": 1}.get(want.kind)
            if first is not None and (want.layer is None or not first <= want.layer <= layers):
                remedy = f"layers {first}{'' if first else ' (embeddings)'} to {layers}"
                raise TeacherError(f"the teacher has no layer {want.layer}", place=want.key, remedy=remedy)
            if want.top_k is not None or want.sample:
                raise TeacherError("a classifier gives all of its classes, and always the same", place=want.key)

    def _encode(self, examples: Sequence[Example]) -> tuple[list[_Encoded], dict[str, Answer]]:
        """Return the tokenized examples; those that can't be, as failures."""
        failures: dict[str, Answer] = {}
        by_fields: dict[tuple[str, ...], list[tuple[str, list[str]]]] = {}
        for example in examples:
            given = texts(example.fields)
            if any(has_surrogates(text) for text in given.values()):
                failures[example.id] = Failed("the text is not valid Unicode")
            else:
                by_fields.setdefault(tuple(given), []).append((example.id, list(given.values())))
        encoded = []
        for group in by_fields.values():
            columns = [list(column) for column in zip(*(row for _, row in group))]
            made = self._tokenizer(*columns, truncation=True, max_length=self.max_length, padding=False)
            for i, (id, _) in enumerate(group):
                encoded.append(_Encoded(id, {name: values[i] for name, values in made.items()}))
        return encoded, failures

    @torch.inference_mode()
    def _forward(self, batch: Sequence[_Encoded], wants: Sequence[Want]) -> list[tuple[str, Answer]]:
        with loading.quiet():
            made = self._tokenizer.pad({name: [item.inputs[name] for item in batch] for name in batch[0].inputs}, return_tensors="pt")
        inputs = {name: tensor.to(self._device) for name, tensor in made.items()}  # whatever this tokenizer gives: nothing is dropped
        deep = any(want.kind in ("hidden", "vector") for want in wants)
        attended = {want.layer for want in wants if want.kind == "qkv" and want.layer is not None}
        with watched(self._model, attended) as seen, torch.autocast(self._device, torch.bfloat16, enabled=self.precision == "bf16"):
            output = self._model(**inputs, output_hidden_states=deep)
        mask = inputs["attention_mask"].bool()
        made_of = {want: self._arrays(want, output, seen, mask) for want in wants}
        return [(item.id, Answered({want: made_of[want][i] for want in wants})) for i, item in enumerate(batch)]

    def _arrays(self, want: Want, output: Any, seen: Mapping[int, Sequence[torch.Tensor]], mask: torch.Tensor) -> list[np.ndarray]:
        """Return each row's array for one want; ``seen`` holds queries, keys and values by layer."""
        if want.by_label:
            scores = SCORES[want.kind](output.logits.float())[:, self._columns].cpu().numpy()  # (batch, classes)
            return [scores[i : i + 1] for i in range(len(scores))]
        if want.kind == "qkv":
            assert want.layer is not None  # _check
            return _halves(torch.cat(list(seen[want.layer]), dim=-1), mask)
        states = output.hidden_states[-1 if want.layer is None else want.layer]  # (batch, tokens, width)
        if want.kind == "vector":
            weights = mask.unsqueeze(-1).float()
            means = ((states.float() * weights).sum(1) / weights.sum(1)).cpu().numpy()
            return [means[i : i + 1] for i in range(len(means))]
        return _halves(states, mask)


def _halves(states: torch.Tensor, mask: torch.Tensor) -> list[np.ndarray]:
    """Return each row's real tokens in float16; outliers beyond 65,504 would become infinite."""
    half = states.float().clamp(-HALF, HALF).half()
    return [half[i][mask[i]].cpu().numpy() for i in range(len(half))]


def open_model(spec: Any, head: Head | None, given: Given) -> ModelTeacher:
    """Return the teacher of a recipe's `kind: model`, ``head`` None the encoder alone; its adapted folder goes before its own.

    Sets torch's threads where given.
    """
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    return ModelTeacher(
        local_folder(spec.model) if given.folder is None else local_folder(str(given.folder)), head, given=spec.labels, max_length=spec.max_length,
        batch_size=spec.batch_size, precision=spec.precision, known=known(spec),
    )  # fmt: skip
