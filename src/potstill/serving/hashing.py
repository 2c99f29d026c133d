"""Hashed n-grams: texts to feature ids and their weights, at numpy speed over a whole batch, and the same in a few lines of plain Python.

The rule. The text is lower-cased. A word is a longest run of characters that ``WORD`` allows: ASCII letters and digits, and
everything above U+00BF but general, CJK and full-width punctuation; a fixed list, so that ids depend on no Unicode table
but that of ``str.lower``. The first ``max_characters`` of the text are read. Features, in this order: word n-grams joined by a space, by n, then by
place; character n-grams inside ``<word>`` with ``#`` put in front, by n, then by place; repeats and all. A feature's hash is the
polynomial sum(code point k * P**k) mod 2**64, mixed by the finaliser of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable
pseudorandom number generators", figure 17); its id is 1 + hash % buckets. Id 0 is padding. A text's w word n-grams weigh 1 / sqrt(w)
each, its c character n-grams ``char_weight`` / sqrt(c).

A model that adds up what its features weigh can have what the character n-grams of a word come to ready in one row: the words of a
:class:`Words` have one id each in the place of their character n-grams, and the sum is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

VERSION = 2  # of the rule: raised when a text could get other ids or weights
WORD = r"[^\x00-/:-@[-`{-\xb4\xb6-\xbf\u2000-\u206f\u3000-\u303f\uff00-\uff0f]+"
P = 0x9E3779B97F4A7C15  # odd, so that it has an inverse mod 2**64
SPACE, LEFT, RIGHT, MARK = (np.uint64(ord(c)) for c in " <>#")  # none of them can stand in a word
Features = tuple[np.ndarray, np.ndarray]  # of a text: ids int64 and weights float32, each *Shape:* (features,)


def reference(text: str, spec: Mapping[str, Any]) -> tuple[list[int], list[float]]:
    """Return the feature ids of one text and their weights: the rule itself, slowly."""
    words = re.findall(WORD, (text.lower() if spec["lowercase"] else text)[: spec["max_characters"]])
    low, high = spec["word_ngrams"]
    grams = [" ".join(words[i : i + n]) for n in range(low, high + 1) for i in range(len(words) - n + 1)]
    low, high = spec["char_ngrams"] or (1, 0)
    chars = ["#" + f"<{word}>"[i : i + n] for n in range(low, high + 1) for word in words for i in range(len(word) + 3 - n)]
    ids = []
    for gram in grams + chars:
        h = sum(ord(c) * pow(0x9E3779B97F4A7C15, k, 2**64) for k, c in enumerate(gram)) % 2**64
        h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        h = (h ^ h >> 27) * 0x94D049BB133111EB % 2**64
        ids.append(1 + (h ^ h >> 31) % spec["buckets"])
    return ids, [len(grams) ** -0.5 for _ in grams] + [spec["char_weight"] * len(chars) ** -0.5 for _ in chars]


@dataclass(frozen=True)
class Words:
    """Words whose character n-grams have one id together: a word is known where its polynomial hash stands in its slot, which its mixed hash tells.

    ``hashes`` *Shape:* (slots,) uint64, 0 where nothing stands; the id of slot k is 1 + buckets + k. Words that share a slot with
    another are not known: no loss but of time.
    """

    hashes: np.ndarray

    @staticmethod
    def of(words: Sequence[str]) -> Words:
        """Return a table of distinct ``words``, two slots or more for each; of those that share a slot the first stays."""
        slots = 1 << max(len(words) * 2 - 1, 1).bit_length()
        hashes = np.zeros(slots, np.uint64)
        found = _hashes_of(words)
        hashes[(_mix(found) % np.uint64(slots))[::-1]] = found[::-1]
        return Words(hashes)

    def slots_of(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return for words' hashes their slots int64, and whether they are known."""
        slots = (_mix(hashes) % np.uint64(len(self.hashes))).astype(np.int64)
        return slots, self.hashes[slots] == hashes

    def rows(self, words: Sequence[str]) -> dict[int, str]:
        """Return which of ``words`` stands in which slot."""
        slots, known = self.slots_of(_hashes_of(words))
        return {int(slot): word for slot, word, there in zip(slots, words, known) if there}


def words_of(text: str, spec: Mapping[str, Any]) -> list[str]:
    """Return the words of a text that :func:`reference` reads."""
    return re.findall(WORD, (text.lower() if spec["lowercase"] else text)[: spec["max_characters"]])


