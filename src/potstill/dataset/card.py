"""The data card: what the rows are, what was left out and why, and where they came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..records import Example, rows_digest
from .clean import HELD, LEARNT, Duplicate

QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


def card(
    parts: Mapping[str, Sequence[Example]], labels: Sequence[str], duplicates: Sequence[Duplicate], dropped: Mapping[str, int],
    sources: Sequence[Mapping[str, Any]], license: str, source: str, text: Callable[[Example], str],
) -> dict[str, Any]:  # fmt: skip
    """Return the card as plain JSON."""
    by_label = {name: Counter(str(row.gold) for row in rows if row.gold is not None) for name, rows in parts.items()}
    leaks = [d for d in duplicates if d.kept_in in HELD and d.removed_from in (*LEARNT, "validation", "calibration")]
    return {
        "labels": list(labels),
        "counts": {name: len(rows) for name, rows in parts.items()},
        "by_label": {name: {label: counts.get(label, 0) for label in labels} for name, counts in by_label.items() if counts},
        "missing_labels": {
            name: [label for label in labels if not by_label[name].get(label)]
            for name in ("train", *HELD)
            if by_label[name] and len(by_label[name]) < len(labels)
        },
        "has_gold": {name: bool(rows) and all(row.gold is not None for row in rows) for name, rows in parts.items()},
        "groups": {name: len({row.group for row in rows if row.group is not None}) for name, rows in parts.items()},
        "dropped": dict(dropped),
        "duplicates": dict(Counter(d.kind for d in duplicates)),
        "leaks": len(leaks),
        "straddling_groups": _straddling(parts),
        "length": {name: _lengths(rows, text) for name, rows in parts.items() if rows},
        "digests": {name: rows_digest(rows) for name, rows in parts.items()},
        "sources": list(sources),
        "license": license,
        "source": source,
    }


def _lengths(rows: Sequence[Example], text: Callable[[Example], str]) -> dict[str, float]:
    """Return quantiles of the length in characters."""
    sizes = np.array([len(text(row)) for row in rows])
    return {f"q{round(100 * q)}": float(np.quantile(sizes, q)) for q in QUANTILES}


def _straddling(parts: Mapping[str, Sequence[Example]]) -> int:
    """Return how many groups stand both in test and in what is learnt from: only possible where the user's own files say so."""
    learnt = {row.group for name in LEARNT for row in parts[name] if row.group is not None}
    return len({row.group for row in parts["test"] if row.group is not None} & learnt)
