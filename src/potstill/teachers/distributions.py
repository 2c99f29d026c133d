"""From what a recording says about one row to log-probabilities over the task's labels, by name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FLOOR = 1e-6  # assumed: the probability of a label that the recording gives none; its logarithm must be finite
MASS = 0.02  # how far from 1 recorded probabilities may sum: rounding to two or three decimals over many labels
ROLES = ("logprobs", "probabilities", "label")  # what says most comes first


MANY_ROLES = ("logodds", "logprobs", "probabilities", "labels", "label")  # the same, where any number of labels apply


class BadAnswer(Exception):
    """A recorded answer that can't be used; the argument says why."""


def logprobs(role: str, value: Any, names: Any, given: Mapping[str, str], labels: Sequence[str]) -> np.ndarray | None:
    """Return normalised log-probabilities *Shape:* (1, labels) float32, or None where ``value`` is empty.

    ``names`` are the labels of a bare list's entries; ``given`` renames the recording's labels to the task's. Labels
    without probability get ``FLOOR``; log-probabilities that sum to one are kept to the bit. Raises :class:`BadAnswer`.
    """
    if _empty(value):
        return None
    if role == "label":
        return _normal(np.log(_place({label_text(value): 1.0}, given, labels, 0.0).clip(FLOOR)))
    numbers = _place(_named(_parsed(value), _parsed(names), role), given, labels, 0.0 if role == "probabilities" else -math.inf)
    if role == "probabilities":
        if (numbers < 0).any():
            raise BadAnswer("a probability is below 0")
        mass = float(numbers.sum())
    else:
        mass = float(np.exp(numbers).sum())
    if not math.isfinite(mass) or abs(mass - 1) > MASS:
        raise BadAnswer(f"the probabilities sum to {mass:.4g}, not to 1")
    if role == "logprobs":
        if np.isfinite(numbers).all() and abs(mass - 1) <= 1e-6:  # what a float32 softmax gives: leave its bits alone
            return np.asarray(numbers, np.float32)[None]
        return _normal(np.where(np.isneginf(numbers), math.log(FLOOR), numbers))
    return _normal(np.log(np.where(numbers == 0, FLOOR, numbers)))


def logodds(role: str, value: Any, names: Any, given: Mapping[str, str], labels: Sequence[str], *, separator: str) -> np.ndarray | None:
    """Return log-odds *Shape:* (1, labels) float32, or None where ``value`` is empty; an empty list is an answer: no label applies.

    As :func:`logprobs`, but each label has a probability of its own; ``FLOOR`` from 0 and from 1 at most. Labels that are not named
    don't apply. ``label`` and ``labels`` are the list of those that do, or a text that ``separator`` parts.
    """
    if _empty(value):
        return None
    if role in ("label", "labels"):
        told = {label_text(label): 1.0 for label in _listed(value, separator)}
        return _odds(_place(told, given, labels, 0.0))
    numbers = _place(_named(_parsed(value), _parsed(names), role), given, labels, 0.0 if role == "probabilities" else -math.inf)
    if role == "probabilities":
        if ((numbers < 0) | (numbers > 1)).any():
            raise BadAnswer("a probability is not between 0 and 1")
        return _odds(numbers)
    if role == "logprobs":
        if (numbers > 0).any():
            raise BadAnswer("a log-probability is above 0")
        return _odds(np.exp(numbers), -np.expm1(numbers))
    bound = math.log1p(-FLOOR) - math.log(FLOOR)
    return np.asarray(np.where(np.isinf(numbers), np.clip(numbers, -bound, bound), numbers), np.float32)[None]


def _odds(p: np.ndarray, rest: np.ndarray | None = None) -> np.ndarray:
    """Return the log-odds of ``p``; ``rest`` is 1 - p where it is known better than that."""
    return np.asarray(np.log(p.clip(FLOOR, 1 - FLOOR)) - np.log((1 - p if rest is None else rest).clip(FLOOR, 1 - FLOOR)), np.float32)[None]


def _listed(value: Any, separator: str) -> list[Any]:
    found = _parsed(value) if isinstance(value, str) and value.strip().startswith("[") else value
    if isinstance(found, str):
        return [part for part in map(str.strip, found.split(separator)) if part]
    if not isinstance(found, list | tuple):
        raise BadAnswer("the labels are neither a list nor a text")
    return list(found)


def _normal(logs: np.ndarray) -> np.ndarray:
    return np.asarray(logs - np.logaddexp.reduce(logs), np.float32)[None]


def _place(numbers: Mapping[str, float], given: Mapping[str, str], labels: Sequence[str], absent: float) -> np.ndarray:
    """Put numbers by the recording's labels where the task's labels stand. *Shape:* (labels,) float64."""
    places = {label: place for place, label in enumerate(labels)}
    out = np.full(len(labels), absent)
    seen: set[str] = set()
    for own, number in numbers.items():
        name = given.get(own, own)
        if name not in places:
            raise BadAnswer(f"the label '{name}' is none of the task's ({', '.join(labels[:12])}{', ...' if len(labels) > 12 else ''})")
        if name in seen:
            raise BadAnswer(f"two labels are called '{name}'")
        seen.add(name)
        out[places[name]] = number
    if np.isnan(out).any():
        raise BadAnswer("a number is NaN")
    return out


def _named(value: Any, names: Any, role: str) -> dict[str, float]:
    if isinstance(value, Mapping):
        pairs = [(str(name), number) for name, number in value.items() if number is not None]  # Parquet fills a struct's gaps with null
    elif isinstance(value, list | tuple):
        if not isinstance(names, list | tuple):
            raise BadAnswer(f"{role} is a list: a column `labels` must name its entries, or write an object by label")
        if len(names) != len(value):
            raise BadAnswer(f"{role} has {len(value)} entries, labels has {len(names)}")
        pairs = [(label_text(name), number) for name, number in zip(names, value)]
        if len({name for name, _ in pairs}) < len(pairs):
            raise BadAnswer("a label is named twice")
    else:
        raise BadAnswer(f"{role} is neither an object by label nor a list")
    for name, number in pairs:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise BadAnswer(f"the {role} of '{name}' is {number!r}, no number")
    return {name: float(number) for name, number in pairs}


def _parsed(value: Any) -> Any:
    """Return the value behind a cell of a CSV."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def label_text(value: Any) -> str:
    """Return a label as text, as the task writes it: 1 and 1.0 are "1", true is "true"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or (isinstance(value, str) and not value.strip())
