"""Text classification: one text, or a pair of texts, gets one of a few labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from .. import lookup
from ..contracts import Metric
from ..errors import DataError, UserError
from ..records import Example, Head, HeadKind
from . import cells

DEFAULTS: Final[Mapping[str, str]] = {"text": "text", "label": "label"}
ROLES: Final = ("text", "text_pair", "label", "group")
METRICS: Final = ("Accuracy", "MacroF1", "MCC", "LogLoss")  # the first is the main one


@final
@dataclass(frozen=True)
class TextClassification:
    """See :class:`potstill.contracts.Task`. Fields: ``text`` and, where a column is named for it, ``text_pair``."""

    name: str = "text-classification"
    head_kind: HeadKind = "classes"

    def columns(self, given: Mapping[str, str], present: Sequence[str] = ()) -> Mapping[str, str]:
        """Return role -> column with defaults filled in; a role given an empty column is left out.

        ``label: ""`` thus says that the data has no gold labels. Raises :class:`UserError` for an unknown role.
        """
        return filled(given, ROLES, DEFAULTS, self.name)

    def read(self, row: Mapping[str, Any], columns: Mapping[str, str], place: str) -> Example:
        """Turn a row into an example. A role that ``columns`` leaves out is not read; one that it names must have a value.

        Raises :class:`BadRow`.
        """
        gold = cells.label(row.get(columns["label"], cells.MISSING)) if "label" in columns else None
        return example(row, columns, gold, place)

    def text(self, example: Example) -> str:
        return joined(example)

    def head(self, examples: Sequence[Example]) -> Head:
        """Return the labels of ``examples``, whole numbers in their own order, words in the alphabet's.

        Raises :class:`DataError` where there are fewer than two labels.
        """
        labels = {str(example.gold) for example in examples if example.gold is not None}
        if not labels:
            raise DataError("there are no gold labels", remedy="name the column of the labels: data.columns.label")
        if len(labels) == 1:
            raise DataError(
                f"all rows have one label, '{labels.pop()}': there is nothing to tell apart",
                remedy="add rows of the other labels, or name another column: data.columns.label",
            )
        return Head("classes", ordered(labels))

    def encode(self, examples: Sequence[Example], head: Head) -> np.ndarray:
        """Return the place of each gold label in ``head.labels`` *Shape:* (n,) int64, -1 where there is none."""
        places = known_places(examples, head)
        return np.array([-1 if example.gold is None else places[example.gold] for example in examples], np.int64)

    def thresholds(self, gold: np.ndarray, scores: np.ndarray, metric: Metric) -> np.ndarray:
        """Return zeros: the likeliest label needs no threshold."""
        return np.zeros(scores.shape[-1], np.float32)

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """Return the place of the likeliest label *Shape:* (n, classes) -> (n,)."""
        return np.argmax(scores, axis=-1)

    def metrics(self, head: Head) -> Mapping[str, Metric]:
        """Return accuracy (the main one), macro-F1, MCC and log-loss by name."""
        made = [lookup.load(f"potstill.evaluation.metrics:{metric}")(head.width) for metric in METRICS]
        return {metric.name: metric for metric in made}


def filled(given: Mapping[str, str], roles: Sequence[str], defaults: Mapping[str, str], name: str) -> Mapping[str, str]:
    """Return role -> column with ``defaults`` filled in, without the roles whose column is empty. Raises :class:`UserError`."""
    for role in given:
        if role not in roles:
            raise UserError(f"{name} has no '{role}'", place=f"data.columns.{role}", remedy=lookup.did_you_mean(role, roles))
    columns = {role: given.get(role, defaults.get(role, "")) for role in roles}
    if not columns["text"]:
        raise UserError("the column of the texts has no name", place="data.columns.text", remedy="name it")
    return {role: column for role, column in columns.items() if column}


def example(row: Mapping[str, Any], columns: Mapping[str, str], gold: Any, place: str) -> Example:
    """Return the example of a row whose gold answer was read. Raises :class:`BadRow`."""
    fields = {role: cells.text(row.get(columns[role])) for role in ("text", "text_pair") if role in columns}
    group = cells.group(row.get(columns["group"])) if "group" in columns else None
    return Example.make(fields, gold=gold, group=group, place=place)


def joined(example: Example) -> str:
    """Return the words of an example's texts, one text a line."""
    return "\n".join(str(value) for value in example.fields.values())


def ordered(labels: Collection[str]) -> tuple[str, ...]:
    """Return labels in the order of a head: whole numbers in their own order, words in the alphabet's."""
    numbers = all(label.isascii() and label.removeprefix("-").isdigit() for label in labels)
    return tuple(sorted(labels, key=lambda label: (int(label), label)) if numbers else sorted(labels))


def known_places(examples: Sequence[Example], head: Head) -> dict[str, int]:
    """Return label -> its place in ``head``. Raises :class:`DataError` for a gold label that it lacks."""
    places = {label: place for place, label in enumerate(head.labels)}
    for example in examples:
        for label in example.labels:
            if label not in places:
                remedy = lookup.did_you_mean(label, head.labels)
                raise DataError(f"the label '{label}' is none of the known ones", place=example.place, remedy=remedy)
    return places
