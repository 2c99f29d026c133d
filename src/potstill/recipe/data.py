"""The section ``data``: the files, their columns, how they are split, and which rows are left out."""

# ruff: noqa: RUF012 - pydantic copies a default before it gives it away

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from .base import SEPARATOR, Finding, Paths, Section, Separator, Text, one, refuse

Share = Annotated[float, Field(ge=0, lt=1)]


class Split(Section):
    """The shares of ``train`` that become other splits where these have no file of their own."""

    validation: Share = 0.1
    calibration: Share = 0.1
    test: Share = 0.2
    seed: Annotated[int, Field(ge=0)] = 0


class Limit(Section):
    """At most so many rows, the first by the hash of their content; null takes all."""

    train: Annotated[int, Field(ge=1)] | None = None
    unlabeled: Annotated[int, Field(ge=1)] | None = None


def _distinct(columns: list[str]) -> list[str]:
    if len(set(columns)) < len(columns):
        one(f"{columns} names a column twice")
    return columns


class Data(Section):
    """The rows. Paths are plain strings, absolute once the recipe is loaded."""

    train: Paths
    validation: Paths | None = None
    calibration: Paths | None = None
    test: Paths | None = None
    unlabeled: Paths | None = None  # the pool that the teacher may be asked about
    split: Split = Split()
    columns: dict[Text, Text] = {}  # role -> column; `labels` instead of `label`: any number of labels apply to a row
    label_separator: Separator = SEPARATOR  # of `labels` in a text cell
    slices: Annotated[list[Text], AfterValidator(_distinct)] = []  # columns by whose values results are also shown
    max_dropped: Annotated[float, Field(ge=0, le=1)] = 0.05  # the share of rows that can't be used at which the run stops
    near_duplicates: Annotated[float, Field(ge=0, le=1)] = 0.85  # Jaccard similarity from which two texts count as one; 0 is off
    limit: Limit = Limit()
    license: Text = "unknown"
    source: Text = ""

    @property
    def separator(self) -> str | None:
        """What parts the labels of a text cell where any number of labels apply; None where it is one label a row."""
        return self.label_separator if "labels" in self.columns else None

    @model_validator(mode="after")
    def _together(self) -> Data:
        refuse(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        if "labels" in self.columns and "label" in self.columns:
            remedy = "keep `label` where one applies to a row, `labels` where any number may"
            yield Finding(("columns", "labels"), "the columns of both `label` and `labels` are named", remedy)
        if self.label_separator != SEPARATOR and self.separator is None:
            yield Finding(("label_separator",), "nothing is to be parted", "name the column of the labels: columns: {labels: ...}")
        cut = {name: getattr(self.split, name) for name in ("validation", "calibration", "test") if getattr(self, name) is None}
        if sum(cut.values()) >= 1:
            shares = ", ".join(f"{name} {share:g}" for name, share in cut.items())
            yield Finding(("split",), f"the shares ({shares}) leave no rows to train on", "they must sum to less than 1")
        for name in ("validation", "test"):
            if cut.get(name) == 0:
                yield Finding(("split", name), f"there would be no {name} rows", f"give a share above 0, or a file as data.{name}")
