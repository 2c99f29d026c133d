"""What can be measured, and what was found of it: plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .energy import REASON


@dataclass(frozen=True)
class Subject:
    """Something to measure: ``ref`` ("module:function") opens it from ``spec`` (JSON) and gives an object with
    ``predict(rows, batch_size=...)``, which sorts rows by length itself."""

    name: str
    ref: str
    spec: Mapping[str, Any]


@dataclass
class Measured:
    """``latency_ms``: p50, p95, p99 of single calls, each {value, low, high, n} or None where the calls were too few;
    ``throughput_per_s`` rows a second at the best ``batch_size``, the median of ``rounds``; ``peak_memory_bytes`` of its process,
    interpreter and libraries included; ``start_s`` from opening to the first answer; energy in joules per 1,000 rows, of the whole
    processor package."""

    latency_ms: dict[str, Any] = field(default_factory=dict)
    throughput_per_s: float = 0.0
    rounds: list[float] = field(default_factory=list)  # rows a second, round by round, paired with the other subjects'
    batch_size: int = 0
    peak_memory_bytes: int = 0
    start_s: float = 0.0
    energy_j_per_1000: float | None = None
    energy_reason: str = REASON

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
