"""What a text teacher reads of an example, and how its rows share batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from ..errors import TeacherError
from ..records import Field, Want

FIELDS = (("text",), ("text", "text_pair"))
# Padded tokens of a batch on a processor. Measured on SST-2 with MiniLM, one thread of a Zen 4, 256 rows: 512 is the fastest in torch's fp32
# and bf16, and within 4 % of it in ONNX Runtime; 4,096, which 32 rows of 128 tokens make, takes 30 % more, in ONNX Runtime 60 %.
CPU_TOKENS = 512


class Sized(Protocol):
    """Something that goes into a batch: its id, and the tokens that it takes."""

    @property
    def id(self) -> str: ...

    @property
    def length(self) -> int: ...


Item = TypeVar("Item", bound=Sized)


def texts(fields: Mapping[str, Field]) -> dict[str, str]:
    """Return the fields that a text model reads. Raises :class:`TeacherError` for others."""
    found = {name: value for name in FIELDS[-1] if isinstance(value := fields.get(name), str)}
    if tuple(found) not in FIELDS or len(found) != len(fields):
        raise TeacherError(f"a text model reads text, and text_pair; these rows have {', '.join(fields)}", place="teacher")
    return found


def has_surrogates(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def batches(items: Sequence[Item], tokens: int, *, rows: int | None = None, padded: bool = True) -> Iterator[list[Item]]:
    """Yield runs of the length-sorted items that, padded, hold at most ``tokens``: short texts go in larger batches.

    ``rows``: the most that a batch may hold; not ``padded``: only rows of one length share a batch.
    """
    batch: list[Item] = []
    for item in sorted(items, key=lambda item: (item.length, item.id)):
        full = item.length * (len(batch) + 1) > tokens or len(batch) == rows
        if batch and (full or not (padded or item.length == batch[0].length)):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def budget(batch_size: int, max_length: int, device: str = "cpu") -> int:
    """Return how many padded tokens a batch may hold: as many as ``batch_size`` longest rows, on a processor no more than pay there."""
    whole = batch_size * max_length
    return min(whole, max(CPU_TOKENS, max_length)) if device == "cpu" else whole


def only_logprobs(name: str, what: str, wants: Sequence[Want]) -> None:
    """Raise :class:`TeacherError` unless nothing but log-probabilities is wanted."""
    for want in wants:
        if want != Want("logprobs"):
            raise TeacherError(f"{what} can't give '{want.key}'", place=name)
