"""What a model's tokenizer knows of words: where they are in a text, and which of its tokens are whole words by themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from .words import Read, Span, Word, is_word, stands_alone

_SURROGATES = re.compile("[\ud800-\udfff]")  # half a character, which no tokenizer takes; one for one, so that places stay


class Vocabulary:
    """A fast tokenizer of ``transformers``, any kind of it: pieces of words, bytes or characters with a mark for spaces."""

    def __init__(self, tokenizer: Any, *, multi_piece: bool, longest: int | None = None) -> None:
        self._special, self._multi_piece = set(tokenizer.all_special_ids), multi_piece
        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # a copy: how it pads and truncates is ours to say
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation() if longest is None else self._tokenizer.enable_truncation(longest)

    @cached_property
    def words(self) -> dict[int, str]:
        """Return the tokens that are whole words, id to word: inside a sentence, after a space, the word is this token and no other."""
        ids = sorted(set(self._tokenizer.get_vocab(with_added_tokens=True).values()) - self._special)
        texts = self._tokenizer.decode_batch([[id] for id in ids], skip_special_tokens=False)
        told = {id: text.strip() for id, text in zip(ids, texts) if is_word(text.strip())}
        return self._alone(told, " ") or self._alone(told, "")  # without: a language that has no spaces

    def _alone(self, told: dict[int, str], before: str) -> dict[int, str]:
        made = self._tokenizer.encode_batch([before + word for word in told.values()], add_special_tokens=False)
        return {id: word for (id, word), found in zip(told.items(), made) if found.ids == [id]}

    def read(self, texts: Sequence[str]) -> list[Read]:
        """Return the texts, cut after ``longest`` tokens, with the words that may be replaced."""
        made = self._tokenizer.encode_batch([_SURROGATES.sub("\ufffd", text) for text in texts])
        return [Read(text, found.ids, found.type_ids, self._in(text, found)) for text, found in zip(texts, made)]

    def _in(self, text: str, found: Any) -> list[Word]:
        at: dict[int, list[int]] = {}
        for place, word in enumerate(found.word_ids):
            if word is not None:
                at.setdefault(word, []).append(place)
        words = [self._word(text, found, tuple(places)) for places in at.values()]
        words = words[:-1] if found.overflowing else words  # the cut may go through the last one
        return [word for word in words if stands_alone(text, word.span) and self._usable(word.ids)]

    def _word(self, text: str, found: Any, places: tuple[int, ...]) -> Word:
        start, end = found.offsets[places[0]][0], found.offsets[places[-1]][1]
        start += len(text[start:end]) - len(text[start:end].lstrip())  # some tokenizers count the space before a word as a part of it
        return Word(Span(start, end), places, tuple(found.ids[place] for place in places))

    def _usable(self, ids: tuple[int, ...]) -> bool:
        return self._multi_piece if len(ids) > 1 else ids[0] not in self._special  # an unknown word is one token, and tells nothing
