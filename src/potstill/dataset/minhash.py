"""Near-duplicates between two sets of texts: MinHash over character shingles, banded, each find checked exactly.

A text's shingles are its runs of five characters, its ends padded so that a change at an end weighs what a change inside does; the
similarity of two texts is the Jaccard index of their sets of shingles. One changed character changes five shingles: at 0.85 two texts
of under about 60 characters are near only where they are equal, case and spacing apart. Two rules keep short texts apart that are close
in letters and far in meaning, whatever the threshold: texts under ``SHORT`` characters are never near ("type 1 diabetes", "type 2
diabetes"), and the numbers of texts under ``LONG`` characters must be the same. In longer texts, a changed date makes no new text.

Source: Broder, "On the resemblance and containment of documents" (1997); banding: Leskovec et al., "Mining of Massive Datasets", 3.4.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .. import rng

SHINGLE = 5  # characters
SHORT, LONG = 32, 200  # characters; see above
HEAD = 20_000  # characters of a text that are compared: bounded work for a file that went astray
HASHES = 128  # the estimate's standard error is at most 0.045, 0.032 at 0.85
MISSED = 1e-3  # the most a pair at the threshold may be missed by the bands
_CHUNK = 1 << 17  # shingles hashed at a time: they stay in the processor's cache
_PAIRS = 1 << 15  # pairs whose signatures are compared at a time
_PAD = "\0" * (SHINGLE - 1)
_EACH = 8  # likeliest twins of a row that are checked exactly, in each band


def normalized(text: str) -> str:
    """Return the text by which exact duplicates are told: case, spacing and the spelling of accents don't count."""
    composed = text if text.isascii() else unicodedata.normalize("NFC", text)
    return " ".join(composed.casefold().split())


@dataclass(frozen=True)
class Sketch:
    """Texts as they are compared, and their MinHash signatures *Shape:* (texts, HASHES) uint32."""

    texts: tuple[str, ...]
    signatures: np.ndarray

    def compared(self) -> np.ndarray:
        """Return the places of the texts that are long enough to be near to another."""
        return np.flatnonzero([len(text) >= SHORT for text in self.texts])


def sketch(texts: Sequence[str]) -> Sketch:
    """Return the sketch of ``texts``; the same texts have the same sketch, always."""
    short = tuple(normalized(text[: 2 * HEAD])[:HEAD] for text in texts)
    signatures = np.empty((len(short), HASHES), np.uint32)
    at = 0
    while at < len(short):
        end, size = at, 0
        while end < len(short) and (end == at or size + len(short[end]) <= _CHUNK):
            size += len(short[end]) + len(_PAD)
            end += 1
        signatures[at:end] = _signatures(short[at:end])
        at = end
    return Sketch(short, signatures)


def joined(sketches: Sequence[Sketch]) -> Sketch:
    """Return one sketch of all texts, in order."""
    return Sketch(tuple(text for one in sketches for text in one.texts), np.concatenate([one.signatures for one in sketches]))


def nearest(held: Sketch, others: Sketch, threshold: float) -> dict[int, tuple[int, float]]:
    """Return for each text of ``others`` that is near to one of ``held`` its place -> (place in ``held``, similarity).

    No-op (empty) at threshold 0. A near text's twin is one whose similarity reaches the threshold, not always the nearest.
    """
    left, pending = held.compared(), others.compared()
    found: dict[int, tuple[int, float]] = {}
    if threshold <= 0:
        return found
    rows = band_rows(threshold)
    for start in range(0, HASHES - rows + 1, rows):
        if not len(left) or not len(pending):
            break
        keys = [_keys(side.signatures[places, start : start + rows]) for side, places in ((held, left), (others, pending))]
        for i, j in _pairs(*keys):
            _check(held, others, left[i], pending[j], threshold, found)
        pending = pending[~np.isin(pending, list(found))]
    return found