def encode(texts: Sequence[str], spec: Mapping[str, Any], words: Words | None = None) -> list[Features]:
    """Return what :func:`reference` does for each text, but that each of ``words`` has one id for its character n-grams, put before the
    others' in their order; ``spec`` as :class:`preprocess.Hashed` reads it."""
    most, lowercase = spec["max_characters"], spec["lowercase"]
    read = [(text.lower() if lowercase else text)[:most] for text in texts]
    return [features for chunk in _chunks(read) for features in _encode(chunk, spec, words)]


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


def _encode(texts: list[str], spec: Mapping[str, Any], known: Words | None) -> list[Features]:
    points = _points("\n".join(texts) + "\n")
    in_word = _word_table()[np.minimum(points, 0xFFFF)]
    edges = np.diff(in_word.view(np.int8), prepend=0)  # the last character is a separator, so each start has its end
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    row_ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    rows = np.searchsorted(row_ends, starts, side="right").astype(np.int32)  # *Shape:* (words,)
    lengths = ends - starts
    hashes, steps = _hash(points, starts, lengths)

    buckets = spec["buckets"]
    parts = [(row, _ids(h, buckets)) for row, h in _word_grams(hashes, steps, rows, spec["word_ngrams"])]
    weights = [_weights(parts, len(texts), 1.0)]
    if spec["char_ngrams"]:
        weights.append(_char_weights(lengths, rows, len(texts), spec))
        if known is not None:
            slots, there = known.slots_of(hashes)
            parts.append((rows[there], slots[there] + (buckets + 1)))
            starts, lengths, rows = starts[~there], lengths[~there], rows[~there]
        parts += [(row, _ids(h, buckets)) for row, h in _char_grams(points[_spans(starts, lengths)], lengths, rows, spec["char_ngrams"])]
    words = spec["word_ngrams"][1] - spec["word_ngrams"][0] + 1  # parts
    of_row = np.concatenate([part[0] for part in parts])
    order = np.argsort(of_row, kind="stable")  # rows together, features of a row in the rule's order
    ids = np.concatenate([part[1] for part in parts])[order]
    weigh = np.concatenate([weights[k >= words][row] for k, (row, _) in enumerate(parts)])[order]
    cuts = np.cumsum(np.bincount(of_row, minlength=len(texts))).tolist()
    return [(ids[begin:end], weigh[begin:end]) for begin, end in zip([0, *cuts], cuts)]


Grams = list[tuple[np.ndarray, np.ndarray]]  # for each n: rows int32, hashes uint64, both *Shape:* (features,)


def _weights(parts: Grams, rows: int, weight: float) -> np.ndarray:
    """Return what each feature of a row weighs *Shape:* (rows,) float32: ``weight`` over the root of their number."""
    return _over_root(sum((np.bincount(row, minlength=rows) for row, _ in parts), np.zeros(rows, np.int64)), weight)


def _char_weights(lengths: np.ndarray, rows: np.ndarray, count: int, spec: Mapping[str, Any]) -> np.ndarray:
    """Return the same for character n-grams, which need not be made for that: a word of L letters has L + 3 - n of n."""
    low, high = spec["char_ngrams"]
    found = sum((np.maximum(lengths + 3 - n, 0) for n in range(low, high + 1)), np.zeros_like(lengths))
    return _over_root(np.bincount(rows, weights=found, minlength=count), spec["char_weight"])


def _over_root(counts: np.ndarray, weight: float) -> np.ndarray:
    return (weight / np.sqrt(np.maximum(counts, 1))).astype(np.float32)


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _hash(points: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the words' polynomial hashes and P**length, both *Shape:* (words,) uint64."""
    powers, inverse = _powers(len(points) + 1)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(points * powers[: len(points)], dtype=np.uint64)])
    return (sums[starts + lengths] - sums[starts]) * inverse[starts], powers[lengths]


def _hashes_of(words: Sequence[str]) -> np.ndarray:
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    return _hash(_points("".join(words)), np.cumsum(lengths) - lengths, lengths)[0]


def _spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the places of all characters of some words, one word after the other."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)


def _word_grams(words: np.ndarray, steps: np.ndarray, rows: np.ndarray, sizes: Sequence[int]) -> Grams:
    found = []
    for n in range(sizes[0], sizes[1] + 1):
        count = max(len(words) - n + 1, 0)
        hashes = words[n - 1 :][:count]
        for k in range(n - 2, -1, -1):  # "a b" is a + P**len(a) * (space + P * b)
            hashes = words[k:][:count] + steps[k:][:count] * (SPACE + np.uint64(P) * hashes)
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


def _ids(hashes: np.ndarray, buckets: int) -> np.ndarray:
    return (_mix(hashes) % np.uint64(buckets)).astype(np.int64) + 1


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
