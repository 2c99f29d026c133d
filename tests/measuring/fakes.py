"""Subjects that need no model: what they do, and how long it takes, is in their spec."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Fake:
    def __init__(self, spec):
        self.spec, self.single_calls = spec, 0

    def predict(self, rows, batch_size=1):
        if self.spec.get("calls"):
            with Path(self.spec["calls"]).open("a") as file:
                file.write(f"{self.spec['name']} {len(rows)} {batch_size} {rows[0]['text']}\n")
        cold = False
        if len(rows) == 1:
            self.single_calls += 1
            cold = self.single_calls <= self.spec.get("cold", 0)
        time.sleep(self.spec["cold_s"] if cold else self.spec.get("row_s", 0.0) * len(rows))
        return rows


def open_fake(spec):
    print("a library that talks on standard output")
    if spec.get("dies"):
        raise ValueError(spec["dies"])
    return Fake(spec)


def doubled(spec):
    print("noise")
    return {"twice": 2 * spec["value"], "threads": os.environ.get("OMP_NUM_THREADS"), "process": os.getpid()}


def breaks(spec):
    from potstill import errors

    if spec["how"] == "user":
        raise errors.TeacherError("it is not there", place="here", remedy="look there")
    if spec["how"] == "problems":
        raise errors.RecipeError("two things", [errors.Problem("a", "b")])
    if spec["how"] == "exit":
        os._exit(9)
    raise RuntimeError("something of ours")


class Ticking:
    def __init__(self, spec):
        self.spec = spec

    def predict(self, rows, batch_size=1):
        list(self.ticks(rows, 1))

    def ticks(self, rows, tokens):
        for number in range(tokens):
            time.sleep(self.spec["token_s"] if number else self.spec["first_s"])
            yield


def open_ticking(spec):
    return Ticking(spec)
