"""Language models timed turn by turn: how long until the first token, how long each after it, how many a second alone and eight at a time."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from .. import rng
from ..errors import PotstillError
from ..records import Field
from ..runlog import RunLog
from . import quantiles
from .measure import CALLS, ENOUGH, ROUNDS, _Worker, _worker
from .subject import Subject

TOKENS = 32  # of each timed answer, ended or not: all subjects do the same work
BATCHES = (1, 8)
TRIED = 3  # calls by which it is told how many fit a turn


@dataclass(frozen=True)
class Generated:
    """``first_token_ms``, the prompt's reading included, and ``token_ms``, of each later token: p50, p95, p99 at batch 1, each {value, low, high, n} or
    None where there were too few; ``tokens_per_s`` by batch size, the median of ``rounds`` (by batch size, paired with the other subjects'),
    prompts' time included; ``peak_memory_bytes`` of its process; ``start_s`` from opening to the first token."""

    first_token_ms: dict[str, Any]
    token_ms: dict[str, Any]
    tokens_per_s: dict[int, float]
    rounds: dict[int, list[float]]
    tokens: int
    peak_memory_bytes: int
    start_s: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    subjects: Sequence[Subject], rows: Sequence[Mapping[str, Field]], *, threads: int, log: RunLog, budget_s: float = 60.0, tokens: int = TOKENS
) -> dict[str, Generated]:  # fmt: skip
    """Measure every subject on ``rows``, in ``ROUNDS`` rounds in which each has its turn; about ``budget_s`` seconds in all.

    A subject's ``ref`` opens something with ``ticks(rows, tokens)``, which yields each time all rows have got another token, and ``predict``. One so slow
    that 200 first tokens don't fit takes longer: a quantile is never told of fewer. Raises :class:`PotstillError` with the last words of a subject that dies.
    """
    if not rows:
        raise PotstillError("there is no row to measure with", place="measuring")
    order = rng.stream(0, "measuring").permutation(len(rows))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "rows.json").write_text(json.dumps([dict(rows[i]) for i in order]), "utf-8")
        workers = [stack.enter_context(_worker(subject, folder / "rows.json", threads)) for subject in subjects]
        turn_s = budget_s / (len(subjects) * (ROUNDS + 1))
        turns = [_Turn(worker, _fitting(worker, turn_s, tokens), tokens) for worker in workers]
        for number in range(ROUNDS):
            for at, turn in enumerate(turns):
                log.progress("speed", number * len(turns) + at, ROUNDS * len(turns), turn.worker.name)
                turn.take(number)
        return {turn.worker.name: turn.told() for turn in turns}


def _fitting(worker: _Worker, turn_s: float, tokens: int) -> int:
    """Warm the subject up; return how many whole answers fit a third of a turn, as many at least as give the rounds 200 later tokens."""
    took = [sum(worker.order(do="tokens", start=at, count=1, tokens=tokens)["ms"]) / 1000 for at in range(TRIED)]
    worker.order(do="tokens", start=0, count=max(BATCHES), tokens=2)
    return max(math.ceil(ENOUGH / max(tokens - 1, 1)), min(CALLS, round(turn_s / 3 / max(median(took), 1e-5))))


@dataclass
class _Turn:
    """A subject's turns so far: milliseconds of first and of later tokens at batch 1, and tokens a second."""

    worker: _Worker
    calls: int
    tokens: int
    first: list[float] = field(default_factory=list)
    later: list[float] = field(default_factory=list)
    rounds: dict[int, list[float]] = field(default_factory=lambda: {size: [] for size in BATCHES})

    def take(self, number: int) -> None:
        self.first += [ms for call in range(ENOUGH) for ms in self._timed(number * ENOUGH + call, 1, 1)]
        alone = [self._timed(number * self.calls + call, 1, self.tokens) for call in range(self.calls)]
        self.later += [one for ms in alone for one in ms[1:]]
        self.rounds[1].append(1000 * sum(map(len, alone)) / sum(map(sum, alone)))
        for size in BATCHES[1:]:
            ms = self._timed(number * size, size, self.tokens)
            self.rounds[size].append(1000 * size * len(ms) / sum(ms))

    def _timed(self, start: int, count: int, tokens: int) -> list[float]:
        found: list[float] = self.worker.order(do="tokens", start=start, count=count, tokens=tokens)["ms"]
        return found

    def told(self) -> Generated:
        return Generated(
            quantiles.latency(self.first), quantiles.latency(self.later), {size: median(found) for size, found in self.rounds.items()}, self.rounds,
            self.tokens, self.worker.order(do="memory")["peak_bytes"], round(self.worker.start_s, 3),
        )  # fmt: skip


def speedup(student: Generated, teacher: Generated) -> dict[str, Any]:
    """Return how many times as many tokens a second the student gives, by batch size: {value, low, high, n} over paired rounds."""
    return {f"batch_{size}": quantiles.ratio(student.rounds[size], teacher.rounds[size]) for size in BATCHES}
