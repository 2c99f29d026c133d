"""A bundle that writes, open: its answers step by step, and its pace, measured on the machine that serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cascade.policy import Policy
from ..errors import BundleError, DataError, UserError
from .completions import Completion, Sampling
from .generator import CHUNK, Generator, Row
from .tuning import WORTH

TOKENS, SECONDS = 24, 0.5  # of each measurement, whichever ends first
PROMPT = {"prompt": "a few words to begin with, " * 16}
STEP_S, STEP_TOKENS = 0.05, 2  # a piece of a prompt is read in about so long, or as long as so many tokens: whoever waits for a worker waits for it
LETTERS = 4.0  # of a token, about: what a prompt costs is guessed before it is read


@dataclass(frozen=True)
class Way:
    """With so many ``threads``: seconds of a token that is written, and of one that is read."""

    threads: int
    token_s: float
    read_s: float

    def told(self) -> str:
        return f"{self.threads}: {1 / self.token_s:,.0f}"


@dataclass(frozen=True)
class Pace:
    """The way that was chosen, and all that were tried."""

    chosen: Way
    tried: tuple[Way, ...]

    def told(self) -> str:
        """Return the measurement in words."""
        count = self.chosen.threads
        return f"{count} thread{'s' * (count > 1)} an answer (threads: tokens/s of one answer: {', '.join(way.told() for way in self.tried)})"


@dataclass(frozen=True)
class Said:
    """What a token brought: to the answer of which row, the text that is new in it, and the whole answer once it has ended."""

    place: int
    piece: str
    whole: Completion | None


@dataclass(frozen=True, eq=False)
class Writer:
    """A bundle that was opened, checked and measured; ``batch``: rows of one request that are written together. It has no policy: nobody is asked in
    its place."""

    path: Path
    digest: str
    generator: Generator
    tuned: Pace
    batch: int
    policy: Policy | None = None

    @property
    def threads(self) -> int:
        return self.tuned.chosen.threads

    def told(self) -> str:
        """Return how it answers here, in words."""
        return self.tuned.told()

    @property
    def chats(self) -> bool:
        return self.generator.turns.renderer.template is not None

    def row_seconds(self, chars: float, tokens: int) -> float:
        """Return how long an answer of so many tokens keeps a worker, about, to a prompt of so many characters."""
        return min(tokens, self.generator.context) * self.tuned.chosen.token_s + chars / LETTERS * self.tuned.chosen.read_s

    def chunk(self, rows: int) -> int:
        """Return how many positions of the prompts of so many rows are read at a time."""
        way = self.tuned.chosen
        return min(CHUNK, max(1, int(max(STEP_S, STEP_TOKENS * way.token_s) / max(1e-9, way.read_s * min(rows, self.batch)))))

    def said(self, rows: Sequence[Row], sampling: Sampling, *, pieces: bool) -> Iterator[Said | None]:
        """Yield what each token brings, None where a prompt is still being read; without ``pieces`` no text before an answer's end.

        Raises :class:`DataError` for rows that can't be read, and for a prompt that is too long: none is cut.
        """
        try:
            answers = self.generator.answers(rows, sampling, whole=True)
        except UserError as error:
            if isinstance(error, DataError | BundleError):
                raise
            raise DataError(error.message, remedy=error.remedy) from error  # a chat template refuses its turns
        places = {id(answer): place for place, answer in enumerate(answers)}
        for answer in self.generator.steps(answers, self.batch, chunk=self.chunk(len(rows))):
            if answer is None:
                yield None
            else:
                whole = answer.completion() if answer.finish is not None else None
                yield Said(places[id(answer)], answer.piece() if pieces else "", whole)


def measure(open_with: Callable[[int], Generator], threads: Sequence[int]) -> Pace:
    """Measure an answer with each number of ``threads``; more are chosen where it is written ``WORTH`` times as fast: who reads it while it is written
    waits for each token."""
    tried = tuple(_way(open_with(count), count) for count in threads)
    chosen = tried[0]
    for way in tried[1:]:
        if WORTH * way.token_s < chosen.token_s:
            chosen = way
    return Pace(chosen, tried)


def _way(generator: Generator, threads: int) -> Way:
    for _ in generator.ticks([PROMPT], 1):  # warm: memory is taken at the first call of a shape
        pass
    began = time.perf_counter()
    at = [time.perf_counter() for _ in _for(SECONDS, generator.ticks([PROMPT], TOKENS))]
    token_s, read = (at[-1] - at[0]) / (len(at) - 1), min(len(generator.turns.question(PROMPT)), generator.context - TOKENS)
    return Way(threads, token_s, max(0.0, at[0] - began - token_s) / max(1, read))


def _for(seconds: float, ticks: Iterator[None]) -> Iterator[None]:
    """Yield what comes within so many seconds, two at least."""
    until = time.perf_counter() + seconds
    for number, tick in enumerate(ticks):
        yield tick
        if number and time.perf_counter() >= until:
            return
