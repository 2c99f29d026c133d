"""Text classification where any number of labels may apply to a text, or to a pair of texts, none too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from .. import lookup
from ..contracts import Metric
from ..errors import DataError
from ..records import Example, Head, HeadKind
from . import cells
from .classification import example, filled, joined, known_places, ordered

DEFAULTS: Final[Mapping[str, str]] = {"text": "text", "labels": "labels"}
ROLES: Final = ("text", "text_pair", "labels", "group")
METRICS: Final = ("MicroF1", "LabelMacroF1", "SubsetAccuracy", "HammingLoss")  # the first is the main one


@final
@dataclass(frozen=True)
class MultiLabelClassification:
    """See :class:`potstill.contracts.Task`. ``gold`` is the sorted tuple of the labels that apply; a text cell is parted by ``separator``.

    Which labels are told is decided one by one: log-odds at or over the label's threshold.
    """

    separator: str = "|"
    name: str = "text-classification"
    head_kind: HeadKind = "labels"

    def columns(self, given: Mapping[str, str], present: Sequence[str] = ()) -> Mapping[str, str]:
        """Return role -> column with defaults filled in; ``labels: ""`` says that the data has no gold labels."""
        return filled(given, ROLES, DEFAULTS, self.name)

    def read(self, row: Mapping[str, Any], columns: Mapping[str, str], place: str) -> Example:
        """Turn a row into an example. Raises :class:`BadRow`."""
        gold = cells.labels(row.get(columns["labels"], cells.MISSING), self.separator) if "labels" in columns else None
        return example(row, columns, gold, place)

    def text(self, example: Example) -> str:
        return joined(example)

    def head(self, examples: Sequence[Example]) -> Head:
        """Return the labels of ``examples``. Raises :class:`DataError` where there are none."""
        labels = {label for example in examples for label in example.labels}
        if not labels:
            raise DataError("no row has a gold label", remedy="name the column of the labels: data.columns.labels")
        return Head("labels", ordered(labels))

    def encode(self, examples: Sequence[Example], head: Head) -> np.ndarray:
        """Return which labels apply *Shape:* (n, labels) int8: 1 or 0, -1 throughout where nobody said."""
        places = known_places(examples, head)
        gold = np.zeros((len(examples), head.width), np.int8)
        for row, told in zip(gold, examples):
            row[[places[label] for label in told.labels]] = 1
            if told.gold is None:
                row[:] = -1
        return gold

    def thresholds(self, gold: np.ndarray, scores: np.ndarray, metric: Metric) -> np.ndarray:
        """Return a threshold in log-odds for each label: see :mod:`potstill.evaluation.thresholds`."""
        found: np.ndarray = lookup.load("potstill.evaluation.thresholds:choose")(gold, scores, metric.name).values
        return found

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """Return which labels are told *Shape:* (n, labels) -> (n, labels) int8."""
        return (scores >= 0).astype(np.int8)

    def metrics(self, head: Head) -> Mapping[str, Metric]:
        """Return micro-F1 (the main one), macro-F1, subset accuracy and Hamming loss by name."""
        made = [lookup.load(f"potstill.evaluation.multilabel:{metric}")(head.width) for metric in METRICS]
        return {metric.name: metric for metric in made}
