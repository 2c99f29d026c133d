"""Words in a text, by place: a changed text is the text itself with some of its characters replaced, never tokens put together again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

_JOINS = "'’_"  # what stands between two parts of one word: "don't", "O’Brien", "snake_case"
_PIECE = re.compile(r"\S+")


class Span(NamedTuple):
    """Characters ``start`` to ``end`` of a text."""

    start: int
    end: int


@dataclass(frozen=True)
class Word:
    """A word of a text as a model reads it: its characters, and its tokens ``at`` their places among the text's."""

    span: Span
    at: tuple[int, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Read:
    """A text as a model reads it, its special tokens included, and those of its words that may be replaced."""

    text: str
    ids: list[int]
    types: list[int]
    words: list[Word]

    def written(self, place: int) -> str:
        span = self.words[place].span
        return self.text[span.start : span.end]


def is_word(text: str) -> bool:
    """Whether ``text`` is one word of letters; a single Latin letter is taken for a part of one."""
    return text.isalpha() and (len(text) > 1 or not text.isascii())


def stands_alone(text: str, span: Span) -> bool:
    """Whether the characters of ``span`` are a word, and not a part of one: the "don" of "don't", the "v" of "v2"."""
    if not is_word(text[span.start : span.end]):
        return False
    around = text[max(0, span.start - 1) : span.start], text[span.end : span.end + 1]
    return not any(beside and (beside in _JOINS or beside.isdigit()) for beside in around)


def pieces(text: str) -> list[Span]:
    """Return what stands between white space."""
    return [Span(*found.span()) for found in _PIECE.finditer(text)]


def cased(word: str, like: str) -> str:
    """Return ``word`` in capitals, or with one, where ``like`` is so; else as it is."""
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word


def replaced(text: str, changes: Iterable[tuple[Span, str]]) -> str:
    """Return ``text`` with the characters of each span (none overlap) replaced; all others are kept as they are."""
    out, at = [], 0
    for span, word in sorted(changes):
        out += [text[at : span.start], word]
        at = span.end
    return "".join([*out, text[at:]])
