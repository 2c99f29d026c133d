"""Near-duplicates between two sets of texts: MinHash over character shingles, banded, then checked exactly (Broder 1997).

Two texts are near-duplicates when the Jaccard similarity of their 5-character shingles reaches the threshold, both have at least five
words, and their numbers are the same: "type 1 diabetes" and "type 2 diabetes" are close in letters and far in meaning.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from .. import rng

SHINGLE, MIN_WORDS = 5, 5
BANDS, BAND_ROWS = 16, 4  # at similarity 0.85 a pair is missed with probability (1 - 0.85**4)**16 = 7e-6
_PRIME = np.uint64(1_099_511_628_211)


def normalized(text: str) -> str:
    """Return the text by which exact duplicates are told: case and spacing don't count."""
    return " ".join(text.lower().split())


def nearest(held: Sequence[str], others: Sequence[str], threshold: float) -> dict[int, tuple[int, float]]:
    """Return for each near-duplicate in ``others`` its place -> (place in ``held``, similarity). No-op (empty) at threshold 0."""
    if threshold <= 0 or not held or not others:
        return {}
    texts = [normalized(text) for text in (*held, *others)]
    long_enough = [len(text.split()) >= MIN_WORDS for text in texts]
    keys = _bands(texts)
    split = len(held)
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    for band in range(BANDS):
        for i in range(split):
            if long_enough[i]:
                buckets[band, int(keys[i, band])].append(i)
    shingles: dict[int, frozenset[str]] = {}

    def of(i: int) -> frozenset[str]:
        if i not in shingles:
            shingles[i] = frozenset(texts[i][k : k + SHINGLE] for k in range(max(1, len(texts[i]) - SHINGLE + 1)))
        return shingles[i]

    found: dict[int, tuple[int, float]] = {}
    for j in range(split, len(texts)):
        if not long_enough[j]:
            continue
        near = {i for band in range(BANDS) for i in buckets.get((band, int(keys[j, band])), ())}
        scored = [(len(of(i) & of(j)) / len(of(i) | of(j)), i) for i in near if _numbers(texts[i]) == _numbers(texts[j])]
        best = max(scored, default=(0.0, -1), key=lambda pair: (pair[0], -pair[1]))
        if best[0] >= threshold:
            found[j - split] = (best[1], best[0])
    return found


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d+", text)


def _bands(texts: Sequence[str]) -> np.ndarray:
    """Return one key a band *Shape:* (texts, BANDS) uint64: equal keys make a pair worth checking."""
    data = [text.encode("utf-8", "surrogatepass").ljust(SHINGLE, b" ") for text in texts]
    flat = np.frombuffer(b"".join(data), np.uint8).astype(np.uint64)
    ends = np.cumsum([len(d) for d in data])
    starts = np.concatenate([[0], ends[:-1]])
    hashes = np.zeros(len(flat) - SHINGLE + 1, np.uint64)
    for offset in range(SHINGLE):
        hashes = hashes * _PRIME + flat[offset : offset + len(hashes)]
    hashes ^= hashes >> np.uint64(29)
    # Shingles that run over a text's end belong to no text: they get the greatest hash, which no minimum takes.
    inside = np.zeros(len(hashes), bool)
    for start, end in zip(starts, ends):
        inside[start : end - SHINGLE + 1] = True
    random = rng.stream(0, "minhash")
    signature = np.empty((len(texts), BANDS * BAND_ROWS), np.uint64)
    first = np.minimum(starts, len(hashes) - 1)
    for k in range(BANDS * BAND_ROWS):
        factor, shift = (np.uint64(value | 1) for value in random.integers(1 << 62, size=2).tolist())
        mixed = (hashes * factor + shift) >> np.uint64(11)
        mixed[~inside] = np.iinfo(np.uint64).max
        signature[:, k] = np.minimum.reduceat(mixed, first)
    keys = np.zeros((len(texts), BANDS), np.uint64)
    for row in range(BAND_ROWS):
        keys = keys * _PRIME + signature[:, row::BAND_ROWS]
    return keys
