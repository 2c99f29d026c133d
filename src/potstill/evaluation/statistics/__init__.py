"""Statistics, once and for all: numpy only, each function held to an oracle or a simulation in the tests."""

from __future__ import annotations

from .bootstrap import Paired, bca, seeds_and_rows
from .intervals import clopper_pearson, cluster_t, tango
from .power import rows_needed, rows_needed_assumed

__all__ = ["Paired", "bca", "clopper_pearson", "cluster_t", "rows_needed", "rows_needed_assumed", "seeds_and_rows", "tango"]
