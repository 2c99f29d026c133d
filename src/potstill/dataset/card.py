"""The data card: what the rows are, what was left out and why, and where they came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..records import Example, rows_digest
from .clean import Cleaned
from .leaks import HELD, Duplicate, repeated

if TYPE_CHECKING:
    from ..recipe.data import Data as Spec

QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
JUDGED = ("train", *HELD)  # splits that should have rows of every label


def card(
    parts: Mapping[str, Sequence[Example]], labels: Sequence[str], duplicates: Sequence[Duplicate], cleaned: Cleaned, spec: Spec,
    text: Callable[[Example], str],
) -> dict[str, Any]:  # fmt: skip
    """Return the card as plain JSON."""
    by_label = {name: Counter(label for row in rows for label in row.labels) for name, rows in parts.items()}
    leaks = [d for d in duplicates if d.kept_in in HELD and d.kind != "group"]
    return {
        "labels": list(labels),
        "counts": {name: len(rows) for name, rows in parts.items()},
        "by_label": {name: {label: counts.get(label, 0) for label in labels} for name, counts in by_label.items() if counts},
        "missing_labels": {
            name: [label for label in labels if not by_label[name].get(label)] for name in JUDGED if by_label[name] and len(by_label[name]) < len(labels)
        },
        "rare_labels": [label for label in labels if by_label["train"].get(label) == 1],
        "has_gold": {name: bool(rows) and all(row.gold is not None for row in rows) for name, rows in parts.items()},
        "groups": {name: len({row.group for row in rows if row.group is not None}) for name, rows in parts.items()},
        "dropped": cleaned.reasons,
        "duplicates": dict(Counter(d.kind for d in duplicates)),
        "repeated": {name: repeated(parts[name]) for name in HELD},
        "leaks": len(leaks),
        "leaks_by_pair": dict(Counter(f"{d.kind}: {d.kept_in}/{d.removed_from}" for d in leaks)),
        "straddling_groups": len({d.group for d in duplicates if d.kind == "group"}),
        "length": {name: _lengths(rows, text) for name, rows in parts.items() if rows},
        "digests": {name: rows_digest(rows) for name, rows in parts.items()},
        "split": {name: "given" if getattr(spec, name) is not None else f"{getattr(spec.split, name):g} of train" for name in HELD},
        "sources": cleaned.sources,
        "license": spec.license,
        "source": spec.source,
        **({"labels_per_row": _per_row(parts["train"])} if spec.separator is not None else {}),
    }


def _per_row(rows: Sequence[Example]) -> dict[str, float] | None:
    """Return how many labels a gold row has, and what share of rows has none."""
    counts = [len(row.labels) for row in rows if row.gold is not None]
    return {"mean": float(np.mean(counts)), "most": max(counts), "none": counts.count(0) / len(counts)} if counts else None


def _lengths(rows: Sequence[Example], text: Callable[[Example], str]) -> dict[str, float]:
    """Return quantiles of the length in characters."""
    sizes = np.array([len(text(row)) for row in rows])
    return {f"q{round(100 * q)}": float(np.quantile(sizes, q)) for q in QUANTILES}
