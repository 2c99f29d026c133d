"""The steps of ``pipeline.py``: each hands one stage its section of the recipe and its inputs, through the cache.

Reads: the recipe. Writes: ``stages/`` of the run folder, and what CONTRACT names beside it. Heavy parts are loaded when they
are called, so that a run whose stages are all done loads none of them.
"""

from __future__ import annotations

from .augment import Augmented, augment
from .data import prepare
from .estimate import agree
from .evidence import Evidence
from .judge import candidates, open_test, speed
from .label import ask_ahead
from .learn import learn_all
from .report import baseline, report
from .robustness import robustness
from .rounds import label_in_rounds
from .suspects import suspects
from .teach import adapt, standing

__all__ = [
    "Augmented",
    "Evidence",
    "adapt",
    "agree",
    "ask_ahead",
    "augment",
    "baseline",
    "candidates",
    "label_in_rounds",
    "learn_all",
    "open_test",
    "prepare",
    "report",
    "robustness",
    "speed",
    "standing",
    "suspects",
]
