"""Subjects timed turn by turn, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..engines.local import environment
from ..errors import PotstillError
from ..records import Field
from ..runlog import RunLog
from . import quantiles
from .energy import REASON

ROUNDS, CALLS, ENOUGH = 8, 125, 25  # 8 rounds of 125 calls give p99; a subject slower than SLOW_MS gets 25 a round, enough for p95
SLOW_MS = 6.0
BATCHES = (8, 32, 64)
PASS_S = 0.6  # about how long one timed pass should take
WARM_UP = 10


@dataclass(frozen=True)
class Subject:
    """Something to measure: ``ref`` ("module:function") opens it from ``spec`` (JSON) and gives an object with ``predict(rows)``."""

    name: str
    ref: str
    spec: Mapping[str, Any]


@dataclass
class Measured:
    """``latency_ms``: p50, p95, p99 of single calls, each {value, low, high, n} or None; ``throughput_per_s`` rows a second at the
    best ``batch_size``; ``peak_memory_bytes`` of its process; ``start_s`` from nothing to the first answer."""

    latency_ms: dict[str, Any] = field(default_factory=dict)
    throughput_per_s: float = 0.0
    rounds: list[float] = field(default_factory=list)  # rows a second, round by round, paired with the other subjects'
    batch_size: int = 0
    peak_memory_bytes: int = 0
    start_s: float = 0.0
    energy_j_per_1000: float | None = None
    energy_reason: str = REASON

    def as_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


def measure(subjects: Sequence[Subject], rows: Sequence[Mapping[str, Field]], *, threads: int, log: RunLog) -> dict[str, Measured]:
    """Measure every subject on ``rows``, in ``ROUNDS`` rounds in which each has its turn."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "rows.json").write_text(json.dumps([dict(row) for row in rows], ensure_ascii=True), "utf-8")
        workers = {s.name: stack.enter_context(_worker(s, folder / "rows.json", threads)) for s in subjects}
        plans = {name: _warm_up(worker, len(rows)) for name, worker in workers.items()}
        times: dict[str, list[float]] = {name: [] for name in workers}
        found = {name: Measured(start_s=round(worker.start_s, 3), batch_size=plans[name].batch_size) for name, worker in workers.items()}
        used: dict[str, list[float]] = {name: [] for name in workers}
        for turn in range(ROUNDS):
            for at, (name, worker) in enumerate(workers.items()):
                log.progress("speed", turn * len(workers) + at, ROUNDS * len(workers), name)
                plan = plans[name]
                times[name] += worker.order(do="single", **{"from": turn * plan.calls}, count=plan.calls)["ms"]
                timed = worker.order(do="batch", rows=plan.rows, batch_size=plan.batch_size)
                found[name].rounds.append(timed["rows"] / timed["seconds"])
                if timed["joules"] is not None:
                    used[name].append(1000 * timed["joules"] / timed["rows"])
        for name, worker in workers.items():
            found[name].latency_ms = quantiles.latency(times[name])
            found[name].throughput_per_s = sorted(found[name].rounds)[ROUNDS // 2]
            found[name].peak_memory_bytes = worker.order(do="memory")["peak_bytes"]
            if used[name]:
                found[name].energy_j_per_1000, found[name].energy_reason = sorted(used[name])[len(used[name]) // 2], ""
    return found


@dataclass(frozen=True)
class _Plan:
    """How much of a subject is timed in a round."""

    calls: int
    rows: int
    batch_size: int


def _warm_up(worker: _Worker, rows: int) -> _Plan:
    """Warm the subject up, and find its best batch size and how many rows fill one timed pass."""
    single = sorted(worker.order(do="single", **{"from": 0}, count=WARM_UP)["ms"])[WARM_UP // 2]
    sample = max(8, min(rows, round(PASS_S * 1000 / max(single, 0.01))))
    worker.order(do="batch", rows=sample, batch_size=BATCHES[0])
    timed = {size: (t := worker.order(do="batch", rows=sample, batch_size=size))["rows"] / t["seconds"] for size in BATCHES}
    best = max(timed, key=lambda size: timed[size])
    return _Plan(ENOUGH if single > SLOW_MS else CALLS, max(8, min(rows, round(PASS_S * timed[best]))), best)


class _Worker:
    """A subject's process; orders go in and answers come out, one JSON line each."""

    def __init__(self, subject: Subject, rows: Path, threads: int, errors: Any) -> None:
        command = [sys.executable, "-m", "potstill.measuring.worker"]
        self.name, self.errors = subject.name, errors
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment(threads))
        self.start_s = float(self._answer(ref=subject.ref, spec=dict(subject.spec), rows=str(rows))["start_s"])

    def order(self, **what: Any) -> dict[str, Any]:
        return self._answer(**what)

    def _answer(self, **what: Any) -> dict[str, Any]:
        assert self.process.stdin is not None  # both are pipes
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # its last words say more
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            raise PotstillError(f"measuring '{self.name}' failed: {self.errors.read()[-800:].strip()}", place="measuring")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def _worker(subject: Subject, rows: Path, threads: int) -> Iterator[_Worker]:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        worker = _Worker(subject, rows, threads, errors)
        try:
            yield worker
        finally:
            worker.process.kill()
            worker.process.communicate()


def speedup(student: Measured, teacher: Measured) -> dict[str, Any]:
    """Return how many times faster the student is: throughput over paired rounds, and p95 latency. {value, low, high, n} each."""
    p95 = None
    if student.latency_ms["p95"] and teacher.latency_ms["p95"]:
        own, other = student.latency_ms["p95"], teacher.latency_ms["p95"]
        p95 = {"value": other["value"] / own["value"], "low": other["low"] / own["high"], "high": other["high"] / own["low"], "n": own["n"]}
    return {"throughput": quantiles.ratio(student.rounds, teacher.rounds), "latency_p95": p95}
