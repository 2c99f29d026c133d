"""What reading a file gives: its columns where the format names them, and its rows, good and bad."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from ..errors import DataError

MAX_LINE: Final = 4_000_000  # bytes; a text may have 1 MB, and JSON may write a byte as six
GZIP: Final = ".gz"
TOO_LONG: Final = "text over 1 MB"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


class Line(NamedTuple):
    """One line of a file, from 1; ``cut`` where it was longer than ``MAX_LINE`` and was passed over."""

    number: int
    data: bytes
    cut: bool


@dataclass(frozen=True)
class Row:
    """A row: the line that it begins on (or its number, from 1), its values, or the reason why there are none."""

    line: int
    values: Mapping[str, Any] | None
    reason: str = ""
    raw: str = ""

    @staticmethod
    def bad(line: int, reason: str, data: bytes) -> Row:
        return Row(line, None, reason, data[:200].decode("utf-8", "replace"))


@dataclass(frozen=True)
class Table:
    """A file's rows; ``columns`` None where each row names its own; ``share`` tells how far reading is."""

    columns: Sequence[str] | None
    rows: Iterator[Row]
    share: Callable[[], float]


@dataclass
class Lines:
    """The lines of a file, plain or gzipped, in bounded memory. ``share`` says how much of it has been read."""

    path: Path
    share: float = field(default=0.0, init=False)

    def __iter__(self) -> Iterator[Line]:
        size = self.path.stat().st_size
        packed = self.path.suffix.lower() == GZIP
        with self.path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if packed else nullcontext(raw) as unpacked:
            try:
                for line in _cut(unpacked):
                    if line.number == 1:
                        line = self._first(line)
                    if line.number % 256 == 0:
                        self.share = min(1.0, raw.tell() / size)
                    yield line
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise DataError(f"the gzip file is damaged: {error}", place=str(self.path), remedy="fetch or write it again") from error
        self.share = 1.0

    def _first(self, line: Line) -> Line:
        if line.data.startswith(_UTF16):
            command = f"iconv -f UTF-16 -t UTF-8 '{self.path.name}'"
            raise DataError("the file is UTF-16, not UTF-8", place=str(self.path), remedy=f"convert it: {command}")
        return Line(line.number, line.data.removeprefix(b"\xef\xbb\xbf"), line.cut)


def _cut(file: IO[bytes] | gzip.GzipFile) -> Iterator[Line]:
    """Yield lines; of one longer than ``MAX_LINE`` only the quotes are looked at, the rest is passed over unread."""
    number = 0
    while data := file.readline(MAX_LINE):
        number += 1
        cut = len(data) == MAX_LINE and not data.endswith(b"\n")
        if cut:
            quotes, head = data.count(b'"'), data[:200]
            while data and not data.endswith(b"\n"):
                data = file.readline(MAX_LINE)
                quotes += data.count(b'"')
            data = b'"' * (quotes % 2) + head.replace(b'"', b"").rstrip(b"\n") + b"\n"  # a quote left open stays open for the lines after it
        yield Line(number, data, cut)
