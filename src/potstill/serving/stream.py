"""Lines in, answers out: what ``potstill predict`` does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..errors import PotstillError
from ..lookup import did_you_mean
from .predictor import Predictor

if TYPE_CHECKING:
    from .generator import Generator

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


FORMS = ("messages", "prompt", "text")


def generate_lines(
    generator: Generator, lines: Iterable[str], *, batch: int = 8, max_tokens: int = 256, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0
) -> Iterator[Answer]:  # fmt: skip
    """Yield for each line, in order, {"completion", "finish", "tokens"}, or {"error", "line"} for a line that can't be read.

    A line is a JSON object with ``messages``, ``prompt`` or ``text``, or else a text: what a user says where the model is one that chats, otherwise
    what it goes on from. ``finish``: "stop", or "length" where there was no room for more; ``tokens``: how many it said.
    """
    numbered, objects = enumerate(lines, start=1), False
    while chunk := list(islice(numbered, batch)):
        read: list[tuple[int, Mapping[str, Any] | str]] = []
        for number, line in chunk:
            found = _object(line)
            objects |= found is not None
            read.append((number, _asked(generator, found, line.rstrip("\r\n"), objects)))
        rows = [row for _, row in read if not isinstance(row, str)]
        answers = iter(generator.generate(rows, max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed, batch_size=batch))
        for number, row in read:
            yield {"error": row, "line": number} if isinstance(row, str) else next(answers).as_json()


def row_of(generator: Generator, given: Mapping[str, Any] | str) -> Mapping[str, Any]:
    """Return the row of an object, which has one of ``FORMS``, or of a text: what a user says where the model is one that chats, otherwise what it
    goes on from."""
    if not isinstance(given, str):
        return {name: given[name] for name in FORMS if name in given}
    chats = generator.turns.renderer.template is not None and not {"prompt", "text"} & set(generator.fields)
    return {"messages": [{"role": "user", "content": given}]} if chats else {"prompt": given}


def _asked(generator: Generator, found: Mapping[str, Any] | None, line: str, objects: bool) -> Mapping[str, Any] | str:
    """Return a line's row, or what is wrong with it."""
    if found is None and objects:
        return f"no JSON object: one with {', '.join(FORMS)} is wanted"
    row = row_of(generator, line if found is None else found)
    try:
        generator.turns.question(generator.prepare(row))
    except PotstillError as error:
        return error.message + (f"; {error.remedy}" if error.remedy else "")
    return row


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
