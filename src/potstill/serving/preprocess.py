"""From fields to the arrays that a model reads, as data: what a spec of plain JSON says, in numpy and tokenizers alone.

Training, export and serving build the same preprocessing from the same spec, so that none of them can drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tokenizers import Tokenizer

from ..errors import BundleError, DataError
from ..lookup import did_you_mean, load
from ..records import Field
from ..redact import Redactor
from . import hashing

Item = Mapping[str, np.ndarray]  # one row's arrays by input name, each *Shape:* (length,): ids int64, weights float32


class Preprocess(Protocol):
    """Fields in, padded arrays out. ``encode`` does the dear part once, ``collate`` only pads."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the model's inputs, in order."""

    def encode(self, rows: Sequence[Mapping[str, Field]]) -> list[Item]:
        """Return for each row its arrays by input name, each *Shape:* (length,). Raises DataError for a field missing or no text."""

    def collate(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        """Return the items padded to the longest, each array *Shape:* (rows, max(length, 1)); counts have their own, see :class:`Counts`.

        Of no items it gives arrays without rows, of the types that the model reads.
        """

    def length(self, item: Item) -> int:
        """Return the item's length: what its cost grows with."""


def build(spec: Mapping[str, Any], folder: Path) -> Preprocess:
    """Return the preprocessing that ``spec`` describes; files that it names are in ``folder``. ``replace``: see :class:`Replaced`.

    Raises :class:`BundleError` for a kind, version or key that this potstill lacks, and for a file that can't be read.
    """
    kinds: dict[str, Callable[[Mapping[str, Any], Path], Preprocess]] = {
        "tokenizer": Tokenized.read, "hash": Hashed.read, "counts": Counts.read, "turns": _turns,
    }  # fmt: skip
    kind = str(spec.get("kind"))
    if kind not in kinds:
        raise BundleError(f"unknown preprocessing '{kind}'", place=str(folder), remedy=did_you_mean(kind, kinds))
    try:
        return replaced(kinds[kind](spec, folder), spec, folder)
    except KeyError as error:
        raise BundleError(f"the preprocessing has no {error}", place=str(folder), remedy="write the artifact again") from error


def _turns(spec: Mapping[str, Any], folder: Path) -> Preprocess:
    made: Preprocess = load("potstill.serving.turns:Turns").read(spec, folder)  # which stands on this module
    return made


@dataclass(frozen=True)
class Replaced:
    """Another preprocessing, over texts in which what names a person was replaced: in training and where it answers alike.

    Spec: ``replace``, a list of rules as :class:`potstill.redact.Rule` reads them. No key is needed: a word stands for its kind.
    """

    of: Preprocess
    redactor: Redactor

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.of.inputs

    def encode(self, rows: Sequence[Mapping[str, Field]]) -> list[Item]:
        return self.of.encode([self.redactor.fields(row) for row in rows])

    def collate(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        return self.of.collate(items)

    def length(self, item: Item) -> int:
        return self.of.length(item)


def replaced(of: Preprocess, spec: Mapping[str, Any], folder: Path) -> Preprocess:
    """Return ``of`` as ``spec`` wants it: over replaced texts where it says ``replace``. Raises :class:`BundleError` for rules that are none."""
    if not spec.get("replace"):
        return of
    try:
        return Replaced(of, Redactor.plain(spec["replace"]))
    except (KeyError, TypeError, AttributeError, re.error) as error:
        remedy = "install a newer potstill, or write the artifact again"
        raise BundleError(f"the rules by which texts are replaced can't be read: {error!r}", place=str(folder), remedy=remedy) from error


@dataclass(frozen=True)
class Tokenized:
    """Text or a text pair through a ``tokenizers`` file.

    Spec: ``file``; ``max_length`` in tokens, special ones included, the longest of a pair cut first; ``fields``: one or
    two; ``inputs``: of ``input_ids``, ``attention_mask``, ``token_type_ids``; ``pad``: value by input, 0 unless named;
    ``special_tokens``: added unless false; ``drop``: token ids that are taken out, none unless named.
    """

    tokenizer: Tokenizer  # without padding, with truncation
    inputs: tuple[str, ...]
    fields: tuple[str, ...]
    special_tokens: bool
    pad: Mapping[str, int]
    drop: tuple[int, ...] = ()

    @staticmethod
    def read(spec: Mapping[str, Any], folder: Path) -> Tokenized:
        path = folder / str(spec["file"])
        try:
            tokenizer = Tokenizer.from_str(path.read_text("utf-8"))
        except Exception as error:  # tokenizers raises no narrower one
            raise BundleError(f"the tokenizer can't be read: {error}", place=str(path), remedy="restore the file or write it again") from error
        return Tokenized.make(spec, tokenizer)

    @staticmethod
    def make(spec: Mapping[str, Any], tokenizer: Tokenizer) -> Tokenized:
        """Return the preprocessing over a copy of ``tokenizer``: its own padding and truncation are replaced by the spec's."""
        own = Tokenizer.from_str(tokenizer.to_str())
        own.no_padding()
        own.enable_truncation(int(spec["max_length"]))
        inputs, fields = tuple(spec["inputs"]), tuple(spec["fields"])
        return Tokenized(own, inputs, fields, spec.get("special_tokens", True), dict(spec.get("pad", {})), tuple(spec.get("drop", ())))

    def encode(self, rows: Sequence[Mapping[str, Field]]) -> list[Item]:
        texts = [tuple(map(whole, _texts(row, self.fields))) for row in rows]
        given = [pair if len(pair) > 1 else pair[0] for pair in texts]
        encodings = self.tokenizer.encode_batch_fast(given, add_special_tokens=self.special_tokens)
        return [self._item(encoding) for encoding in encodings]

    def _item(self, encoding: Any) -> Item:
        ids = np.array(encoding.ids, np.int64)
        made = {"input_ids": ids, "attention_mask": np.ones(len(ids), np.int64)}
        if "token_type_ids" in self.inputs:
            made["token_type_ids"] = np.array(encoding.type_ids, np.int64)
        if self.drop:
            kept = ~np.isin(ids, self.drop)
            made = {name: values[kept] for name, values in made.items()}
        return {name: made[name] for name in self.inputs}

    def collate(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        return pad(items, self.inputs, self.pad)

    def length(self, item: Item) -> int:
        return len(item[self.inputs[0]])


@dataclass(frozen=True)
class Hashed:
    """Hashed word and character n-grams and their weights, as :mod:`hashing` defines them; several fields are joined by a line end.

    Spec: ``buckets``; ``word_ngrams`` [low, high]; ``char_ngrams`` [low, high] or null; ``char_weight``; ``max_characters``; ``lowercase``;
    ``fields``; ``version`` of the rule; ``words``: a file with the hashes of :class:`hashing.Words`, none unless named.
    """

    spec: Mapping[str, Any]
    fields: tuple[str, ...]
    words: hashing.Words | None = None
    inputs: tuple[str, ...] = ("ids", "weights")

    @staticmethod
    def read(spec: Mapping[str, Any], folder: Path) -> Hashed:
        words = _words(folder / str(spec["words"])) if spec.get("words") else None
        return Hashed(_hashing(spec, folder), tuple(spec["fields"]), words)

    def encode(self, rows: Sequence[Mapping[str, Field]]) -> list[Item]:
        texts = ["\n".join(_texts(row, self.fields)) for row in rows]
        return [{"ids": ids, "weights": weights} for ids, weights in hashing.encode(texts, self.spec, self.words)]

    def collate(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        return pad(items, self.inputs, {})

    def length(self, item: Item) -> int:
        return len(item["ids"])


def _words(path: Path) -> hashing.Words:
    try:
        hashes = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(f"the table of words can't be read: {error}", place=str(path), remedy="restore the file or write it again") from error
    if hashes.ndim != 1 or hashes.dtype != np.uint64 or not len(hashes):
        raise BundleError("this is no table of words", place=str(path), remedy="restore the file or write it again")
    return hashing.Words(hashes)


@dataclass(frozen=True)
class Counts:
    """How often each hashed n-gram stands in a text: what trees read. The spec is that of :class:`Hashed`; an item has no weights.

    A batch is dense, *Shape:* (rows, buckets) float32, its column k the feature with the id k + 1; items stay as sparse as they are.
    """

    spec: Mapping[str, Any]
    fields: tuple[str, ...]
    inputs: tuple[str, ...] = ("counts",)

    @staticmethod
    def read(spec: Mapping[str, Any], folder: Path) -> Counts:
        return Counts(_hashing(spec, folder), tuple(spec["fields"]))

    def encode(self, rows: Sequence[Mapping[str, Field]]) -> list[Item]:
        return [{"ids": item["ids"]} for item in Hashed(self.spec, self.fields).encode(rows)]

    def collate(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        buckets = int(self.spec["buckets"])
        places = [number * buckets + item["ids"] - 1 for number, item in enumerate(items)]
        counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *places]), minlength=len(items) * buckets)
        return {"counts": counts.astype(np.float32).reshape(len(items), buckets)}

    def length(self, item: Item) -> int:
        return len(item["ids"])


def _hashing(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return what :mod:`hashing` reads of ``spec``; raises :class:`BundleError` for another version of its rule."""
    if spec["version"] != hashing.VERSION:
        known = f"this potstill knows version {hashing.VERSION}"
        remedy = "install a newer potstill" if spec["version"] > hashing.VERSION else "train the student again: its features weigh otherwise now"
        raise BundleError(f"hashing of version {spec['version']}, {known}", place=str(folder), remedy=remedy)
    return {name: spec[name] for name in ("buckets", "word_ngrams", "char_ngrams", "char_weight", "max_characters", "lowercase")}


def _texts(row: Mapping[str, Field], fields: Sequence[str]) -> tuple[str, ...]:
    found = []
    for name in fields:
        text = row.get(name)
        if not isinstance(text, str):
            what = "is missing" if text is None else f"is {type(text).__name__}, not text"
            raise DataError(f"the field '{name}' {what}", remedy=f"this model reads: {', '.join(fields)}; given: {', '.join(row) or 'nothing'}")
        found.append(text)
    return tuple(found)


def whole(text: str) -> str:
    """Return ``text`` with halves of surrogate pairs, which JSON allows and UTF-8 does not, as U+FFFD."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


TYPES: Mapping[str, type] = {"weights": np.float32}  # of inputs; others are int64


def pad(items: Sequence[Item], names: Sequence[str], values: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Return the named arrays of ``items``, padded to the longest by ``values`` (0 unless named): see :meth:`Preprocess.collate`."""
    lengths = np.fromiter((len(item[names[0]]) for item in items), np.int64, len(items))
    there = np.arange(max([1, *lengths])) < lengths[:, None]  # one column at least: a model can't read an array without
    arrays: dict[str, np.ndarray] = {}
    for name in names:
        arrays[name] = np.full(there.shape, values.get(name, 0), TYPES.get(name, np.int64))
        if items:
            arrays[name][there] = np.concatenate([item[name] for item in items])
    return arrays
