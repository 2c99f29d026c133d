"""DistillKit's compression of log-probabilities, at the settings that its README documents, from a checkout: it is in no package registry."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

RECOMMENDED = {"k": 128, "exact_k": 16, "exact_dtype": "bfloat16", "polynomial_terms": [0, 1, 2, 3, 4, "sqrt"], "term_dtype": "float32"}
BUDGET = {"k": 50, "exact_k": 1, "exact_dtype": "bfloat16", "polynomial_terms": [0, 1, "sqrt"], "term_dtype": "float32"}
PLAIN = {"residual_bins": [], "delta_encoding": False, "error_diffusion": False}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "recommended": {**RECOMMENDED, **PLAIN},
    "recommended, normalize_t": {**RECOMMENDED, **PLAIN, "normalize_t": True},
    "budget": {**BUDGET, **PLAIN},
    "budget, normalize_t": {**BUDGET, **PLAIN, "normalize_t": True},
}  # fmt: skip


def compressor(checkout: Path, setting: str, vocabulary: int) -> Any:
    """Return its compressor: ``compress(logprobs)`` to tensors of bytes, ``decompress_to_sparse`` of these."""
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    from distillkit.compression.compressor import LogprobCompressor  # type: ignore[import-not-found, unused-ignore]
    from distillkit.compression.config import DistributionQuantizationConfig  # type: ignore[import-not-found, unused-ignore]

    return LogprobCompressor(config=DistributionQuantizationConfig(d=vocabulary, **SETTINGS[setting]))


def size(packed: Mapping[str, torch.Tensor]) -> float:
    """Return the bytes of a position."""
    return sum(float(part.numel() * part.element_size()) for part in packed.values()) / len(next(iter(packed.values())))
