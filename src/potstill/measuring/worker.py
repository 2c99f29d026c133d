"""A subject in its own process: it is told what to do line by line on standard input, and answers line by line."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..lookup import load
from . import energy


def main() -> None:
    began = time.perf_counter()
    spec = json.loads(sys.stdin.readline())
    rows = json.loads(Path(spec["rows"]).read_text("utf-8"))
    subject = load(spec["ref"])(spec["spec"])
    subject.predict(rows[:1])
    _say({"start_s": time.perf_counter() - began})
    for line in sys.stdin:
        order = json.loads(line)
        _say(ORDERS[order["do"]](subject, rows, order))


def _single(subject: Any, rows: list[Any], order: Mapping[str, Any]) -> dict[str, Any]:
    """Time calls of one row each, over the rows' real lengths."""
    times = []
    for i in range(order["from"], order["from"] + order["count"]):
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


def _memory(subject: Any, rows: list[Any], order: Mapping[str, Any]) -> dict[str, Any]:
    return {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)}


ORDERS: Mapping[str, Callable[[Any, list[Any], Mapping[str, Any]], dict[str, Any]]] = {
    "single": _single,
    "batch": _batch,
    "memory": _memory,
}


def _say(answer: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
