"""A clock that passes when it is waited for, and never in earnest."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, wait


class Simulated:
    def __init__(self) -> None:
        self.time, self.slept = 1000.0, []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def wait(self, running, seconds):
        return wait(running, None, FIRST_COMPLETED).done
