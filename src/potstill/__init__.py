"""potstill distils a big model into a small one that is good enough for one use, and proves it."""

from __future__ import annotations

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """The public names are loaded when they are first used, so that importing stays light."""
    if name in ("distill", "Run"):
        from . import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'potstill' has no attribute '{name}'")


__all__ = ["Run", "__version__", "distill"]
