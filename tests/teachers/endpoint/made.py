"""An endpoint teacher of a recipe's section, for tests: on a stub, or on a real server."""

from __future__ import annotations

from potstill.recipe.endpoint import EndpointTeacher
from potstill.records import Example, Head
from potstill.teachers import build
from tests.teachers.endpoint.clock import Simulated

LABELS = ("bad", "good")
HEAD = Head("classes", LABELS)


def spec(url="http://127.0.0.1:1/v1", **options) -> EndpointTeacher:
    return EndpointTeacher.model_validate({"kind": "endpoint", "url": url, "model": "smollm2", **options})


def teacher(url="http://127.0.0.1:1/v1", *, head=HEAD, shots=(), clock=None, fields=("text",), **options):
    return build(spec(url, **options), head, shots=shots, clock=clock or Simulated(), fields=fields)


def rows(n: int, start: int = 0) -> list[Example]:
    return [Example.make({"text": f"text number {i}"}, place=f"rows.jsonl:{i + 1}") for i in range(start, start + n)]
