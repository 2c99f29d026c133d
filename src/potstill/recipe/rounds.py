"""The section ``rounds``: how often to label, train and evaluate, and which rows of the pool to ask about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from .base import Finding, Section, one, refuse


def _first(value: object) -> object:
    if value != "all" and not (type(value) is int and value >= 0):
        one(f"{value!r} is no number of rows", "write `all`, or how many rows of the pool the first round asks about")
    return value


class Rounds(Section):
    """One round asks about the whole pool; several begin with ``first`` rows and add ``each``, chosen by ``choose``."""

    count: Annotated[int, Field(ge=1, le=100)] = 1
    first: Annotated[Literal["all"] | int, BeforeValidator(_first)] = "all"
    each: Annotated[int, Field(ge=1)] = 1000
    choose: Literal["uncertain", "near_disagreements", "random"] = "uncertain"
    stop: bool = True  # once the requirement is met on validation, or `patience` rounds in a row bring nothing
    patience: Annotated[int, Field(ge=1)] = 2
    random_arm: bool | None = None  # label and train on as many rows at random, to show what choosing was worth; null: where answers are free

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """A bare number is the count; where there are several rounds and none says how big the first is, it is as big as the others."""
        if type(value) is int:
            value = {"count": value}
        if isinstance(value, Mapping) and type(value.get("count")) is int and value["count"] > 1:
            value = {"first": value.get("each", 1000), **value}
        return value

    @model_validator(mode="after")
    def _together(self) -> Rounds:
        if self.count > 1 and self.first == "all":
            remedy = f"give the first round a number of rows: first: {self.each}"
            refuse([Finding(("first",), f"all of the pool in the first round leaves none for the other {self.count - 1}", remedy)])
        if self.random_arm and self.choose == "random":
            refuse([Finding(("random_arm",), "the rows are chosen at random: a random arm beside them shows nothing", "leave one of the two out")])
        return self
