"""The section ``robustness``: how the test texts are changed to see whether the answers hold. It describes; it decides nothing."""

# ruff: noqa: RUF012 - pydantic copies a default before it gives it away

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from .base import Paths, Section, one

Arm = Literal["typos", "upper_case", "lower_case", "whitespace", "truncation"]


def _distinct(arms: list[Arm]) -> list[Arm]:
    if len(set(arms)) < len(arms):
        one(f"{arms} names an arm twice")
    return arms


class Robustness(Section):
    """Each of ``arms`` changes a sample of the test texts, and every model answers again; no arms and no file: off.

    ``rows`` bounds the cost: with 500, a loss of 10 points is known to about 3. The teacher's answers to changed texts are calls
    like any others: null asks where they cost nothing and can be had.
    """

    arms: Annotated[list[Arm], AfterValidator(_distinct)] = ["typos", "upper_case", "lower_case", "whitespace", "truncation"]
    rows: Annotated[int, Field(ge=1)] = 500  # of the test, at most
    typo_rate: Annotated[float, Field(gt=0, le=1)] = 0.05  # of the letters; at least one in each text
    ask_teacher: bool | None = None
    out_of_domain: Paths | None = None  # rows of another kind; gold labels where the file has them
    seed: Annotated[int, Field(ge=0)] = 0
