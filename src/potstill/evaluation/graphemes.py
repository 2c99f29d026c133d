"""Text in the pieces that a reader sees as one character, so that nothing cuts an accent, an emoji or a syllable in two.

Extended grapheme clusters (Unicode Standard Annex 29) from ``unicodedata`` alone, a little coarser here and there: a cut that is made
here is one there too, which a test holds against the ``regex`` package.
"""

from __future__ import annotations

import unicodedata
from itertools import takewhile

ZWJ = "\N{ZERO WIDTH JOINER}"
VIRAMA = 9  # canonical combining class: the next consonant joins
SPACING = "ำຳ"  # Thai and Lao AM: letters by category, marks by use
# What joins to the left without being a mark by category; what joins to the right.
EXTENDS = ((0x200C, 0x200D), (0xFF9E, 0xFF9F), (0x1F3FB, 0x1F3FF), (0xE0020, 0xE007F))
PREPENDS = (
    (0x0600, 0x0605), (0x06DD, 0x06DD), (0x070F, 0x070F), (0x0890, 0x0891), (0x08E2, 0x08E2), (0x0D4E, 0x0D4E), (0x110BD, 0x110BD), (0x110CD, 0x110CD),
    (0x111C2, 0x111C3), (0x113D1, 0x113D1), (0x1193F, 0x1193F), (0x11941, 0x11941), (0x11A3A, 0x11A3A), (0x11A84, 0x11A89), (0x11D46, 0x11D46),
    (0x11F02, 0x11F02),
)  # fmt: skip
REGIONAL = (0x1F1E6, 0x1F1FF)
LEADING = ((0x1100, 0x115F), (0xA960, 0xA97C))  # of a Hangul syllable
FOLLOWING = ((0x1160, 0x11FF), (0xD7B0, 0xD7FB))  # its vowel and its tail
SYLLABLES = (0xAC00, 0xD7A3)


def graphemes(text: str) -> list[str]:
    """Return ``text`` in grapheme clusters; joined again they are ``text``. A lone surrogate is a cluster of its own."""
    if text.isascii() and "\r\n" not in text:
        return list(text)
    found: list[str] = []
    for letter in text:
        if found and _joins(found[-1], letter):
            found[-1] += letter
        else:
            found.append(letter)
    return found


def _joins(cluster: str, letter: str) -> bool:
    """Whether ``letter`` belongs to the ``cluster`` before it."""
    last, code = cluster[-1], ord(letter)
    if cluster == "\r":
        return letter == "\n"
    if _mark(letter):
        return True
    if last == ZWJ or _in(ord(last), PREPENDS):
        return True
    if _in(code, (REGIONAL,)):
        return _in(ord(cluster[0]), (REGIONAL,)) and sum(_in(ord(c), (REGIONAL,)) for c in cluster) == 1
    if unicodedata.category(letter) == "Lo" and any(unicodedata.combining(c) == VIRAMA for c in takewhile(_mark, reversed(cluster))):
        return True
    return _hangul(ord(last), code)


def _mark(letter: str) -> bool:
    return unicodedata.category(letter) in ("Mn", "Mc", "Me") or letter in SPACING or _in(ord(letter), EXTENDS)


def _hangul(last: int, code: int) -> bool:
    leads = _in(last, LEADING)
    if _in(code, FOLLOWING):
        return leads or _in(last, (*FOLLOWING, SYLLABLES))
    return leads and _in(code, (*LEADING, SYLLABLES))


def _in(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(low <= code <= high for low, high in ranges)
