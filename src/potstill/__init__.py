"""potstill distils a big model into a small one that is good enough for one use, and proves it."""

from __future__ import annotations

__version__ = "0.1.0"
