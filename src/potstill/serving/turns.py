"""Conversations as a language model reads them: the preprocessing of ``task: text-generation``, in training, where it is judged and where it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from ..errors import BundleError, UserError
from ..records import Field
from .conversation import Conversation, Turn, conversation
from .preprocess import Item, pad
from .rendering import Rendered, Renderer, fitted

IGNORED = -100  # where no token is to be foretold: the field's `ignore_index`
NEXT = "next_ids"  # beside a model's inputs, in what ``collate`` gives


@dataclass(frozen=True)
class Turns:
    """Rows of ``messages``, of ``prompt`` and ``completion``, or of ``text``, through a ``tokenizers`` file and a chat template.

    Spec: ``file``; ``max_length`` in tokens; ``end`` and, where a row begins with one, ``begin``: ids; ``pad``: an id; ``template``, ``special``,
    ``options``: see :class:`.rendering.Renderer`; ``every_turn``: learn all of an assistant's turns, not the last alone.

    An item is a row: its windows end to end (a conversation has one, a long text several). Its arrays, each *Shape:* (tokens,): ``input_ids``,
    ``learnt`` 1 where the token is to be foretold, ``window`` counted from 0. A batch has a line a window, in order: ``input_ids`` and
    ``attention_mask``, and ``next_ids``: at each place the token that is foretold there, -100 where none is. So the learnt positions of a batch
    stand end to end in the order of its items, and each item has as many as its ``learnt`` has ones.
    """

    renderer: Renderer
    max_length: int
    pad: int
    every_turn: bool = False
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")

    @staticmethod
    def read(spec: Mapping[str, Any], folder: Path) -> Turns:
        path = folder / str(spec["file"])
        try:
            tokenizer = Tokenizer.from_str(path.read_text("utf-8"))
        except Exception as error:  # tokenizers raises no narrower one
            raise BundleError(f"the tokenizer can't be read: {error}", place=str(path), remedy="restore the file or write it again") from error
        return Turns.make(spec, tokenizer)

    @staticmethod
    def make(spec: Mapping[str, Any], tokenizer: Tokenizer) -> Turns:
        """Return the preprocessing over a copy of ``tokenizer`` that neither pads nor cuts."""
        own = Tokenizer.from_str(tokenizer.to_str())
        own.no_padding()
        own.no_truncation()
        renderer = Renderer(
            own, int(spec["end"]), spec.get("begin"), spec.get("template"), dict(spec.get("special", {})), dict(spec.get("options", {}))
        )  # fmt: skip
        return Turns(renderer, int(spec["max_length"]), int(spec["pad"]), bool(spec.get("every_turn", False)))

    def windows(self, row: Mapping[str, Field]) -> list[Rendered]:
        """Return a row's windows. Raises :class:`DataError` for a row of no known form, :class:`UserError` for turns that the template refuses."""
        return self.renderer.rows(conversation(row, every_turn=self.every_turn), self.max_length)

    def size(self, row: Mapping[str, Field]) -> float:
        """Return the bytes of the text that is learnt in a row; of an answer that was cut, the share of its tokens that is left."""
        told = conversation(row, every_turn=self.every_turn)
        windows = self.renderer.rows(told, self.max_length)
        kept, lost = (sum(int(part) for part in parts) for parts in ((w.learnt.sum() for w in windows), (w.lost for w in windows)))
        return sum(len(turn.content.encode()) for turn in told.turns if turn.learnt) * kept / max(kept + lost, 1)

    def question(self, row: Mapping[str, Field]) -> np.ndarray:
        """Return what the model is given to answer *Shape:* (tokens,) int64: the last tokens of it where it is longer than ``max_length``."""
        ids = self.asked(row)
        return fitted(ids, [False] * len(ids), self.max_length, keep=int(ids[:1] == [self.renderer.begin])).ids.astype(np.int64)

    def asked(self, row: Mapping[str, Field]) -> list[int]:
        """Return :meth:`question`'s tokens, however many they are."""
        return self.renderer.question(conversation(row))

    @cached_property
    def stops(self) -> frozenset[int]:
        """The tokens that end an answer: the tokenizer's own, and the one that the chat template ends answers by."""
        own = {self.renderer.end}
        if self.renderer.template is not None:
            told = Conversation((Turn("user", "?"), Turn("assistant", "!", True)))
            (row,) = self.renderer.rows(told, 1 << 20)
            own.add(int(row.ids[row.learnt][-1]))
        return frozenset(own)

    def encode(self, rows: Sequence[Mapping[str, Field]]) -> list[Item]:
        return [_item(self.windows(row)) for row in rows]

    def collate(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        lines = [line for item in items for line in _lines(item)]
        return pad(lines, (*self.inputs, NEXT), {"input_ids": self.pad, NEXT: IGNORED})

    def length(self, item: Item) -> int:
        return len(item["input_ids"])


def spec_of(
    tokenizer: Any, *, max_length: int, template: str | None = None, options: Mapping[str, Any] | None = None, every_turn: bool = False
) -> dict[str, Any]:
    """Return the spec of a tokenizer of ``transformers``; ``template`` goes before its own. Raises :class:`UserError` for one without an end."""
    if tokenizer.eos_token_id is None:
        remedy = "set eos_token in its tokenizer_config.json: without it nothing learns to stop"
        raise UserError("the tokenizer has no end token", place=str(tokenizer.name_or_path), remedy=remedy)
    first = tokenizer("a")["input_ids"][:1]
    own = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None
    return {
        "kind": "turns", "file": "tokenizer.json", "max_length": max_length, "end": int(tokenizer.eos_token_id),
        "begin": int(first[0]) if first and first[0] == tokenizer.bos_token_id else None,
        "pad": int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id),  # masked, so it may be any
        "template": template or own, "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)},
        "options": dict(options or {}), "every_turn": every_turn, "fields": [],
    }  # fmt: skip


def learnt(item: Item) -> int:
    """Return how many positions of an item are learnt: the units of a teacher's answer to it."""
    return int(item["learnt"].sum())


def _item(windows: Sequence[Rendered]) -> Item:
    none = np.zeros(0, np.int64)
    return {
        "input_ids": np.concatenate([none, *(window.ids for window in windows)]).astype(np.int64),
        "learnt": np.concatenate([none, *(window.learnt for window in windows)]).astype(np.int64),
        "window": np.repeat(np.arange(len(windows)), [len(window.ids) for window in windows]),
    }


def _lines(item: Item) -> list[Item]:
    """Return an item's windows as what a model reads, and what each place foretells."""
    found: list[Item] = []
    for number in range(int(item["window"].max(initial=-1)) + 1):
        ids, wanted = (item[name][item["window"] == number] for name in ("input_ids", "learnt"))
        ahead = np.full(len(ids), IGNORED, np.int64)
        ahead[:-1] = np.where(wanted[1:] > 0, ids[1:], IGNORED)
        found.append({"input_ids": ids, "attention_mask": np.ones(len(ids), np.int64), NEXT: ahead})
    return found
