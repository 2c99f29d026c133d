"""Rows as a language model reads them that is a teacher, and what stands for them in the store."""

from __future__ import annotations

import numpy as np

from .. import storage
from ..errors import UserError
from ..records import Example
from ..serving.preprocess import Item
from ..serving.turns import Turns
from .rows import has_surrogates


def read(turns: Turns, example: Example) -> Item | str:
    """Return the row, or why it can't be read."""
    if has_surrogates(storage.canonical(dict(example.fields)).decode("utf-8", "surrogatepass")):
        return "the text is not valid Unicode"
    try:
        return turns.encode([example.fields])[0]
    except UserError as error:
        return error.message


def content(item: Item) -> bytes:
    """Return an item's bytes, the same for the same ids, learnt places and windows."""
    columns = [np.ascontiguousarray(item[name], "<i4").tobytes() for name in ("input_ids", "learnt", "window")]
    return b"turns " + str(len(item["input_ids"])).encode() + b"\n" + b"".join(columns)


def unread(example: Example) -> bytes:
    """Return what stands for a row that can't be read."""
    return b"unread " + example.id.encode()
