"""What reading a file gives: its columns where the format names them, and its rows, good and bad."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

MAX_LINE = 4_000_000  # bytes; a text may have 1 MB, and JSON may write a byte as six


class Line(NamedTuple):
    """One line of a file, from 1; ``cut`` where it was longer than ``MAX_LINE`` and was passed over."""

    number: int
    data: bytes
    cut: bool


class Lines(Protocol):
    share: float  # of the file that has been read

    def __iter__(self) -> Iterator[Line]: ...


@dataclass(frozen=True)
class Row:
    """A row where it stands: its values, or the reason why there are none."""

    place: str
    values: Mapping[str, Any] | None
    reason: str = ""
    raw: str = ""

    @staticmethod
    def bad(place: str, reason: str, data: bytes) -> Row:
        return Row(place, None, reason, data[:200].decode("utf-8", "replace"))


@dataclass(frozen=True)
class Table:
    """A file's rows; ``columns`` None where each row names its own; ``share`` tells how far reading is."""

    columns: Sequence[str] | None
    rows: Iterator[Row]
    share: Callable[[], float]