def band_rows(threshold: float) -> int:
    """Return the most hashes a band can have so that a pair at ``threshold`` is missed with probability <= ``MISSED``."""
    fits = [rows for rows in range(1, HASHES + 1) if (1 - threshold**rows) ** (HASHES // rows) <= MISSED]
    return max(fits, default=1)


def similarity(one: str, other: str) -> float:
    """Return the Jaccard index of two normalized texts' shingles."""
    a, b = _shingles(one), _shingles(other)
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


# ------------------------------------------------------------------------------------------------------------- hashing
def _hashes(texts: Sequence[str]) -> np.ndarray:
    """Return one hash a shingle *Shape:* (sum of lengths + 4 a text,) uint64; two texts share the padding between them."""
    codes = np.frombuffer((_PAD + "".join(text + _PAD for text in texts)).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    count = len(codes) - SHINGLE + 1
    hashes = np.zeros(count, np.uint64)
    for offset in range(SHINGLE):
        hashes *= np.uint64(0x100000001B3)
        hashes += codes[offset : offset + count]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64: each bit depends on all
        hashes ^= hashes >> np.uint64(shift)
        hashes *= np.uint64(factor)
    return hashes ^ (hashes >> np.uint64(31))


def _signatures(texts: Sequence[str]) -> np.ndarray:
    """Return for each of ``HASHES`` orders of all shingles the first that a text has *Shape:* (texts, HASHES) uint32."""
    hashes = _hashes(texts)
    starts = np.concatenate([[0], np.cumsum([len(text) + len(_PAD) for text in texts])[:-1]])
    flips, factors = rng.stream(0, "minhash").integers(1 << 63, size=(2, HASHES), dtype=np.uint64)
    signatures = np.empty((len(texts), HASHES), np.uint32)
    for k in range(HASHES):
        mixed = (hashes ^ flips[k]) * (factors[k] | np.uint64(1))
        signatures[:, k] = np.minimum.reduceat(mixed, starts) >> np.uint64(32)
    return signatures


@lru_cache(maxsize=2048)
def _shingles(text: str) -> np.ndarray:
    return np.unique(_hashes([text]))


# --------------------------------------------------------------------------------------------------------------- pairs
def _keys(signatures: np.ndarray) -> np.ndarray:
    """Return one key a row *Shape:* (n, rows of a band) -> (n,) uint64: equal keys make a pair worth a look."""
    keys = np.zeros(len(signatures), np.uint64)
    for column in signatures.T:
        keys = (keys ^ column) * np.uint64(0x9E3779B97F4A7C15)
    return keys


def _pairs(held: np.ndarray, others: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield places (i, j) with ``held[i] == others[j]``, about ``_PAIRS`` at a time, all of one j together."""
    order = np.argsort(held, kind="stable")
    low, high = (np.searchsorted(held[order], others, side) for side in ("left", "right"))
    counts = high - low
    places = np.flatnonzero(counts)
    if not len(places):
        return
    ends = np.cumsum(counts[places])
    cuts = np.flatnonzero(np.diff(ends // _PAIRS)) + 1
    for part in np.split(places, cuts):
        sizes = counts[part]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        yield order[np.repeat(low[part], sizes) + within], np.repeat(part, sizes)


def _check(held: Sketch, others: Sketch, i: np.ndarray, j: np.ndarray, threshold: float, found: dict[int, tuple[int, float]]) -> None:
    """Add to ``found`` the pairs (i, j) that reach ``threshold``; signatures tell which are worth an exact look."""
    estimate = np.concatenate([
        (held.signatures[i[at : at + _PAIRS]] == others.signatures[j[at : at + _PAIRS]]).mean(axis=1) for at in range(0, len(i), _PAIRS)
    ])  # fmt: skip
    likely = np.flatnonzero(estimate >= threshold - 4 * np.sqrt(threshold * (1 - threshold) / HASHES))
    tried: dict[int, int] = {}
    for pair in likely[np.lexsort((i[likely], -estimate[likely]))].tolist():
        here, there = int(j[pair]), int(i[pair])
        tried[here] = tried.get(here, 0) + 1
        if here in found or tried[here] > _EACH or not _same_numbers(held.texts[there], others.texts[here]):
            continue
        if (score := similarity(held.texts[there], others.texts[here])) >= threshold:
            found[here] = (there, score)


def _same_numbers(one: str, other: str) -> bool:
    return min(len(one), len(other)) >= LONG or re.findall(r"\d+", one) == re.findall(r"\d+", other)
