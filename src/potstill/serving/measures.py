"""What the server counts, for Prometheus: requests, rows, waits; never an input, an answer or a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Measures:
    """One registry for each server. Labels have few values: names that are served, codes, parts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.found: dict[tuple[Any, ...], Any] = {}
        of: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("potstill_requests", "Requests by model, protocol and status.", ("model", "protocol", "code"), **of)
        self.rows = Counter("potstill_rows", "Rows answered, by who answered.", ("model", "served_by"), **of)
        self.flagged = Counter("potstill_flagged", "Rows that should have been passed on and were not, by reason.", ("model", "reason"), **of)
        self.cancelled = Counter("potstill_cancelled", "Requests that nobody waited for any more, by reason.", ("reason",), **of)
        self.latency = Histogram("potstill_request_seconds", "Time of a request, from its headers to its answer.", ("protocol",), buckets=SECONDS, **of)
        self.parts = Histogram("potstill_part_seconds", "Where the time went: queue, tokenize, infer, teacher.", ("part",), buckets=SECONDS, **of)
        self.tokens = Counter("potstill_tokens", "Tokens of language models, read (of answers that ended) and written.", ("model", "kind"), **of)
        self.first_token = Histogram("potstill_first_token_seconds", "Time until an answer's first token.", ("model",), buckets=SECONDS, **of)
        self.token = Histogram("potstill_token_seconds", "Mean time between two tokens of an answer.", ("model",), buckets=SECONDS, **of)
        self.usd = Counter("potstill_teacher_usd", "Dollars that passed-on rows cost, by the policy's price.", ("model",), **of)
        self.ready = Gauge("potstill_ready", "Whether all bundles have answered their probes as they should.", **of)

    def of(self, measure: Any, *labels: str) -> Any:
        """Return what counts under these labels: looked up once, for the lookup costs more than to count."""
        key = (measure, *labels)
        if (found := self.found.get(key)) is None:
            found = self.found[key] = measure.labels(*labels)
        return found

    def watch(self, name: str, words: str, value: Callable[[], float]) -> None:
        """Show what ``value`` returns whenever it is asked for."""
        Gauge(name, words, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        return generate_latest(self.registry)
