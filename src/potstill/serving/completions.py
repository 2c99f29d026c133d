"""An answer as it grows, token by token: which token is taken, what text it makes, and when it ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ..errors import UserError
from .turns import Turns

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Completion:
    """An answer: its text without the token that ends it; its ``ids`` with it; why it ended; how many tokens were asked by.

    ``logprobs``: of each of its tokens, natural log, before temperature and ``top_p``; ``margins``: by how much the likeliest token was likelier than the next.
    """

    text: str
    ids: tuple[int, ...]
    finish: Finish
    prompt_tokens: int
    logprobs: tuple[float, ...]
    margins: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        return {"completion": self.text, "finish": self.finish, "tokens": len(self.ids)}


@dataclass(frozen=True)
class Sampling:
    """How tokens are taken, and when to end."""

    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    stop: tuple[str, ...]

    @staticmethod
    def checked(max_tokens: int, temperature: float, top_p: float, seed: int, stop: Sequence[str]) -> Sampling:
        """Return the settings. Raises :class:`UserError` for those that can't be."""
        texts = (stop,) if isinstance(stop, str) else tuple(stop)
        fine = {
            f"max_tokens {max_tokens}: it must be 1 or more": max_tokens >= 1,
            f"temperature {temperature}: it must be 0 or more": math.isfinite(temperature) and temperature >= 0,
            f"top_p {top_p}: it must be over 0 and at most 1": 0 < top_p <= 1,
            "an empty text to stop at": all(texts),
        }
        if wrong := [what for what, holds in fine.items() if not holds]:
            raise UserError("; ".join(wrong), place="generation")
        return Sampling(max_tokens, temperature, top_p, seed, texts)

    def within(self, room: int) -> Sampling:
        """Return the settings where so many tokens still fit the context."""
        return replace(self, max_tokens=min(self.max_tokens, room))

    def choose(self, logprobs: np.ndarray, random: np.random.Generator) -> int:
        """Return a token by its log-probabilities *Shape:* (vocabulary,).

        ``top_p``: of the likeliest tokens, as few as hold that much (nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751).
        """
        if self.temperature == 0:
            return int(logprobs.argmax())
        scaled = (logprobs.astype(np.float64) - logprobs.max()) / self.temperature
        chances = np.exp(scaled)
        chances /= chances.sum()
        if self.top_p == 1:
            return _drawn(chances, random)
        order = np.argsort(-chances, kind="stable")
        kept = order[: int(np.searchsorted(np.cumsum(chances[order]), self.top_p)) + 1]
        return int(kept[_drawn(chances[kept], random)])


@dataclass
class Answer:
    """A prompt's answer so far. ``finish``: why it ended, None while it goes on."""

    prompt: np.ndarray
    sampling: Sampling
    turns: Turns
    random: np.random.Generator
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    finish: Finish | None = None
    cut: int | None = None  # where its text ends, before a text that it was to stop at
    sent: int = 0  # characters that :meth:`piece` has given
    endless: bool = False  # no token ends it: where time is measured, all do the same work

    def __post_init__(self) -> None:
        if self.sampling.max_tokens < 1:
            self.finish = "length"  # the prompt fills the context

    def take(self, logits: np.ndarray) -> None:
        """Take the next token by its ``logits`` *Shape:* (vocabulary,)."""
        shifted = logits - logits.max()
        logprobs = shifted - np.float32(np.log(np.exp(shifted).sum(dtype=np.float64)))
        token = self.sampling.choose(logprobs, self.random)
        second, first = np.partition(logprobs, -2)[-2:]
        self.ids.append(token)
        self.logprobs.append(float(logprobs[token]))
        self.margins.append(float(first - second))
        if token in self.turns.stops and not self.endless:
            self.finish = "stop"
        elif self.sampling.stop and (found := [at for stop in self.sampling.stop if (at := self._decoded().find(stop)) >= 0]):
            self.finish, self.cut = "stop", min(found)
        elif len(self.ids) >= self.sampling.max_tokens:
            self.finish = "length"

    @property
    def text(self) -> str:
        return self._decoded()[: self.cut]

    def piece(self) -> str:
        """Return the text that is new since the last call, and that no later token can change."""
        text = self.text
        if self.finish is None:
            text = text.rstrip("\ufffd")  # the bytes of a character may come in several tokens
            text = text[: len(text) - max((_begun(text, stop) for stop in self.sampling.stop), default=0)]
        new = text[self.sent :]
        self.sent = max(self.sent, len(text))
        return new

    def completion(self) -> Completion:
        return Completion(self.text, tuple(self.ids), self.finish or "length", len(self.prompt), tuple(self.logprobs), tuple(self.margins))

    def _decoded(self) -> str:
        tokenizer: Any = self.turns.renderer.tokenizer
        ids = self.ids[:-1] if self.ids and self.ids[-1] in self.turns.stops else self.ids
        return str(tokenizer.decode(ids, skip_special_tokens=True))


def _drawn(chances: np.ndarray, random: np.random.Generator) -> int:
    steps = np.cumsum(chances)
    return int(min(np.searchsorted(steps, random.random() * steps[-1], side="right"), len(chances) - 1))


def _begun(text: str, stop: str) -> int:
    """Return how many of the last characters of ``text`` may be the first of ``stop``."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
