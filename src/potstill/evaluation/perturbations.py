"""A text as somebody else would have sent it: with typos, in another case, with stray blanks, cut short. The label stays.

Each change depends on the seed, its name, the example and the field, and on nothing else. No grapheme is ever broken, a text never
becomes blank, and what can't be changed (the case of Chinese) comes back as it was: the caller counts it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import numpy as np

from .. import rng
from ..records import Example, Field
from .graphemes import graphemes

KEYBOARDS = (  # rows of keys, from the left; a blank is a key that has no letter
    ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    ("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"),
    (" ςερτυθιοπ", "ασδφγηξκλ", "ζχψωβνμ"),
    ("  קראטוןםפ", "שדגכעיחלךף", "זסבהנמצתץ"),
    ("ضصثقفغعهخحجد", "شسيبلاتنمكط", "ئءؤر ىةوزظ"),
)
LEADS, BREAKS, TRAILS = (" ", "  ", "\t", "\n"), ("  ", "\t", "\n", " \n "), (" ", "  ", "\t", "\n")
Change = Callable[[str, np.random.Generator, float], str]  # text, its stream, the typos' rate -> text


def changed(example: Example, name: str, *, seed: int = 0, typo_rate: float = 0.05) -> Example:
    """Return the example with every text of it changed by the arm ``name``; with the same fields, and so the same id, where none could be."""
    fields: dict[str, Field] = {
        field: CHANGES[name](value, rng.stream(seed, "perturb", name, example.id, field), typo_rate) if isinstance(value, str) else value
        for field, value in example.fields.items()
    }
    return Example.make(fields, gold=example.gold, group=example.group, place=example.place, columns=example.columns)


# -------------------------------------------------------------------------------------------------------------- typos
def typos(text: str, random: np.random.Generator, rate: float) -> str:
    """Swap, drop, insert or mistake ``rate`` of the letters, at least one; digits stay, since a wrong digit is another number.

    A mistaken or inserted letter is a neighbor on the keyboard of its script; where no keyboard here has the letter, it is doubled.
    """
    pieces = graphemes(text)
    letters = [i for i, piece in enumerate(pieces) if _letter(piece)]
    if not letters:
        return text
    places = random.choice(letters, max(1, round(rate * len(letters))), replace=False)
    made = _mistyped(pieces, sorted(places.tolist()), random, alone=len(letters) == 1)
    if made == text or not made.strip():  # several typos may undo each other, one alone can't
        made = _mistyped(pieces, places[:1].tolist(), random, alone=len(letters) == 1)
    return made


def _mistyped(pieces: Sequence[str], places: Sequence[int], random: np.random.Generator, *, alone: bool) -> str:
    out, wrong, at = [], set(places), 0
    while at < len(pieces):
        piece, after = pieces[at], pieces[at + 1] if at + 1 < len(pieces) else ""
        if at not in wrong:
            out.append(piece)
            at += 1
            continue
        near = NEIGHBORS.get(piece)
        beside = near[random.integers(len(near))] if near else piece
        kinds: list[tuple[str, ...]] = [(piece, beside) if random.integers(2) else (beside, piece)]  # inserted
        kinds += [(beside,)] if near else []  # mistaken
        kinds += [] if alone else [()]  # dropped
        swaps = _letter(after) and after != piece
        kinds += [(after, piece)] if swaps else []
        kind = random.integers(len(kinds))
        out += kinds[kind]
        at += 2 if swaps and kind == len(kinds) - 1 else 1
    return "".join(out)


def _letter(piece: str) -> bool:
    return bool(piece) and unicodedata.category(piece[0]).startswith("L")


def _neighbors() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for keys in ({(row, at): key for row, line in enumerate(rows) for at, key in enumerate(line) if key != " "} for rows in KEYBOARDS):
        for (row, at), key in keys.items():
            # Each row stands half a key to the right of the one above it.
            around = ((row, at - 1), (row, at + 1), (row - 1, at), (row - 1, at + 1), (row + 1, at - 1), (row + 1, at))
            near = tuple(keys[place] for place in around if place in keys)
            found[key] = near
            if len(key.upper()) == 1 and key.upper() != key:
                found[key.upper()] = tuple(other.upper() for other in near if other.upper() != key.upper())  # the Greek sigmas share a capital
    return found


NEIGHBORS: Mapping[str, tuple[str, ...]] = _neighbors()


# ------------------------------------------------------------------------------------------------- case, blanks, length
def upper_case(text: str, random: np.random.Generator, rate: float) -> str:
    return text.upper()


def lower_case(text: str, random: np.random.Generator, rate: float) -> str:
    return text.lower()


def whitespace(text: str, random: np.random.Generator, rate: float) -> str:
    """Put a blank before and after, and double the blanks between words or make them tabs and line breaks."""
    if not text.strip():
        return text
    inside = "".join(part if words else _one(BREAKS, random) for words, part in _runs(text))
    return _one(LEADS, random) + inside + _one(TRAILS, random)


def truncation(text: str, random: np.random.Generator, rate: float) -> str:
    """Keep the first half of the words, rounded up; of a single word, or of a script without blanks, the first half of its characters."""
    runs = _runs(text)
    words = [i for i, (word, _) in enumerate(runs) if word]
    if len(words) > 1:
        return "".join(part for _, part in runs[: words[(len(words) + 1) // 2 - 1] + 1])
    if not words:
        return text
    pieces = graphemes(runs[words[0]][1])
    return "".join(pieces[: (len(pieces) + 1) // 2]) if len(pieces) > 1 else text


def _runs(text: str) -> list[tuple[bool, str]]:
    """Return words and the blanks between them in order: (is a word, text)."""
    return [(word, "".join(pieces)) for word, pieces in groupby(graphemes(text), key=lambda piece: not piece.isspace())]


def _one(choices: Sequence[str], random: np.random.Generator) -> str:
    return choices[int(random.integers(len(choices)))]


CHANGES: Mapping[str, Change] = {
    "typos": typos, "upper_case": upper_case, "lower_case": lower_case, "whitespace": whitespace, "truncation": truncation,
}  # fmt: skip
WORDS: Mapping[str, str] = {
    "typos": "letters swapped, dropped, inserted or mistaken for a neighbor on the keyboard", "upper_case": "all in capitals",
    "lower_case": "no capitals", "whitespace": "blanks doubled, tabs and line breaks between words, blanks around",
    "truncation": "the first half of the words", "out_of_domain": "rows of another kind, from a file of yours",
}  # fmt: skip
