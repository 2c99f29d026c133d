"""What the teacher said: each distinct request is asked once, ever, and its answer kept.

Reads and writes the label store (by default ``$POTSTILL_HOME/labels``), which all runs share.
"""

from __future__ import annotations

from .account import Account
from .answers import Answers
from .ask import ask
from .store import LabelStore

__all__ = ["Account", "Answers", "LabelStore", "ask"]
