"""What crosses borders between stages: plain frozen records, standard library and numpy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from .errors import SealedError
from .storage import canonical, sha256_bytes


@dataclass(frozen=True)
class Blob:
    """A field that is a file (an image, a sound): known by its content, found by its path."""

    sha256: str
    path: Path

    def canonical(self) -> dict[str, str]:
        return {"sha256": self.sha256}  # never the path: moving a file makes no new example


Field = str | Sequence[Any] | Blob
NO_LABEL = "(no label)"


@dataclass(frozen=True)
class Example:
    """One input: its fields, what people say the answer is, and where it came from.

    ``id`` is the sha256 of the canonical fields, so equal inputs have equal ids wherever they stand. ``gold`` is a label, or, where
    any number of labels may apply, the sorted tuple of those that do; None where nobody said.
    """

    id: str
    fields: Mapping[str, Field]
    gold: Any | None = None
    group: str | None = None
    place: str = ""  # "train.jsonl:17", for people
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # other columns of the row, by which results may be sliced

    @staticmethod
    def make(
        fields: Mapping[str, Field], *, gold: Any | None = None, group: str | None = None, place: str = "",
        columns: Mapping[str, str] = MappingProxyType({}),
    ) -> Example:  # fmt: skip
        return Example(field_digest(fields), MappingProxyType(dict(fields)), gold, group, place, MappingProxyType(dict(columns)))

    @property
    def labels(self) -> tuple[str, ...]:
        """The gold labels: one, or any number of them; none, too, where there is no gold."""
        return () if self.gold is None else self.gold if isinstance(self.gold, tuple) else (str(self.gold),)

    @property
    def told(self) -> str | None:
        """The gold answer in words, for people: "spam", or "refund, complaint", or "none of them"; None where there is none."""
        return None if self.gold is None else in_words(self.labels)


def in_words(labels: Sequence[str]) -> str:
    """Return an answer in words, for people."""
    return ", ".join(labels) or NO_LABEL


def field_digest(fields: Mapping[str, Field]) -> str:
    """Return the sha256 (hex) of the canonical form of ``fields``."""
    plain = {name: value.canonical() if isinstance(value, Blob) else value for name, value in fields.items()}
    return sha256_bytes(canonical(plain))


@dataclass(frozen=True)
class Want:
    """One thing that an objective needs to know of the teacher. Each is a column family of the store.

    ``logprobs``: (units, classes) float32, natural log, normalised; ``logodds``: (units, labels) float32, log p - log(1 - p) of
    each label on its own, the input of its sigmoid; ``hidden``: (tokens, width) of ``layer`` (0 = embeddings); ``qkv``:
    (tokens, 3 * width), the queries, keys and values of ``layer`` (from 1), never length x length; ``vector``: (1, width).
    ``states``: (positions, width) float16, what goes into a language model's head where a token is learnt, in row order; ``tokens``: (1, bytes)
    uint8, what it said there as the token store writes it, by the codebook and in the way that ``coded`` names. ``text``: (tokens, 1) int32, the ids
    of an answer that it wrote itself, the one that ends it among them; ``coded`` says how.
    ``sample`` numbers repeated answers to one input. Log-odds, because from log p near 0 nobody gets 1 - p back: float32 holds
    log p of p = 1 - 1e-9 as 0. A family of their own, because the same model may be asked for either.
    """

    kind: Literal["logprobs", "logodds", "hidden", "vector", "text", "qkv", "rationale", "states", "tokens"]
    layer: int | None = None
    top_k: int | None = None
    sample: int = 0
    coded: str | None = None

    @property
    def key(self) -> str:
        parts = [self.kind, *(f"{name}={value}" for name, value in (("layer", self.layer), ("top_k", self.top_k), ("coded", self.coded)) if value is not None)]
        return ":".join(parts + ([f"sample={self.sample}"] if self.sample else []))

    @property
    def by_label(self) -> bool:
        """Whether its columns are the teacher's labels, so that they are stored by name."""
        return self.kind in ("logprobs", "logodds")


@dataclass(frozen=True)
class Answered:
    """What the teacher said: for each want an array whose first axis is that want's units."""

    arrays: Mapping[Want, np.ndarray]


