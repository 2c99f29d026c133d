"""A subject in its own process: it is told what to do line by line on standard input, and answers line by line."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..engines.worker import private_stdout
from ..lookup import load
from . import energy


def main() -> None:
    answers = private_stdout()

    def say(answer: Mapping[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    began = time.perf_counter()
    spec = json.loads(sys.stdin.readline())
    rows = json.loads(Path(spec["rows"]).read_text("utf-8"))
    subject = load(spec["ref"])(spec["spec"])
    subject.predict(rows[:1])
    say({"start_s": time.perf_counter() - began})
    for line in sys.stdin:
        order = json.loads(line)
        say(ORDERS[order["do"]](subject, rows, order))


def _single(subject: Any, rows: list[Any], order: Mapping[str, Any]) -> dict[str, Any]:
    """Time calls of one row each, over the rows' real lengths."""
    times = []
    for i in range(order["start"], order["start"] + order["count"]):
        began = time.perf_counter()
        subject.predict([rows[i % len(rows)]])
        times.append(1000 * (time.perf_counter() - began))
    return {"ms": times}


def _batch(subject: Any, rows: list[Any], order: Mapping[str, Any]) -> dict[str, Any]:
    """Time one pass over the first rows; the subject sorts them by length itself."""
    part = rows[: order["rows"]]
    meter, began = energy.joules(), time.perf_counter()
    subject.predict(part, batch_size=order["batch_size"])
    took, after = time.perf_counter() - began, energy.joules()
    used = after - meter if meter is not None and after is not None and after >= meter else None
    return {"seconds": took, "rows": len(part), "joules": used}


def _tokens(subject: Any, rows: list[Any], order: Mapping[str, Any]) -> dict[str, Any]:
    """Time each token that a batch of rows gets; the first one's time is the prompts' too."""
    batch = [rows[(order["start"] + i) % len(rows)] for i in range(order["count"])]
    times, began = [], time.perf_counter()
    for _ in subject.ticks(batch, order["tokens"]):
        now = time.perf_counter()
        times.append(1000 * (now - began))
        began = now
    return {"ms": times}


def _memory(subject: Any, rows: list[Any], order: Mapping[str, Any]) -> dict[str, Any]:
    return {"peak_bytes": peak_bytes()}


def peak_bytes() -> int:
    """Return the most memory that this process has held.

    Not ``ru_maxrss`` where the kernel tells VmHWM: the former begins with the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


ORDERS: Mapping[str, Callable[[Any, list[Any], Mapping[str, Any]], dict[str, Any]]] = {
    "single": _single,
    "batch": _batch,
    "tokens": _tokens,
    "memory": _memory,
}


if __name__ == "__main__":
    main()
