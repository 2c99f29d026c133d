"""A teacher that is a causal language model of ``transformers`` on this machine: what it says of each token that is to be learnt, and what it writes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import Tensor

from .. import storage
from ..errors import TeacherError, UserError
from ..objectives.tokens import models
from ..objectives.tokens.heads import Head as TokenHead
from ..records import Answer, Answered, Example, Failed, Head, Want
from ..serving.preprocess import Item
from ..serving.turns import IGNORED, NEXT, Turns, spec_of
from . import loading, speaking
from .build import Given, known
from .files import folder_digest, local_folder, model_files
from .gguf import usable
from .model import HALF
from .reading import content, read, unread
from .rows import batches, budget

VERSION = 1  # raise it when the way in which rows become states changes
CHUNK_BYTES = 32 << 20  # of logits that stand in memory at a time


class Coder(Protocol):
    """What writes the store's value of a row; see :mod:`potstill.labels.tokens.coders`."""

    @property
    def name(self) -> str: ...

    def encode(self, key: bytes, states: np.ndarray, scores: Iterable[np.ndarray]) -> bytes: ...


@dataclass(frozen=True)
class _Line:
    """One window of a row, an item of its own."""

    id: str
    number: int
    item: Item

    @property
    def length(self) -> int:
        return len(self.item["input_ids"])


