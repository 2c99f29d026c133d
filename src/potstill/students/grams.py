"""The preprocessing of the kinds that read hashed n-grams, from their section of the recipe. Light: no torch, no library of trees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..serving.hashing import VERSION

MAX_FEATURES = 1024  # of a text: about 130 words with character n-grams


def preprocessing(kind: str, spec: Any, fields: Sequence[str]) -> dict[str, Any]:
    """Return the spec of ``kind`` ("hash" or "counts") over ``spec``'s buckets, ``word_ngrams`` and ``char_ngrams``."""
    return {
        "kind": kind, "buckets": spec.buckets, "word_ngrams": _range(spec.word_ngrams),
        "char_ngrams": _range(spec.char_ngrams) if spec.char_ngrams else None, "max_features": MAX_FEATURES, "lowercase": True,
        "fields": list(fields), "version": VERSION,
    }  # fmt: skip


def _range(sizes: Sequence[int]) -> list[int]:
    return [min(sizes), max(sizes)]
