"""The last two minutes, second by second, and the sums since the start: what the page at / shows. Numbers and names that are served; no input, no key."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .answering import Answered

SECONDS, MINUTE = 120, 60
SAMPLES = 200  # times of each part that are kept of a second: enough for a percentile, and bounded
PARTS = ("request", "queue", "tokenize", "first", "infer", "teacher")


@dataclass
class Second:
    """What happened in one second; ``times`` in seconds, by part."""

    answered: int = 0
    refused: int = 0  # 429 and 503: too busy, or stopping
    failed: int = 0  # the server's own faults, and answers that came too late
    student: int = 0
    teacher: int = 0
    waiting: int = 0  # rows, at most
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def took(self, part: str, seconds: float) -> None:
        if len(self.times[part]) < SAMPLES:
            self.times[part].append(seconds)


@dataclass
class Sums:
    """What was answered under one name since the start; ``alone_usd``: what the teacher alone would have cost."""

    rows: int = 0
    passed_on: int = 0
    flagged: Counter[str] = field(default_factory=Counter)
    usd: float = 0.0
    alone_usd: float = 0.0


@dataclass
class Live:
    """Used in the event loop's thread alone. ``waiting``: how many rows wait now."""

    waiting: Callable[[], int]
    clock: Callable[[], float] = time.monotonic
    seconds: deque[tuple[int, Second]] = field(default_factory=lambda: deque(maxlen=SECONDS + 1))
    by_name: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    began: float = 0.0

    def __post_init__(self) -> None:
        self.began = self.clock()

    def now(self) -> Second:
        at = int(self.clock())
        if not self.seconds or self.seconds[-1][0] != at:
            self.seconds.append((at, Second()))
        return self.seconds[-1][1]

    def done(self, status: int, seconds: float) -> None:
        """Count a request that is over, whatever came of it."""
        second = self.now()
        if status < 300:
            second.answered += 1
            second.took("request", seconds)
        elif status in (429, 503):
            second.refused += 1
        elif status >= 500:
            second.failed += 1

    def __call__(self, answered: Answered) -> None:
        """Count the rows of a request that was answered: a hook."""
        second, sums, policy = self.now(), self.by_name[answered.alias], answered.model.policy
        taught, rows = len(answered.teacher), len(answered.predictions)
        second.student += rows - taught
        second.teacher += taught
        second.waiting = max(second.waiting, self.waiting())
        for part, took in answered.seconds.items():
            second.took(part, took)
        sums.rows += rows
        sums.passed_on += taught
        sums.flagged.update(one.flag for one in answered.predictions if one.flag)
        price = 0.0 if policy is None else policy.limits.usd_per_1000 / 1000
        sums.usd += taught * price
        sums.alone_usd += rows * price

    def wrote(self, alias: str, rows: int, seconds: Mapping[str, float]) -> None:
        """Count the answers of a request to a model that writes."""
        second = self.now()
        second.student += rows
        second.waiting = max(second.waiting, self.waiting())
        for part, took in seconds.items():
            second.took(part, took)
        self.by_name[alias].rows += rows

    def told(self) -> dict[str, Any]:
        """Return both: ``series`` with one number a second, the oldest first, the second that runs left out; ``parts`` in ms over the last minute."""
        last = int(self.clock())
        held = dict(self.seconds)
        row = [held.get(at, Second()) for at in range(last - SECONDS, last)]
        counts = ("answered", "refused", "failed", "student", "teacher", "waiting")
        series: dict[str, list[Any]] = {name: [getattr(second, name) for second in row] for name in counts}
        for name, share in (("p50", 50), ("p95", 95)):
            series[name] = [_percentile(second.times["request"], share) for second in row]
        minute = row[-MINUTE:]
        parts = {part: [took for second in minute for took in second.times[part]] for part in PARTS}
        return {
            "series": series,
            "parts": {part: {f"p{share}": _percentile(took, share) for share in (50, 95, 99)} | {"n": len(took)} for part, took in parts.items() if took},
            "minute": {name: sum(getattr(second, name) for second in minute) for name in counts[:-1]},
            "up_s": round(self.clock() - self.began, 1),
        }

    def names(self) -> dict[str, dict[str, Any]]:
        found = {}
        for name, sums in self.by_name.items():
            told = {"rows": sums.rows, "passed_on": sums.passed_on, "flagged": dict(sums.flagged)}
            found[name] = {**told, "usd": round(sums.usd, 6), "alone_usd": round(sums.alone_usd, 6)}
        return found


def _percentile(took: Sequence[float], share: float) -> float | None:
    """Return a percentile in milliseconds, None of nothing."""
    return round(1000 * float(np.percentile(took, share)), 3) if took else None
