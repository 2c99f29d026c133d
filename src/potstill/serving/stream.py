"""Lines in, answers out: what ``potstill predict`` does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from ..lookup import did_you_mean
from .predictor import Predictor

Row = Mapping[str, str]
Answer = dict[str, Any]


def predict_lines(predictor: Predictor, lines: Iterable[str], *, batch: int = 64) -> Iterator[Answer]:
    """Yield for each line, in order, {"label", "score", "scores"}, or {"error", "line"} for a line that can't be read.

    Where any number of labels may apply: {"labels", "scores"}, and no score of the whole.

    A line is a JSON object with the model's fields (others are ignored), or else the text itself, where the model reads
    one: an empty line is the empty text, so that answers stay beside their lines. ``line`` counts from 1; ``score`` and
    ``scores`` are probabilities.
    """
    reader = _Reader(predictor.fields)
    numbered = enumerate(lines, start=1)
    while chunk := list(islice(numbered, batch)):
        read = [(number, reader.read(line.rstrip("\r\n"))) for number, line in chunk]
        answers = iter(_answers(predictor, [row for _, row in read if not isinstance(row, str)]))
        for number, row in read:
            yield {"error": row, "line": number} if isinstance(row, str) else next(answers)


class _Reader:
    """Reads lines; once an object was seen, a line that is none is a mistake and no text."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.fields, self.objects = fields, False

    def read(self, line: str) -> Row | str:
        """Return the row, or what is wrong with the line."""
        wanted = f"a JSON object with {', '.join(self.fields)} is wanted"
        found = _object(line)
        if found is None:
            return f"no JSON object: {wanted}" if self.objects or len(self.fields) > 1 else {self.fields[0]: line}
        wrong = [name for name in self.fields if not isinstance(found.get(name), str)]
        if not wrong:
            self.objects = True
            return {name: found[name] for name in self.fields}
        near = " ".join(hint for name in wrong if name not in found and (hint := did_you_mean(name, found)).startswith("did you mean"))
        return f"no text in {', '.join(wrong)}: {wanted}" + (f"; {near}" if near else "")


def _object(line: str) -> dict[str, Any] | None:
    if not line.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):  # a text that begins with a brace; whether texts are allowed here, the reader knows
        return None
    return found if isinstance(found, dict) else None


def _answers(predictor: Predictor, rows: list[Row]) -> Iterator[Answer]:
    if not rows:
        return
    said = predictor.predict(rows)
    for told, row in zip(predictor.decide(said), predictor.probabilities(said)):
        scores = {label: round(float(p), 6) for label, p in zip(predictor.labels, row)}
        yield {"labels": told, "scores": scores} if isinstance(told, list) else {"label": told, "score": round(float(row.max()), 6), "scores": scores}
