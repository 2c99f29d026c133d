"""Subjects timed turn by turn, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from .. import rng
from ..engines.local import environment
from ..errors import PotstillError
from ..records import Field
from ..runlog import RunLog
from . import quantiles
from .subject import Measured, Subject

__all__ = ["Measured", "Subject", "measure", "speedup"]

ROUNDS = 8  # paired rounds behind each ratio
CALLS, ENOUGH = 125, 25  # single calls a round: 1,000 in all give p99; 200, for a slow subject, still give p95
BATCHES = (8, 32, 64)
WARM_UP = 10


def measure(
    subjects: Sequence[Subject], rows: Sequence[Mapping[str, Field]], *, threads: int, log: RunLog, budget_s: float = 30.0
) -> dict[str, Measured]:  # fmt: skip
    """Measure every subject on ``rows``, in ``ROUNDS`` rounds in which each has its turn; about ``budget_s`` seconds in all.

    A subject so slow that 200 calls don't fit takes longer: a quantile is never told of fewer. Raises :class:`PotstillError` with the
    last words of a subject that dies.
    """
    if not rows:
        raise PotstillError("there is no row to measure with", place="measuring")
    order = rng.stream(0, "measuring").permutation(len(rows))  # a file may be sorted by length or label
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "rows.json").write_text(json.dumps([dict(rows[i]) for i in order]), "utf-8")
        workers = [stack.enter_context(_worker(subject, folder / "rows.json", threads)) for subject in subjects]
        turn_s = budget_s / (len(subjects) * (ROUNDS + 2))  # warming up costs about two turns
        turns = [_Turn(worker, _warm_up(worker, len(rows), turn_s), [], []) for worker in workers]
        for number in range(ROUNDS):
            for at, turn in enumerate(turns):
                log.progress("speed", number * len(turns) + at, ROUNDS * len(turns), turn.worker.name)
                turn.take(number)
        return {turn.worker.name: turn.told() for turn in turns}


@dataclass(frozen=True)
class _Plan:
    """How much of a subject is timed in a turn: single calls, and rows of one pass in its best batches."""

    calls: int
    rows: int
    batch_size: int


def _warm_up(worker: _Worker, rows: int, turn_s: float) -> _Plan:
    """Warm the subject up, find its best batch size, and how much of it half a turn each of calls and batches holds."""
    single = median(worker.order(do="single", start=0, count=WARM_UP)["ms"]) / 1000
    sample = max(BATCHES[0], min(rows, round(turn_s / 4 / max(single, 1e-5))))
    worker.order(do="batch", rows=sample, batch_size=BATCHES[-1])
    timed = {size: (found := worker.order(do="batch", rows=sample, batch_size=size))["rows"] / found["seconds"] for size in BATCHES}
    best = max(timed, key=lambda size: timed[size])
    return _Plan(CALLS if CALLS * single <= turn_s / 2 else ENOUGH, max(BATCHES[0], min(rows, round(turn_s / 2 * timed[best]))), best)


@dataclass(frozen=True)
class _Turn:
    """A subject's turns so far: milliseconds of single calls, and the timed passes."""

    worker: _Worker
    plan: _Plan
    ms: list[float]
    passes: list[dict[str, Any]]

    def take(self, number: int) -> None:
        self.ms.extend(self.worker.order(do="single", start=number * self.plan.calls, count=self.plan.calls)["ms"])
        self.passes.append(self.worker.order(do="batch", rows=self.plan.rows, batch_size=self.plan.batch_size))

    def told(self) -> Measured:
        per_s = [one["rows"] / one["seconds"] for one in self.passes]
        found = Measured(
            latency_ms=quantiles.latency(self.ms), throughput_per_s=median(per_s), rounds=per_s, batch_size=self.plan.batch_size,
            peak_memory_bytes=self.worker.order(do="memory")["peak_bytes"], start_s=round(self.worker.start_s, 3),
        )  # fmt: skip
        used = [1000 * one["joules"] / one["rows"] for one in self.passes if one["joules"] is not None]
        if used:
            found.energy_j_per_1000, found.energy_reason = median(used), ""
        return found


class _Worker:
    """A subject's process; orders go in and answers come out, one JSON line each."""

    def __init__(self, subject: Subject, rows: Path, threads: int, errors: Any) -> None:
        command = [sys.executable, "-m", "potstill.measuring.worker"]
        self.name, self.errors = subject.name, errors
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8", env=environment(threads)
        )
        self.start_s = 0.0

    def order(self, **what: Any) -> dict[str, Any]:
        """Give an order and wait for its answer."""
        assert self.process.stdin is not None  # both are pipes
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # its last words, below, say more
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.errors.seek(0)
            words = self.errors.read().strip().splitlines()[-6:]
            raise PotstillError(f"measuring '{self.name}' failed ({code}): " + "\n".join(words), place="measuring")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def _worker(subject: Subject, rows: Path, threads: int) -> Iterator[_Worker]:
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        worker = _Worker(subject, rows, threads, errors)
        try:
            worker.start_s = float(worker.order(ref=subject.ref, spec=dict(subject.spec), rows=str(rows))["start_s"])
            yield worker
        finally:
            worker.process.kill()
            worker.process.communicate()


def speedup(student: Measured, teacher: Measured) -> dict[str, Any]:
    """Return how many times faster the student is: throughput over paired rounds, and p95 latency. {value, low, high, n} each."""
    p95 = None
    own, other = student.latency_ms["p95"], teacher.latency_ms["p95"]
    if own and other:
        p95 = {"value": other["value"] / own["value"], "low": other["low"] / own["high"], "high": other["high"] / own["low"], "n": own["n"]}
    return {"throughput": quantiles.ratio(student.rounds, teacher.rounds), "latency_p95": p95}
