"""What a worker opens: refs to functions of a JSON spec that give something with ``predict(rows)``, or with ``ticks(rows, tokens)``.

A teacher is opened by its own folder ("potstill.teachers.timed:open_timed"): measuring itself never loads torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..lookup import load


def artifact(spec: Mapping[str, Any]) -> Any:
    """Open the exported artifact in ``spec["folder"]`` exactly as serving would, on ``spec["threads"]`` threads."""
    return load("potstill.serving.predictor:Predictor").open(Path(spec["folder"]), threads=spec["threads"])


def generator(spec: Mapping[str, Any]) -> Generating:
    """Open a language model's artifact in ``spec["folder"]`` on ``spec["threads"]`` threads."""
    return Generating(load("potstill.serving.generator:Generator").open(Path(spec["folder"]), threads=spec["threads"]).ticks)


@dataclass(frozen=True)
class Generating:
    """A language model to be measured: ``ticks`` yields each time all rows of a batch have got another token."""

    ticks: Callable[[Sequence[Any], int], Iterator[None]]

    def predict(self, rows: Sequence[Any], *, batch_size: int = 1) -> None:
        """Answer by one token each: the first answer, by which a start is timed."""
        for start in range(0, len(rows), batch_size):
            list(self.ticks(rows[start : start + batch_size], 1))
