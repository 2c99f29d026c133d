"""Text classification: one text, or a pair of texts, gets one of a few labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from .. import lookup
from ..contracts import BadRow, Metric
from ..errors import DataError, UserError
from ..records import Example, Head

DEFAULTS: Final[Mapping[str, str]] = {"text": "text", "label": "label"}
ROLES: Final = ("text", "text_pair", "label", "group")
MAX_BYTES: Final = 1_000_000  # a text longer than this is a file that went astray, not an input
METRICS: Final = ("Accuracy", "MacroF1", "MCC", "LogLoss")  # the first is the main one
_MISSING: Final = object()


@final
@dataclass(frozen=True)
class TextClassification:
    """See :class:`potstill.contracts.Task`. Fields: ``text`` and, where a column is named for it, ``text_pair``."""

    name: str = "text-classification"

    def columns(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """Return role -> column with defaults filled in; a role given an empty column is left out.

        ``label: ""`` thus says that the data has no gold labels. Raises :class:`UserError` for an unknown role.
        """
        for role in given:
            if role not in ROLES:
                raise UserError(f"{self.name} has no '{role}'", place=f"data.columns.{role}", remedy=lookup.did_you_mean(role, ROLES))
        filled = {role: given.get(role, DEFAULTS.get(role, "")) for role in ROLES}
        if not filled["text"]:
            raise UserError("the column of the texts has no name", place="data.columns.text", remedy="name it")
        return {role: column for role, column in filled.items() if column}

    def read(self, row: Mapping[str, Any], columns: Mapping[str, str], place: str) -> Example:
        """Turn a row into an example. A role that ``columns`` leaves out is not read; one that it names must have a value.

        Raises :class:`BadRow`.
        """
        fields = {role: _text(row.get(columns[role])) for role in ("text", "text_pair") if role in columns}
        gold = _label(row.get(columns["label"], _MISSING)) if "label" in columns else None
        group = _group(row.get(columns["group"])) if "group" in columns else None
        return Example.make(fields, gold=gold, group=group, place=place)

    def text(self, example: Example) -> str:
        return "\n".join(str(value) for value in example.fields.values())

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
        numbers = all(label.isascii() and label.removeprefix("-").isdigit() for label in labels)
        return Head("classes", tuple(sorted(labels, key=lambda label: (int(label), label)) if numbers else sorted(labels)))

    def encode(self, examples: Sequence[Example], head: Head) -> np.ndarray:
        """Return the place of each gold label in ``head.labels`` *Shape:* (n,) int64, -1 where there is none."""
        places = {label: place for place, label in enumerate(head.labels)}
        for example in examples:
            if example.gold is not None and example.gold not in places:
                remedy = lookup.did_you_mean(str(example.gold), head.labels)
                raise DataError(f"the label '{example.gold}' is none of the known ones", place=example.place, remedy=remedy)
        return np.array([-1 if example.gold is None else places[example.gold] for example in examples], np.int64)

    def decide(self, logprobs: np.ndarray) -> np.ndarray:
        """Return the place of the likeliest label *Shape:* (n, classes) -> (n,)."""
        return np.argmax(logprobs, axis=-1)

    def metrics(self, head: Head) -> Mapping[str, Metric]:
        """Return accuracy (the main one), macro-F1, MCC and log-loss by name."""
        made = [lookup.load(f"potstill.evaluation.metrics:{metric}")(head.width) for metric in METRICS]
        return {metric.name: metric for metric in made}


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise BadRow("no text")
    if not isinstance(value, str):
        raise BadRow("text is not a string")
    if not value.strip():
        raise BadRow("empty text")
    if not value.isascii():
        try:
            size = len(value.encode())
        except UnicodeEncodeError:  # half of a surrogate pair, as "\ud83d" in JSON: no tokenizer takes it
            raise BadRow("invalid Unicode") from None
    else:
        size = len(value)
    if size > MAX_BYTES:
        raise BadRow("text over 1 MB")
    return value


def _label(value: Any) -> str:
    """Return a label as a string: 1 and 1.0 are "1", true is "true"."""
    match value:
        case _ if value is _MISSING or value is None:
            raise BadRow("no label")
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            if math.isnan(value):
                raise BadRow("label is NaN")
            if math.isfinite(value):
                return str(int(value)) if value.is_integer() else str(value)
        case str():
            return _word(value)
    raise BadRow("label is neither a word nor a number")


def _word(value: str) -> str:
    label = value.strip()
    if not label:
        raise BadRow("label is empty")
    if label.lower() == "nan":  # how a data frame's missing value comes out of a file without types
        raise BadRow("label is NaN")
    if not label.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in label):
        raise BadRow("invalid Unicode")
    return label


def _group(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)) or not str(value).strip():
        raise BadRow("no group")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
