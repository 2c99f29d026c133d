"""Statistics, once and for all: numpy only, each function held to an oracle or a simulation in the tests."""

from __future__ import annotations

from .bootstrap import Paired, bca, jackknife_t, seeds_and_rows
from .intervals import clopper_pearson, cluster_t, grouped_difference, grouped_share, tango, tango_bounds
from .power import rows_needed, rows_needed_assumed, rows_needed_mean, rows_needed_share
from .scores import Score, score, share

__all__ = [
    "Paired", "Score", "bca", "clopper_pearson", "cluster_t", "grouped_difference", "grouped_share", "jackknife_t", "rows_needed",
    "rows_needed_assumed", "rows_needed_mean", "rows_needed_share", "score", "seeds_and_rows", "share",
    "tango", "tango_bounds",
]  # fmt: skip
