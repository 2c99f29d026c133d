"""What a cell of a row becomes: a text, a label, any number of labels, a group; or the reason why it is none."""

from __future__ import annotations

import math
from typing import Any, Final

from ..contracts import BadRow

MAX_BYTES: Final = 1_000_000  # a text longer than this is a file that went astray, not an input
MISSING: Final = object()


def text(value: Any) -> str:
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


def label(value: Any) -> str:
    """Return a label as a string: 1 and 1.0 are "1", true is "true"."""
    match value:
        case _ if value is MISSING or value is None:
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
    found = value.strip()
    if not found:
        raise BadRow("label is empty")
    if found.lower() == "nan":  # how a data frame's missing value comes out of a file without types
        raise BadRow("label is NaN")
    if not found.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in found):
        raise BadRow("invalid Unicode")
    return found


def labels(value: Any, separator: str) -> tuple[str, ...]:
    """Return the labels of a list, or of a text that ``separator`` parts, sorted. An empty list or text: none applies.

    A label twice is refused: such a list is most often no list of labels at all, but a 0 or a 1 for each of them.
    """
    if value is MISSING or value is None or (isinstance(value, float) and math.isnan(value)):
        raise BadRow("no labels")
    if isinstance(value, str):
        if value.strip().startswith("[") and value.strip().endswith("]"):  # what a data frame writes of a list: it is no separator's work
            raise BadRow("labels are a list that was written as text")
        value = value.split(separator) if value.strip() else []
    if not isinstance(value, list | tuple):
        raise BadRow("labels are neither a list nor a text")
    found = sorted(label(item) for item in value)
    if len(set(found)) < len(found):
        raise BadRow("a label stands twice in its row")
    return tuple(found)


def group(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)) or not str(value).strip():
        raise BadRow("no group")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