@final
class CausalTeacher:
    """See :class:`potstill.contracts.Teacher`. Gives ``states``, ``text`` and, once a coder was handed to it, ``tokens``; it has no labels.

    ``states``: (positions, width) float16, what goes into its head at each place that foretells a learnt token, in row order; ``tokens``:
    (1, bytes) uint8, what it said there as the coder of that name writes it; ``text``: see :func:`.speaking.wanted`. The model itself is loaded
    when it is first asked, so that a run whose answers are all kept loads none. Its vocabulary is its tokenizer's: rows of its head that pad it
    have no part in what it says.
    """

    repeated = 0
    labels: tuple[str, ...] = ()

    def __init__(
        self, folder: Path, *, max_length: int, batch_size: int = 32, precision: str = "fp32", known: Mapping[str, Any] | None = None,
        template: str | None = None, options: Mapping[str, Any] | None = None, every_turn: bool = False,
    ) -> None:  # fmt: skip
        self.folder, self.name, self.max_length, self.batch_size, self._known = folder, folder.name, max_length, batch_size, dict(known or {})
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self.precision = loading.precision_of(precision, self._device)
        self._tokenizer, self._config = loading.tokenizer(folder), loading.config(folder)
        self._context = loading.longest(SimpleNamespace(config=self._config), self._tokenizer)
        if max_length > self._context:
            remedy = f"max_length: {self._context}"
            raise TeacherError(f"the model takes {self._context} tokens", place=f"teacher.max_length: {max_length}", remedy=remedy)
        self.spec = spec_of(self._tokenizer, max_length=max_length, template=template, options=options, every_turn=every_turn)
        self.turns = Turns.make(self.spec, self._tokenizer.backend_tokenizer)
        self._coders: dict[str, Coder] = {}

    # ------------------------------------------------------------------------------------------------------ who it is
    @cached_property
    def _identity(self) -> str:
        return storage.digest("causal", VERSION, folder_digest(self.folder), self.precision, {**self.spec, "file": ""})

    def identity(self) -> str:
        """Return the digest of weights, configuration, tokenizer, chat template and its options, ``max_length`` and precision."""
        return self._identity

    def offers(self) -> frozenset[str]:
        return frozenset({"states", "tokens", "text"})

    def facts(self) -> Mapping[str, Any]:
        head = self.head
        return {
            "architecture": type(self._model).__name__,
            "parameters": sum(parameter.numel() for parameter in self._model.parameters()),
            "size_bytes": sum(path.stat().st_size for path in model_files(self.folder)),
            "layers": int(self._config.num_hidden_layers),
            "width": head.width,
            "heads": int(self._config.num_attention_heads),
            "vocabulary": head.vocabulary,
            "head": {"softcap": head.softcap, "scale": float(head.scale), "bias": head.bias is not None},
            "max_length": self.max_length,
            "precision": self.precision,
            "path": str(self.folder),
            **self._known,
        }

    # ---------------------------------------------------------------------------------------------------- what is read
    def request(self, example: Example) -> bytes:
        """Return the row's ids, which of them are learnt, and their windows: all that its answer depends on beside the teacher."""
        item = read(self.turns, example)
        return unread(example) if isinstance(item, str) else content(item)

    def items(self, rows: Sequence[Example]) -> list[Item]:
        """Return rows as the teacher reads them. Raises :class:`TeacherError` for one that it can't."""
        found = [read(self.turns, row) for row in rows]
        for row, item in zip(rows, found):
            if isinstance(item, str):
                raise TeacherError(item, place=row.place, remedy="leave this row out")
        return [item for item in found if not isinstance(item, str)]

    # -------------------------------------------------------------------------------------------------------- answers
    def teach(self, coder: Coder) -> None:
        """Answer ``Want("tokens", coded=coder.name)`` by this coder from now on."""
        self._coders[coder.name] = coder

    def answer(self, examples: Sequence[Example], wants: Sequence[Want]) -> Iterator[tuple[str, Answer]]:
        """Yield an answer for each example, all at the end.

        So a call that is broken off leaves nothing half kept, and its repetition pads the same rows together: the last
        bits of floating point depend on that. Raises :class:`TeacherError` for tokens by a coder that it was not handed.
        """
        self._check(wants)
        made = {example.id: read(self.turns, example) for example in examples}
        answers: dict[str, Answer] = {id: Failed(item) for id, item in made.items() if isinstance(item, str)}
        items = {id: item for id, item in made.items() if not isinstance(item, str)}
        spoken, learnt = ([want for want in wants if (want.kind == "text") == own] for own in (True, False))
        arrays: dict[str, dict[Want, np.ndarray]] = {id: {} for id in items}
        for want in spoken:
            for id, ids in self._written({example.id: example.fields for example in examples if example.id in items}, speaking.limit(want)):
                arrays[id][want] = ids
        for id, states in self.states(items) if learnt else ():
            if not torch.isfinite(states).all():
                answers[id] = Failed("its states are not finite")
            else:
                arrays[id] |= {want: self._array(want, items[id], states) for want in learnt}
        yield from ({id: Answered(found) for id, found in arrays.items()} | answers).items()

    def ask(self, items: Sequence[Item]) -> Tensor:
        """Return the states of items, end to end *Shape:* (positions, width) float32: the teacher as it runs, without the store."""
        found = dict(self.states({str(n): item for n, item in enumerate(items)}))
        return torch.cat([found[str(n)] for n in range(len(items))])

    def _check(self, wants: Sequence[Want]) -> None:
        for want in wants:
            if want.kind == "tokens" and want.coded not in self._coders:
                raise TeacherError(f"tokens by '{want.coded}', a coder that the teacher was not handed", place=want.key, remedy="fit the codebook first")
            if want.kind == "text":
                speaking.limit(want)
            if want.sample or want.top_k is not None or want.layer is not None:
                raise TeacherError("a language model says always the same of a text, and all of it", place=want.key)

    def _array(self, want: Want, item: Item, states: Tensor) -> np.ndarray:
        if want.kind == "states":
            half: np.ndarray = states.clamp(-HALF, HALF).half().cpu().numpy()
            return half
        value = self._coders[str(want.coded)].encode(content(item), states.cpu().numpy(), self._chunks(states))
        return np.frombuffer(value, np.uint8)[None]

    def states(self, items: Mapping[str, Item]) -> Iterator[tuple[str, Tensor]]:
        """Yield each item's states by id *Shape:* (positions, width) float32: what goes into the head, row by row as they are done.

        Windows of like length share a batch, whosever they are.
        """
        lines = [line for id, item in items.items() for line in _lines(id, item)]
        left = Counter(line.id for line in lines)
        found: dict[str, dict[int, Tensor]] = {id: {} for id in items}
        for id in items.keys() - left.keys():  # rows of no tokens
            yield id, torch.empty(0, self.head.width, device=self._device)
        for batch in batches(lines, budget(self.batch_size, self.max_length, self._device)):
            for line, states in zip(batch, self._forward(batch)):
                found[line.id][line.number] = states
                if len(found[line.id]) == left[line.id]:
                    parts = found.pop(line.id)
                    yield line.id, torch.cat([parts[number] for number in sorted(parts)])

    @torch.no_grad()
    def _forward(self, batch: Sequence[_Line]) -> list[Tensor]:
        arrays = self.turns.collate([line.item for line in batch])
        inputs = {name: torch.from_numpy(arrays[name]).to(self._device) for name in self.turns.inputs}
        with torch.autocast(self._device, torch.bfloat16, enabled=self.precision == "bf16"):
            states = models.states_of(self._model, inputs).float()
        there = torch.from_numpy(arrays[NEXT] != IGNORED).to(self._device)
        return [states[i][there[i]] for i in range(len(batch))]

    @torch.no_grad()
    def ticks(self, rows: Sequence[Mapping[str, Any]], tokens: int) -> Iterator[None]:
        """Yield each time all ``rows``, one batch, have got another of ``tokens`` tokens, the likeliest, ended or not: for whoever measures time."""
        asked = [self.turns.question(row)[-max(1, self.max_length - tokens) :] for row in rows]
        length = max(1, *map(len, asked))
        ids, mask = (torch.full((len(rows), length), fill, device=self._device) for fill in (self.turns.pad, 0))
        for line, own in enumerate(asked):
            ids[line, length - len(own) :], mask[line, length - len(own) :] = torch.from_numpy(own), 1
        mask[:, -1], cache = 1, None  # something must foretell the first token
        for _ in range(tokens):
            logits, cache = self._next(ids, mask, cache)
            ids = logits.argmax(dim=1, keepdim=True)
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
            yield

    def _written(self, rows: Mapping[str, Mapping[str, Any]], most: int) -> Iterator[tuple[str, np.ndarray]]:
        return speaking.written(self._next, self.turns, rows, most=most, context=self._context, batch=self.batch_size, device=self._device)

    @torch.no_grad()
    def _next(self, ids: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Read on by ``ids`` *Shape:* (rows, length); return the logits of what comes next (rows, vocabulary), and the cache that grew by them."""
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with torch.autocast(self._device, torch.bfloat16, enabled=self.precision == "bf16"):
            out = self._model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1, : len(self._tokenizer)], out.past_key_values

    # ------------------------------------------------------------------------------------------------------- the model
    @cached_property
    def _model(self) -> Any:
        model = loading.language_model(self.folder).to(self._device)
        try:
            models.check(model, place=str(self.folder))
        except UserError as error:
            raise TeacherError(error.message, place=error.place, remedy=error.remedy) from error
        return model

    @property
    def training(self) -> bool:
        return bool(self._model.training)

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        yield from self._model.parameters()

    @cached_property
    def head(self) -> TokenHead:
        """What makes logits of states, over the tokenizer's own tokens."""
        whole, size = models.head_of(self._model), len(self._tokenizer)
        return TokenHead(whole.weight[:size], None if whole.bias is None else whole.bias[:size], scale=whole.scale, softcap=whole.softcap)

    @cached_property
    def head_digest(self) -> bytes:
        """The sha256 of the head: kept states are read with this one alone."""
        found = hashlib.sha256(storage.canonical([float(self.head.scale), self.head.softcap, list(self.head.weight.shape)]))
        for part in (self.head.weight, self.head.bias):
            found.update(b"" if part is None else part.detach().float().cpu().contiguous().numpy().data)
        return found.digest()

    @torch.no_grad()
    def distribution(self, states: Tensor) -> Tensor:
        """Return the logits of ``states`` (positions, width) *Shape:* (positions, vocabulary) float32."""
        return models.logits(self.head, states.to(self.head.weight.device))

    def scores(self, states: np.ndarray) -> np.ndarray:
        """Return the logits of states as arrays *Shapes:* (positions, width) -> (positions, vocabulary) float32."""
        found: np.ndarray = self.distribution(torch.from_numpy(states)).cpu().numpy()
        return found

    def _chunks(self, states: Tensor) -> Iterator[np.ndarray]:
        """Yield the logits of ``states``, as many positions at a time as :data:`CHUNK_BYTES` hold."""
        for some in states.split(max(1, CHUNK_BYTES // (4 * self.head.vocabulary))):
            if len(some):
                yield self.distribution(some).cpu().numpy()


def _lines(id: str, item: Item) -> list[_Line]:
    numbers = range(int(item["window"].max(initial=-1)) + 1)
    parts = [{name: values[item["window"] == number] for name, values in item.items()} for number in numbers]
    return [_Line(id, number, {**part, "window": np.zeros_like(part["window"])}) for number, part in enumerate(parts)]


def open_causal(spec: Any, head: Head, given: Given) -> CausalTeacher:
    """Return the teacher of a recipe's ``kind: model`` for a task of texts. A GGUF file is converted first. Sets torch's threads where given."""
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    if spec.precision.startswith("onnx"):
        raise TeacherError(f"a language model can't be asked in {spec.precision}", place="teacher.precision", remedy="name fp32 or bf16")
    folder = given.folder if given.folder is not None else usable(Path(spec.model).expanduser(), spec.gguf_file)
    return CausalTeacher(
        local_folder(str(folder)), max_length=spec.max_length, batch_size=spec.batch_size, precision=spec.precision, known=known(spec),
        template=spec.chat.template, options=spec.chat.options, every_turn=spec.chat.every_turn,
    )  # fmt: skip
