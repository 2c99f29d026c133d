"""The words that an n-gram student met: when it is exported, each gets one row for what its character n-grams add up to.

A sum may be taken in any order, so the answers stay what they were; nine words in ten cost one row then instead of a dozen. What is kept
of a word are its hash and the ids of its n-grams, not its letters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .. import storage
from ..records import Example
from ..serving.hashing import Words, encode, words_of

FILE = "words.npy"
MOST = 1 << 14  # words, the commonest ones


@dataclass(frozen=True)
class Known:
    """``words``: the table by which they are told; ``grams``: the ids of all slots' n-grams, one slot after the other, ``ends``: of each slot
    *Shape:* (slots,)."""

    words: Words
    grams: Tensor
    ends: Tensor

    @staticmethod
    def of(rows: Sequence[Example], spec: Mapping[str, Any]) -> Known | None:
        """Return the words of ``rows``; None where there are none, or no character n-grams."""
        if not spec["char_ngrams"]:
            return None
        texts = ("\n".join(str(row.fields.get(name, "")) for name in spec["fields"]) for row in rows)
        counts = Counter(word for text in texts for word in words_of(text, spec))
        words = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST]]
        if not words:
            return None
        table = Words.of(words)
        by_slot = table.rows(words)
        alone = encode([by_slot.get(slot, "") for slot in range(len(table.hashes))], {**spec, "word_ngrams": [1, 0], "lowercase": False})
        grams = torch.from_numpy(np.concatenate([ids for ids, _ in alone]))
        return Known(table, grams, torch.from_numpy(np.cumsum([len(ids) for ids, _ in alone])))

    @staticmethod
    def read(state: Mapping[str, Tensor]) -> Known | None:
        """Return what :meth:`tensors` gave, None where it isn't there."""
        if "words" not in state:
            return None
        return Known(Words(state["words"].numpy().view(np.uint64)), state["word_grams"], state["word_ends"])

    def tensors(self) -> dict[str, Tensor]:
        """Return all of it by name, int64."""
        return {"words": torch.from_numpy(self.words.hashes.view(np.int64).copy()), "word_grams": self.grams, "word_ends": self.ends}

    def rows(self, table: Tensor) -> Tensor:
        """Return each slot's sum of its n-grams' rows in ``table`` *Shape:* (slots, columns); zeros where no word stands."""
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), self.ends[:-1]])
        return functional.embedding_bag(self.grams, table, starts, mode="sum")

    def write(self, folder: Path) -> None:
        with storage.disk_errors(folder):
            np.save(folder / FILE, self.words.hashes, allow_pickle=False)