@dataclass(frozen=True)
class Refused:
    """The teacher would not answer."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """No answer could be had; asking again may help."""

    reason: str


Answer = Answered | Refused | Failed


HeadKind = Literal["classes", "labels", "tokens"]


WANTED: Mapping[HeadKind, Want] = {"classes": Want("logprobs"), "labels": Want("logodds"), "tokens": Want("states")}


@dataclass(frozen=True)
class Head:
    """What a student must put out: one score for each label, in the order of ``labels``.

    ``classes``: one of them applies, the scores go through a softmax; ``labels``: any number of them apply, none too, and each score
    is the log-odds of its label; ``tokens``: a language model's, over its own vocabulary, so it names no labels.
    """

    kind: HeadKind
    labels: tuple[str, ...]

    @property
    def width(self) -> int:
        return len(self.labels)

    @property
    def want(self) -> Want:
        """What a teacher is asked for, to be taught and judged by."""
        return WANTED[self.kind]

    @property
    def named(self) -> tuple[Any, ...]:
        """What stands for the head in a fingerprint: that of classes is their names alone."""
        return self.labels if self.kind == "classes" else (self.kind, self.labels)


@dataclass(frozen=True)
class Split:
    """Rows that may be looked at: train, validation, calibration or the pool. Never the test rows."""

    name: Literal["train", "validation", "calibration", "unlabeled"]
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    @property
    def digest(self) -> str:
        return rows_digest(self.examples)

    @property
    def groups(self) -> np.ndarray | None:
        return group_numbers(self.examples)


@dataclass(frozen=True)
class Registration:
    """What was fixed before the test rows were opened: the requirement, the rows and the analysis, in a file that exists."""

    hash: str
    test_hash: str
    time: str
    path: Path


@dataclass(frozen=True)
class SealedSplit:
    """The test rows, closed until the analysis is registered. It has a size and a digest, and nothing that could choose.

    ``load`` reads the rows; only :meth:`open` calls it.
    """

    digest: str
    size: int
    load: Callable[[], tuple[Example, ...]] = field(repr=False, compare=False)

    def __len__(self) -> int:
        return self.size

    def open(self, registration: Registration) -> tuple[Example, ...]:
        """Return the rows. Raises :class:`SealedError` unless ``registration`` is for these rows and is on disk."""
        if registration.test_hash != self.digest or not registration.path.is_file():
            raise SealedError("the test rows were asked for before their analysis was registered", place=str(registration.path))
        rows = self.load()
        if rows_digest(rows) != self.digest:
            raise SealedError("the test rows are not those that were registered", place=str(registration.path))
        return rows


def group_numbers(examples: Sequence[Example]) -> np.ndarray | None:
    """Return the rows' groups as integers *Shape:* (rows,), None where a row has none."""
    if any(example.group is None for example in examples):
        return None
    return np.unique([str(example.group) for example in examples], return_inverse=True)[1]


def rows_digest(examples: Sequence[Example]) -> str:
    """Return the sha256 over ids, gold, groups and columns in order: what any use of the rows depends on."""
    return sha256_bytes(canonical([[e.id, e.gold, e.group, dict(e.columns)] for e in examples]))


@dataclass(frozen=True)
class Artifact:
    """An exported model, ready to answer: a folder, and what was done to make it.

    ``folder`` holds ``artifact.json`` (format, preprocessing, head, temperature), ``model.onnx`` and, where it has
    one, ``tokenizer.json``.
    """

    folder: Path
    precision: Literal["fp32", "int8"]
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Check:
    """One line of the requirement, decided: the value, its bounds, and whether it holds."""

    name: str
    required: float
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    status: Literal["pass", "fail", "inconclusive"]
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Interval:
    """A value with its bounds; ``n`` counts the independent units behind it."""

    value: float
    low: float
    high: float
    n: int = 0
    method: str = ""


@dataclass(frozen=True)
class Limits:
    """What a run's teacher may cost at most, over all of the run's invocations; None: as much as it takes."""

    usd: float | None = None
    tokens: int | None = None
    calls: int | None = None


@dataclass(frozen=True)
class Parcel:
    """Rows whose requests went to a server in one file, under ``name``; ``remote``: the server's number of it, None where it never came back."""

    name: str
    remote: str | None
    rows: tuple[Example, ...]


@dataclass(frozen=True)
class Usage:
    """Calls to the teacher and what they cost; ``possibly_paid`` counts calls that a kill left unsettled."""

    teacher_calls: int = 0
    cached_calls: int = 0
    possibly_paid: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(a + b for a, b in zip(astuple(self), astuple(other))))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*(a - b for a, b in zip(astuple(self), astuple(other))))
