"""The preprocessing of the kinds that read hashed n-grams, from their section of the recipe. Light: no torch, no library of trees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..serving.hashing import VERSION

MAX_CHARACTERS = 4096  # of a text: some 700 words
# What character n-grams weigh beside word n-grams. Measured by linear models of soft labels (a convex fit) on the validation rows of CR, TREC and
# SST-2: at 0.3 0.824, 0.880, 0.811; at 0.6 0.821, 0.880, 0.818; at none 0.818, 0.866, 0.809; each n-gram as much as any other 0.801, 0.846.
CHAR_WEIGHT = 0.5


def preprocessing(kind: str, spec: Any, fields: Sequence[str]) -> dict[str, Any]:
    """Return the spec of ``kind`` ("hash" or "counts") over ``spec``'s buckets, ``word_ngrams`` and ``char_ngrams``."""
    return {
        "kind": kind, "buckets": spec.buckets, "word_ngrams": _range(spec.word_ngrams),
        "char_ngrams": _range(spec.char_ngrams) if spec.char_ngrams else None, "char_weight": CHAR_WEIGHT, "max_characters": MAX_CHARACTERS, "lowercase": True,
        "fields": list(fields), "version": VERSION,
    }  # fmt: skip


def _range(sizes: Sequence[int]) -> list[int]:
    return [min(sizes), max(sizes)]
