"""Who knows: a local model, or answers that someone already has.

Reads a model's folder or files of answers, writes nothing; what it says is asked for and kept by ``labels``.
"""

from __future__ import annotations

from .build import build

__all__ = ["build"]
