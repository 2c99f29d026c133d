"""Teachers made for the tests: they count what they are really asked, in memory or in a file that survives a kill."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from potstill.records import Answer, Answered, Example, Want
from potstill.storage import canonical

LOGPROBS = Want("logprobs")
HIDDEN = Want("hidden", layer=1)


def examples(n: int, start: int = 0) -> list[Example]:
    return [Example.make({"text": f"text number {i}"}, place=f"rows.jsonl:{i + 1}") for i in range(start, start + n)]


def numbers(example: Example, count: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(example.id.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).normal(size=count)


def logprobs(example: Example, width: int = 2) -> np.ndarray:
    logits = numbers(example, width)
    return (logits - np.logaddexp.reduce(logits)).astype(np.float32)[None]


def hidden(example: Example) -> np.ndarray:
    tokens = 1 + int(example.id[:2], 16) % 5
    return numbers(example, tokens * 4).astype(np.float16).reshape(tokens, 4)


class Fake:
    """Answers from the example's content alone. ``says`` overrides by text; ``counter`` takes a line for each call."""

    repeated = 0

    def __init__(
        self, labels: Sequence[str] = ("a", "b"), *, version: str = "1", says: Mapping[str, Answer] | None = None,
        counter: Path | None = None, seconds: float = 0.0, native: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.labels, self.version, self.says = "fake", tuple(labels), version, dict(says or {})
        self.counter, self.seconds, self.native = counter, seconds, tuple(native or labels)
        self.asked: list[str] = []

    def identity(self) -> str:
        return f"fake-{self.version}"

    def offers(self) -> frozenset[str]:
        return frozenset({"logprobs", "hidden"})

    def request(self, example: Example) -> bytes:
        return canonical(dict(example.fields))

    def facts(self) -> Mapping[str, Any]:
        return {"usd_per_1000": 2.0}

    def answer(self, examples: Sequence[Example], wants: Sequence[Want]) -> Iterator[tuple[str, Answer]]:
        for example in sorted(examples, key=lambda e: e.id):  # never in the order of the rows
            self.asked.append(example.id)
            if self.counter is not None:
                handle = os.open(self.counter, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(handle, f"{example.id} {os.getpid()}\n".encode())
                os.close(handle)
            if self.seconds:
                time.sleep(self.seconds)
            order = [self.native.index(label) for label in self.labels]
            arrays = {w: logprobs(example, len(self.labels))[:, order] if w.kind == "logprobs" else hidden(example) for w in wants}
            yield example.id, self.says.get(str(example.fields["text"]), Answered(arrays))
