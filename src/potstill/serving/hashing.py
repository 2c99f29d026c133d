"""Hashed n-grams: texts to feature ids, at numpy speed over a whole batch, and the same in ten lines of plain Python.

The rule. The text is lower-cased. A word is a longest run of characters that ``WORD`` allows: ASCII letters and digits, and
everything above U+00BF but general, CJK and full-width punctuation; a fixed list, so that ids depend on no Unicode table
but that of ``str.lower``. Features, in this order: word n-grams joined by a space, by n, then by place; character
n-grams inside ``<word>`` with ``#`` put in front, by n, then by place. The first ``max_features`` are kept, repeats and
all. A feature's hash is the polynomial sum(code point k * P**k) mod 2**64, mixed by the finaliser of splitmix64 (Steele,
Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 17); its id is 1 + hash % buckets. Id 0 is
padding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

VERSION = 1  # of the rule: raised when a text could get other ids
WORD = r"[^\x00-/:-@[-`{-\xb4\xb6-\xbf\u2000-\u206f\u3000-\u303f\uff00-\uff0f]+"
P = 0x9E3779B97F4A7C15  # odd, so that it has an inverse mod 2**64
SPACE, LEFT, RIGHT, MARK = (np.uint64(ord(c)) for c in " <>#")  # none of them can stand in a word


def reference(text: str, spec: Mapping[str, Any]) -> list[int]:
    """Return the feature ids of one text: the rule itself, slowly."""
    words = re.findall(WORD, text.lower() if spec["lowercase"] else text)
    low, high = spec["word_ngrams"]
    grams = [" ".join(words[i : i + n]) for n in range(low, high + 1) for i in range(len(words) - n + 1)]
    low, high = spec["char_ngrams"] or (1, 0)
    grams += ["#" + f"<{word}>"[i : i + n] for n in range(low, high + 1) for word in words for i in range(len(word) + 3 - n)]
    ids = []
    for gram in grams[: spec["max_features"]]:
        h = sum(ord(c) * pow(0x9E3779B97F4A7C15, k, 2**64) for k, c in enumerate(gram)) % 2**64
        h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        h = (h ^ h >> 27) * 0x94D049BB133111EB % 2**64
        ids.append(1 + (h ^ h >> 31) % spec["buckets"])
    return ids


def encode(texts: Sequence[str], spec: Mapping[str, Any]) -> list[np.ndarray]:
    """Return what :func:`reference` does for each text, each *Shape:* (features,) int64; ``spec`` as :class:`preprocess.Hash` reads it."""
    lowered = [text.lower() for text in texts] if spec["lowercase"] else list(texts)
    return [ids for chunk in _chunks(lowered) for ids in _encode(chunk, spec)]


def _chunks(texts: list[str], characters: int = 1 << 14) -> Iterator[list[str]]:
    """Cut ``texts`` into runs whose features stay within a core's cache (measured: 1.4 times as fast as 2**17); a longer text is a chunk of its own."""
    chunk: list[str] = []
    size = 0
    for text in texts:
        if chunk and size + len(text) > characters:
            yield chunk
            chunk, size = [], 0
        chunk.append(text)
        size += len(text) + 1
    if chunk:
        yield chunk


def _encode(texts: list[str], spec: Mapping[str, Any]) -> list[np.ndarray]:
    points = np.frombuffer(("\n".join(texts) + "\n").encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    in_word = _word_table()[np.minimum(points, 0xFFFF)]
    edges = np.diff(in_word.view(np.int8), prepend=0)  # the last character is a separator, so each start has its end
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    row_ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    rows = np.searchsorted(row_ends, starts, side="right").astype(np.int32)  # *Shape:* (words,)
    lengths = ends - starts

    parts = _word_grams(points, starts, lengths, rows, spec["word_ngrams"])
    if spec["char_ngrams"]:
        parts += _char_grams(points[in_word], lengths, rows, spec["char_ngrams"])
    of_row = np.concatenate([rows[:0], *(part[0] for part in parts)])
    order = np.argsort(of_row, kind="stable")  # rows together, features of a row in the rule's order
    hashes = np.concatenate([np.zeros(0, np.uint64), *(part[1] for part in parts)])[order]
    counts = np.bincount(of_row, minlength=len(texts))
    ids = (_mix(hashes) % np.uint64(spec["buckets"])).astype(np.int64) + 1
    begins = (np.cumsum(counts) - counts).tolist()
    return [ids[begin : begin + count] for begin, count in zip(begins, np.minimum(counts, spec["max_features"]).tolist())]


Grams = list[tuple[np.ndarray, np.ndarray]]  # for each n: rows int32, hashes uint64, both *Shape:* (features,)


def _word_grams(points: np.ndarray, starts: np.ndarray, lengths: np.ndarray, rows: np.ndarray, sizes: Sequence[int]) -> Grams:
    powers, inverse = _powers(len(points) + 1)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(points * powers[: len(points)], dtype=np.uint64)])
    words = (sums[starts + lengths] - sums[starts]) * inverse[starts]
    step = powers[lengths]
    found = []
    for n in range(sizes[0], sizes[1] + 1):
        count = max(len(words) - n + 1, 0)
        hashes = words[n - 1 :][:count]
        for k in range(n - 2, -1, -1):  # "a b" is a + P**len(a) * (space + P * b)
            hashes = words[k:][:count] + step[k:][:count] * (SPACE + np.uint64(P) * hashes)
        whole = rows[:count] == rows[n - 1 :][:count]
        found.append((rows[:count][whole], hashes[whole]))
    return found


def _char_grams(letters: np.ndarray, lengths: np.ndarray, rows: np.ndarray, sizes: Sequence[int]) -> Grams:
    ends = np.cumsum(lengths + 2)  # of each <word>
    marked = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint64)
    marked[ends - lengths - 2], marked[ends - 1] = LEFT, RIGHT
    marked[marked == 0] = letters
    left = np.repeat(ends, lengths + 2) - np.arange(len(marked))  # characters from here to the end of the word
    row = np.repeat(rows, lengths + 2)
    found = []
    powers, _ = _powers(sizes[1] + 1)
    hashes = np.full(len(marked), MARK)
    for n in range(1, sizes[1] + 1):
        count = max(len(marked) - n + 1, 0)
        hashes = hashes[:count] + powers[n] * marked[n - 1 :]
        if n >= sizes[0]:
            whole = left[:count] >= n
            found.append((row[:count][whole], hashes[whole]))
    return found


def _mix(h: np.ndarray) -> np.ndarray:
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return P**k and its inverse mod 2**64 for k < at least ``count``."""
    return _powers_of_two_many(max(count - 1, 1).bit_length())


@cache
def _powers_of_two_many(bits: int) -> tuple[np.ndarray, np.ndarray]:
    def geometric(base: int) -> np.ndarray:
        factors = np.full(1 << bits, base, np.uint64)
        factors[0] = 1
        return np.cumprod(factors, dtype=np.uint64)

    return geometric(P), geometric(pow(P, -1, 2**64))


@cache
def _word_table() -> np.ndarray:
    """Return for each code point whether a word may hold it; all above U+FFFF are as U+FFFF."""
    allowed = re.compile(WORD)
    return np.fromiter((allowed.match(chr(point)) is not None for point in range(0x10000)), bool, 0x10000)
