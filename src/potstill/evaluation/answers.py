"""How good a language model is by the answers that it really writes: each answer graded by itself, and the metrics that are made of the grades.

A row's grades are ``COLUMNS``, in this order. They take the place of scores where such a metric is told; a row of NaN was not answered, and a grade
that nobody asked for is 0. Gold beside them has *Shape:* (n, 0, 0): the references are in the grades already.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from .metrics import ratio

# exact_match, choice: 0 or 1; rouge_l, callable: 0 to 1; tokens: of the answer, without the one that ends it; stopped: 1 where that one came before
# the limit; repeated: 4-grams of tokens that stood in the answer before; grams: how many 4-grams there are.
COLUMNS: Final = ("exact_match", "choice", "rouge_l", "callable", "tokens", "stopped", "repeated", "grams")
GRADES: Final = 4  # so many of them, the first, say how good an answer is
GRAM: Final = 4
WORD: Final = re.compile(r"[^\W_]+")
LAST: Final = ".,;:!? "  # what may end an answer without making it another


@final
@dataclass(frozen=True)
class Share:
    """The sum of a column over the sum of another, or over the rows."""

    name: str
    top: int
    bottom: int | None = None
    proportion: bool = False
    decisions: bool = False
    higher_is_better: bool = True
    span: float = 1.0

    def statistics(self, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """*Shapes:* (n, 0, 0), (n, columns) -> (n, 2): what is counted, of how much."""
        whole = np.ones(len(scores)) if self.bottom is None else scores[:, self.bottom]
        return np.stack([scores[:, self.top], whole], axis=1).astype(np.float64)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        return ratio(sums[..., 0], sums[..., 1])


METRICS: Final[Mapping[str, Share]] = {
    "exact_match": Share("exact_match", 0, proportion=True, decisions=True),
    "choice": Share("choice", 1, proportion=True, decisions=True),
    "rouge_l": Share("rouge_l", 2, decisions=True),
    "callable": Share("callable", 3, decisions=True),
}
BEHAVIOR: Final[Mapping[str, Share]] = {
    "tokens": Share("tokens", 4, higher_is_better=False, span=1e9),
    "stopped": Share("stopped", 5, proportion=True),
    "repetition": Share("repetition", 6, 7, higher_is_better=False),
}


def no_gold(rows: int) -> np.ndarray:
    """Return what stands for gold beside the grades of so many rows."""
    return np.zeros((rows, 0, 0), np.int8)


# --------------------------------------------------------------------------------------------------------- one answer
def normalized(text: str) -> str:
    """Return a text as it is compared: Unicode's NFKC, no case, single blanks, and no mark of a sentence's end."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())  # what folding takes apart is put together again
    return " ".join(plain.split()).rstrip(LAST)


def extracted(text: str, pattern: str | None) -> str | None:
    """Return what an answer comes down to: the last match of ``pattern``, its first group where it has one; None where nothing matches."""
    if pattern is None:
        return text
    found = None
    for match in re.finditer(pattern, text):
        found = match[1] if match.re.groups else match[0]
    return found


def exact_match(answer: str, reference: str, pattern: str | None = None) -> float:
    """Return 1 where an answer is the reference, both normalized. A reference in which ``pattern`` finds nothing is taken whole; such an answer is wrong."""
    said, wanted = extracted(answer, pattern), extracted(reference, pattern)
    return float(said is not None and normalized(said) == normalized(reference if wanted is None else wanted))


def rouge_l(answer: str, reference: str) -> float:
    """Return the F1 of the longest common subsequence of words (Lin 2004, ROUGE, section 3), 0 to 1; words are letters and digits, without case or stems."""
    said, wanted = (WORD.findall(text.lower()) for text in (answer, reference))
    common = _common(said, wanted)
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, a row of the table in the bits of one number (Hyyro 2004)."""
    places: dict[str, int] = {}
    for at, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << at
    whole = row = (1 << len(first)) - 1
    for word in second:
        met = row & places.get(word, 0)
        row = (row + met | row - met) & whole
    return len(first) - row.bit_count()


def choose(nats: np.ndarray, sizes: np.ndarray, *, length_normalized: bool) -> int:
    """Return the likeliest of some options *Shapes:* (options,) each; ``length_normalized``: by nats a byte."""
    return int(np.argmin(nats / np.maximum(sizes, 1) if length_normalized else nats))


def repeated(ids: Sequence[int]) -> tuple[int, int]:
    """Return how many 4-grams of an answer's tokens stood in it before, and how many there are."""
    grams = Counter(tuple(ids[at : at + GRAM]) for at in range(len(ids) - GRAM + 1))
    return grams.total() - len(grams), grams.total()
