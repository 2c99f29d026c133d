"""The section ``generation``: answers that teacher, students and controls really write, and how each is graded. Metrics are one model a kind."""

# ruff: noqa: RUF012 - pydantic copies a default before it gives it away

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from .base import Finding, Section, Text, one, refuse, tagged
from .teacher import function


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        one(f"'{value}' is no regular expression: {error}", "write one as Python's re has it, in single quotes: 'the answer is (.*)'")
    return value


class ExactMatch(Section):
    """The share of answers that are the reference, but for case, blanks and the mark at the end."""

    kind: Literal["exact_match"] = "exact_match"
    extract: Annotated[Text, AfterValidator(_pattern)] | None = None  # what an answer comes down to: the last match, its first group; of the reference too


class Choice(Section):
    """The share of rows whose reference is the likeliest of its options (data.columns.options)."""

    kind: Literal["choice"] = "choice"
    length_normalized: bool = False  # by nats a byte, so that a long option is not unlikely for its length


class RougeL(Section):
    """The mean F1 of the longest common subsequence of words, of answer and reference."""

    kind: Literal["rouge_l"] = "rouge_l"


class Graded(Section):
    """A function of yours: it gets a row as {prompt: ..., completion: ...} and the answer, and says what that is worth, 0 to 1."""

    kind: Literal["callable"] = "callable"
    function: Annotated[Text, AfterValidator(function)]  # module:function
    version: Text  # raise it when the function would say otherwise: only its own file is looked at
    folder: Text | None = None  # where its module lies, before what is installed; null: the recipe's folder


def _named(value: Any) -> Any:
    """A bare name is a metric with its defaults."""
    return {"kind": value} if isinstance(value, str) else value


AnyMetric = tagged(ExactMatch, Choice, RougeL, Graded)
KINDS = ("exact_match", "choice", "rouge_l", "callable")


class Generation(Section):
    """Answers are the likeliest token each time, until one ends them or ``max_new_tokens`` are there. No metrics: nothing is written."""

    metrics: list[Annotated[AnyMetric, BeforeValidator(_named)]] = []  # type: ignore[valid-type]
    max_new_tokens: Annotated[int, Field(ge=1, le=32768)] = 64
    rows: Annotated[int, Field(ge=1)] | None = 200  # of the test, and of validation where the requirement is about such a metric; null: all

    @model_validator(mode="after")
    def _together(self) -> Generation:
        refuse(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        for place, kind in enumerate(self.names):
            if self.names.index(kind) != place:
                yield Finding(("metrics", place), f"there are two metrics of kind '{kind}'", "keep one of them")
        said = [name for name in ("max_new_tokens", "rows") if getattr(self, name) != type(self).model_fields[name].default]
        if said and not self.metrics:
            yield Finding((), "nothing is written without a metric", f"name some: metrics: [exact_match]; known: {', '.join(KINDS)}")

    @property
    def names(self) -> list[str]:
        metrics: list[Any] = self.metrics
        return [metric.kind for metric in metrics]

    def asked(self) -> list[dict[str, Any]]:
        """Return all that grades depend on but a function's file, which is known by its content."""
        metrics: list[Any] = self.metrics
        return [metric.model_dump(mode="json", exclude={"folder"}) for metric in metrics]

    def of(self, kind: str) -> Any:
        """Return the metric of a kind, None where it is not asked for."""
        metrics: list[Any] = self.metrics
        return next((metric for metric in metrics if metric.kind == kind), None)
