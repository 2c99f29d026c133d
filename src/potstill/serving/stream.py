"""Lines in, answers out: what ``potstill predict`` does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from ..errors import DataError
from .predictor import Predictor


def predict_lines(predictor: Predictor, lines: Iterable[str], *, batch: int = 64) -> Iterator[dict[str, Any]]:
    """Yield for each line, in order, {"label", "score", "scores"}, or {"error", "line"} for a line that can't be read.

    A line is a JSON object with the model's fields, or else the text itself, where the model reads one.
    """
    numbered = enumerate(lines, start=1)
    while chunk := list(islice(numbered, batch)):
        parsed = [_parse(predictor, number, line.rstrip("\r\n")) for number, line in chunk]
        rows = [row for row in parsed if "error" not in row]
        answers = iter(_answers(predictor, rows))
        for row in parsed:
            yield row if "error" in row else next(answers)


def _parse(predictor: Predictor, number: int, line: str) -> dict[str, Any]:
    if line.lstrip().startswith("{"):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict) and any(name in row for name in predictor.fields):
            wrong = [name for name in predictor.fields if not isinstance(row.get(name), str)]
            return {"error": f"no text in: {', '.join(wrong)}", "line": number} if wrong else {name: row[name] for name in predictor.fields}
    if len(predictor.fields) > 1:
        return {"error": f"a JSON object with {', '.join(predictor.fields)} is wanted", "line": number}
    return {predictor.fields[0]: line}


def _answers(predictor: Predictor, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    if not rows:
        return
    try:
        probabilities = np.exp(predictor.predict(rows))
    except DataError as error:
        yield from ({"error": error.message} for _ in rows)
        return
    for row in probabilities:
        best = int(row.argmax())
        yield {
            "label": predictor.labels[best], "score": round(float(row[best]), 6),
            "scores": {label: round(float(p), 6) for label, p in zip(predictor.labels, row)},
        }  # fmt: skip
