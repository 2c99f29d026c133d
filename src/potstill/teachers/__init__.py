"""Who knows: a local model, an ONNX file, a function, answers that someone already has, or several of these.

Reads models and files of answers, writes nothing; what it says is asked for and kept by ``labels``.
"""

from __future__ import annotations

from .build import build

__all__ = ["build"]
