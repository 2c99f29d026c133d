"""What the index is told and tells: plain records, and the ledger's columns for what calls cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..records import Usage
from .shards import Origin

# What calls cost: settled, what those may have that were possibly paid, and what is set aside for those in flight.
COSTS = {name: "INTEGER NOT NULL DEFAULT 0" if "tokens" in name else "REAL NOT NULL DEFAULT 0" for name in (
    "tokens_in", "tokens_out", "usd", "possibly_tokens", "possibly_usd", "reserved_tokens", "reserved_usd",
)}  # fmt: skip
COLUMNS = {**COSTS, "parcel": "TEXT"}  # of the ledger that older ones lack; parcel: the file that a call went up in
NOTHING = Usage()


@dataclass(frozen=True)
class Spent:
    """What a run's calls were and cost: settled, the failed ones among them, those possibly paid, those in flight; rows found answered."""

    calls: int = 0
    failed: int = 0
    possibly_paid: int = 0
    in_flight: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    possibly_tokens: int = 0
    possibly_usd: float = 0.0
    cached: int = 0


SUMS = ("calls", "failed", "possibly_paid", "tokens_in", "tokens_out", "usd", "possibly_tokens", "possibly_usd")


@dataclass(frozen=True)
class Claim:
    """What a call may ask for: the keys that are ours now; the ones that someone else asks for; calls of dead askers taken over."""

    batch: int | None
    granted: frozenset[bytes]
    busy: frozenset[bytes]
    possibly_paid: int


@dataclass(frozen=True)
class Entry:
    """A shard to enter: its name, its origin, its keys in order, its size."""

    name: str
    origin: Origin
    keys: Sequence[bytes]
    bytes: int
