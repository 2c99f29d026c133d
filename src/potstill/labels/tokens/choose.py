"""Which way is smallest within a stated error: all are measured on a probe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import StoreError
from . import error, hidden, sampled, sparse
from .codebook import Codebook
from .select import Keep, select


@dataclass(frozen=True)
class Way:
    """One way on the probe: bytes and KL (nats, over the whole vocabulary) a position; ``unbiased``: its draws' mean has no error."""

    name: str
    bytes: float
    kl: float
    unbiased: bool = False
    setting: Keep | int | str = ""  # what to keep, draws, or a precision: see :func:`.coders.coder`


@dataclass(frozen=True)
class Choice:
    """What the probe showed, and the smallest way within ``limit``; the most exact where none is."""

    ways: tuple[Way, ...]
    chosen: Way
    limit: float
    positions: int

    def __str__(self) -> str:
        within = "the smallest within" if self.chosen.kl <= self.limit else "none is within it, and it is the nearest to"
        return f"kept as {self.chosen.name}: {within} {self.limit:g} nats of error a token; {self.measured}"

    @property
    def measured(self) -> str:
        """What each way takes and how far off it is, in words."""
        told = [f"{way.name} {way.bytes:.1f} bytes and {way.kl:.4f} nats{' a draw, none in the mean' if way.unbiased else ''}" for way in self.ways]
        return f"on {self.positions:,} positions: {', '.join(told)}"


def choose(
    scores: np.ndarray,
    lengths: Sequence[int],
    book: Codebook,
    *,
    limit: float,
    keeps: Sequence[Keep] = (Keep(),),
    states: np.ndarray | None = None,
    head: np.ndarray | Callable[[np.ndarray], np.ndarray] | None = None,
    draws: int = 12,
) -> Choice:
    """Measure each way on ``scores`` (positions, vocabulary), rows of ``lengths``, and choose; ``book`` should be fitted on other rows.

    ``states`` (positions, width) and ``head`` (vocabulary, width), or what makes logits of states, add the hidden ways. Draws are told beside, and
    chosen only on purpose:
    what one drawing says of a position is far off, and their mean is not. Raises :class:`StoreError` for a probe without positions.
    """
    if not len(scores) or sum(lengths) != len(scores):
        raise StoreError(
            f"a probe of {len(scores)} positions in rows of {sum(lengths)}", place="token store", remedy="give at least one position, and rows that hold all"
        )
    ways = []
    for keep in keeps:
        values = sparse.encode(select(scores, keep), lengths, book)
        rows = sparse.decode(values, book)
        kl = error.full_kl(scores, rows.ids, rows.logprobs, rows.tail)
        ways.append(_way(f"sparse (mass {keep.mass:g}, floor {keep.floor:g}, at most {keep.k_max})", values, kl, keep))
    if states is not None and head is not None:
        for precision in hidden.KINDS:
            values = hidden.encode(states, lengths, b"probe---", precision)
            read = hidden.decode(values, b"probe---", precision)[1]
            ways.append(_way(f"hidden ({precision})", values, error.between(scores, head(read) if callable(head) else read @ head.T), precision))
    drawn = sampled.draw(scores, sampled.starts(b"probe", len(scores)), draws)
    values = sampled.encode(drawn, lengths, book)
    told = sampled.decode(values, book)
    left = np.maximum(1 - np.exp(told.logprobs, dtype=np.float64).sum(1), 0)
    ways.append(_way(f"sampled ({draws} draws)", values, error.full_kl(scores, told.ids, told.logprobs, left), draws, unbiased=True))
    exact = [way for way in ways if not way.unbiased]
    within = [way for way in exact if way.kl <= limit]
    chosen = min(within, key=lambda way: way.bytes) if within else min(exact, key=lambda way: way.kl)
    return Choice(tuple(ways), chosen, limit, len(scores))


def _way(name: str, values: Sequence[bytes], kl: np.ndarray, setting: Keep | int | str, *, unbiased: bool = False) -> Way:
    return Way(name, sum(map(len, values)) / len(kl), float(kl.mean()), unbiased, setting)
