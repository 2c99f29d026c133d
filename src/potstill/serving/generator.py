"""A shipped language model at work: rows in, completions out, and how likely it holds what rows say. numpy, tokenizers and ONNX Runtime only.

The graph's cache stays with the runtime between calls. Rows of like length share a batch, padded in front; what is padding is masked and positions
are counted without it, so a row's answer is its own, beyond the last digits of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .. import rng
from ..errors import BundleError, DataError, UserError
from ..records import Field
from .completions import Answer, Completion, Sampling
from .predictor import MEND, describe, open_session
from .preprocess import Replaced, build
from .turns import Turns

CHUNK = 128  # positions a call at most: what bounds the memory of attention and, where rows are judged, of logits
BATCH = 8  # rows that are answered together unless told otherwise
Row = Mapping[str, Field]
Scores = Callable[[Row], Iterator[np.ndarray]]  # chunks of logits or log-probabilities *Shape:* (positions, vocabulary), end to end a row's learnt ones


@dataclass(frozen=True)
class Generator:
    """An open artifact of a language model. Calls may come from several threads: what a call knows is its own."""

    folder: Path
    turns: Turns
    prepare: Callable[[Row], Row]
    session: Any  # onnxruntime.InferenceSession
    layers: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    fields: tuple[str, ...] = ()

    @staticmethod
    def open(folder: Path, threads: int = 1) -> Generator:
        """Open the artifact in ``folder``. Raises :class:`BundleError` for what is missing, damaged, newer, or no language model."""
        described = describe(folder)
        head = described["head"]
        if head.get("kind") != "tokens":
            raise BundleError("this is no language model", place=str(folder), remedy="open it by potstill.serving.predictor:Predictor")
        made = build(described["preprocess"], folder)
        turns, prepare = (made.of, made.redactor.fields) if isinstance(made, Replaced) else (made, _same)
        if not isinstance(turns, Turns):
            raise BundleError("a language model must read turns", place=str(folder), remedy=MEND)
        session = open_session(folder / described["model"], threads, described.get("files", {}).get(described["model"], {}).get("bytes"))
        try:
            sizes = {name: int(head[name]) for name in ("layers", "kv_heads", "head_dim", "vocabulary", "context")}
        except KeyError as error:
            raise BundleError(f"the description's head has no {error}", place=str(folder), remedy=MEND) from error
        if {node.name for node in session.get_inputs()} != {
            "input_ids",
            "attention_mask",
            "position_ids",
            "places",
            *_named("past_key_values", sizes["layers"]),
        }:
            raise BundleError("the model is not the one described", place=str(folder), remedy=MEND)
        return Generator(folder, turns, prepare, session, **sizes, fields=tuple(described["preprocess"].get("fields", ())))

    # -------------------------------------------------------------------------------------------------- it answers
    def generate(
        self, rows: Sequence[Row], *, max_tokens: int = 256, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0, stop: Sequence[str] = (),
        batch_size: int = BATCH,
    ) -> list[Completion]:  # fmt: skip
        """Answer each row; an answer that stands in it already is not looked at.

        ``temperature`` 0 takes the likeliest token; otherwise tokens are drawn, a row's by ``seed`` and its own prompt, whatever rows stand beside it.
        Ends at a token that ends an answer, before the first of ``stop`` texts, or where ``max_tokens`` or the model's context is full.
        """
        answers = self.answers(rows, Sampling.checked(max_tokens, temperature, top_p, seed, stop))
        for _ in self.steps(answers, batch_size):
            pass
        return [answer.completion() for answer in answers]

    def stream(
        self, row: Row, *, max_tokens: int = 256, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0, stop: Sequence[str] = ()
    ) -> Iterator[str]:  # fmt: skip
        """Yield an answer's text piece by piece; the pieces joined are :meth:`generate`'s text."""
        answers = self.answers([row], Sampling.checked(max_tokens, temperature, top_p, seed, stop))
        for answer in self.steps(answers, 1):
            if answer is not None and (piece := answer.piece()):
                yield piece

    def ticks(self, rows: Sequence[Row], tokens: int) -> Iterator[None]:
        """Yield each time all ``rows``, one batch, have got another of ``tokens`` tokens, ended or not: for whoever measures time."""
        sampling = Sampling.checked(tokens, 0.0, 1.0, 0, ())
        prompts = [self._prompt(row)[-max(1, self.context - tokens) :] for row in rows]
        answers = [Answer(ids, sampling.within(self.context - len(ids)), self.turns, rng.stream(0), endless=True) for ids in prompts]
        for number, _ in enumerate((answer for answer in self.steps(answers, len(rows)) if answer is not None), 1):
            if number % len(rows) == 0:
                yield

    def answers(self, rows: Sequence[Row], sampling: Sampling, *, whole: bool = False) -> list[Answer]:
        """Return the rows' answers, not begun. ``whole``: raise :class:`DataError` for a prompt of which the oldest tokens would be left out."""
        prompts = [self._whole(row) if whole else self._prompt(row) for row in rows]
        return [
            Answer(ids, sampling.within(self.context - len(ids)), self.turns, rng.stream(sampling.seed, "sampling", ids.tobytes().hex())) for ids in prompts
        ]

    def _prompt(self, row: Row) -> np.ndarray:
        """Return what a row asks by *Shape:* (tokens,), one at least: something must foretell the first token of an answer."""
        ids = self.turns.question(self.prepare(row))
        return ids if len(ids) else np.array([self.turns.renderer.end], np.int64)

    def _whole(self, row: Row) -> np.ndarray:
        ids, most = self.turns.asked(self.prepare(row)), min(self.turns.max_length, self.context - 1)
        if len(ids) > most:
            raise DataError(f"the prompt has {len(ids):,} tokens, this model reads {most:,}", remedy="send fewer turns, or shorter ones")
        return np.array(ids or [self.turns.renderer.end], np.int64)

    def steps(self, answers: Sequence[Answer], batch_size: int, *, chunk: int | None = None) -> Iterator[Answer | None]:
        """Yield an answer each time it has got a token, until all have ended; None behind each ``chunk`` positions of prompts that are read."""
        if batch_size < 1:
            raise UserError(f"a batch of {batch_size} rows can't be", remedy="take 1 or more")
        order = sorted((n for n, answer in enumerate(answers) if answer.finish is None), key=lambda n: len(answers[n].prompt))
        for start in range(0, len(order), batch_size):
            yield from self._batch([answers[n] for n in order[start : start + batch_size]], chunk or CHUNK)

    def _batch(self, live: list[Answer], chunk: int) -> Iterator[Answer | None]:
        length = max(len(answer.prompt) for answer in live)
        ids, there = (np.zeros((len(live), length), np.int64) for _ in range(2))
        for line, answer in enumerate(live):
            ids[line, length - len(answer.prompt) :] = answer.prompt
            there[line, length - len(answer.prompt) :] = 1
        cache = self._empty(len(live))
        for start in range(0, length - 1, chunk):  # the last column is the first that is asked
            part = slice(start, min(start + chunk, length - 1))
            self._run(cache, ids[:, part], there[:, part], np.zeros(1, np.int64))
            yield None
        now, seen = ids[:, -1:], there[:, -1:]
        while live:
            logits = self._run(cache, now, seen, np.arange(len(live)))
            for answer, scores in zip(live, logits):
                answer.take(scores)
                yield answer
            kept = [n for n, answer in enumerate(live) if answer.finish is None]
            if len(kept) < len(live):
                live = [live[n] for n in kept]
                cache.keep(kept)
            now = np.array([[answer.ids[-1]] for answer in live], np.int64)
            seen = np.ones_like(now)

    # --------------------------------------------------------------------------------------------------- it judges
    def measure(self, rows: Sequence[Row], teacher: Scores | None = None) -> np.ndarray:
        """Return how likely the model holds what rows say *Shape:* (rows, 6) float64.

        Columns: nats of a row's learnt tokens; how many these are; the bytes of their text; the sum over them of KL(teacher || model) in nats;
        how many times the likeliest token is the teacher's; how many times it is the one that stands there. NaN in the fourth and fifth without a
        ``teacher``: a :meth:`scores` of another generator, or whatever gives the like. Where one vocabulary is padded, the two are compared over
        the ids that both have.
        """
        return np.array([self._measured(row, teacher) for row in rows], np.float64).reshape(len(rows), 6)

    def scores(self, row: Row) -> Iterator[np.ndarray]:
        """Yield logits at the places that foretell a row's learnt tokens, in order, *Shape:* (some, vocabulary) float32."""
        for window in self.turns.windows(self.prepare(row)):
            wanted = np.flatnonzero(window.learnt) - 1
            cache = self._empty(1)
            for start in range(0, int(wanted[-1]) + 1 if len(wanted) else 0, CHUNK):
                ids = window.ids[None, start : min(start + CHUNK, int(wanted[-1]) + 1)].astype(np.int64)
                here = wanted[(wanted >= start) & (wanted < start + CHUNK)] - start
                logits = self._run(cache, ids, np.ones_like(ids), here if len(here) else np.zeros(1, np.int64))
                if len(here):
                    yield logits

    def _measured(self, row: Row, teacher: Scores | None) -> list[float]:
        learnt = [window.ids[window.learnt] for window in self.turns.windows(self.prepare(row))]
        ids = np.concatenate([np.zeros(0, np.int64), *learnt]).astype(np.int64)
        text = self.turns.renderer.tokenizer.decode(ids.tolist(), skip_special_tokens=True)
        sums, at = np.zeros(4), 0
        told = _Pieces(teacher(row)) if teacher is not None else None
        for logits in self.scores(row):
            own, aims = log_probabilities(logits), ids[at : at + len(logits)]
            sums[0] -= own[np.arange(len(aims)), aims].sum(dtype=np.float64)
            sums[3] += (own.argmax(axis=1) == aims).sum()
            if told is not None:
                sums[1:3] += _beside(told.take(len(aims)), logits)
            at += len(logits)
        return [sums[0], len(ids), len(text.encode()), *(sums[1:3] if told is not None else (np.nan, np.nan)), sums[3]]

    # ----------------------------------------------------------------------------------------------------- it runs
    def _empty(self, rows: int) -> _Cache:
        none = np.zeros((rows, self.kv_heads, 0, self.head_dim), np.float32)
        return _Cache(_values([none] * (2 * self.layers)), np.zeros((rows, 0), np.int64))

    def _run(self, cache: _Cache, ids: np.ndarray, there: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Read on by ``ids`` *Shape:* (rows, length), where ``there``; return the logits of ``places`` *Shape:* (n, vocabulary). ``cache`` grows by them."""
        positions = np.maximum(cache.mask.sum(axis=1, keepdims=True) + there.cumsum(axis=1) - 1, 0)
        mask = np.concatenate([cache.mask, there], axis=1)
        given = dict(zip(("input_ids", "attention_mask", "position_ids", "places"), _values([ids, mask, positions, places])))
        given |= dict(zip(_named("past_key_values", self.layers), cache.values))
        try:
            logits, *values = self.session.run_with_ort_values(["logits", *_named("present", self.layers)], given)
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            first = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise BundleError(f"the model can't answer: {first}", place=str(self.folder), remedy=MEND) from error
        cache.values, cache.mask = values, mask
        found: np.ndarray = logits.numpy()
        return found


@dataclass
class _Cache:
    """What was read so far: keys and values as the runtime holds them, and which of them are no padding *Shape:* (rows, length)."""

    values: list[Any]
    mask: np.ndarray

    def keep(self, rows: Sequence[int]) -> None:
        self.values = _values([value.numpy()[list(rows)] for value in self.values]) if rows else []
        self.mask = self.mask[list(rows)]


class _Pieces:
    """Reads chunks of any size as chunks of the size that is asked."""

    def __init__(self, chunks: Iterator[np.ndarray]) -> None:
        self.chunks = chunks
        self.left = np.zeros((0, 0), np.float32)

    def take(self, count: int) -> np.ndarray:
        """Return the next rows. Raises :class:`UserError` where there are fewer."""
        found = [self.left]
        while sum(map(len, found)) < count:
            piece = next(self.chunks, None)
            if piece is None:
                raise UserError("the teacher has scores for fewer positions than the row learns", remedy="give it the same tokenizer, template and max_length")
            found.append(piece)
        whole = found[-1] if sum(map(len, found[:-1])) == 0 else np.concatenate([part for part in found if len(part)])
        self.left = whole[count:]
        return whole[:count]


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities *Shape:* that of ``logits``, float32; sums in float64."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    total = np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)
    found: np.ndarray = shifted - np.log(total).astype(np.float32)
    return found


def _beside(teacher: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """Return the sum of KL(teacher || model) in nats, and how many likeliest tokens are the same."""
    width = min(teacher.shape[1], logits.shape[1])
    said, own = log_probabilities(teacher[:, :width].astype(np.float32)), log_probabilities(logits[:, :width])
    with np.errstate(invalid="ignore"):
        terms = np.where(np.isneginf(said), 0, np.exp(said) * (said - own))
    return float(terms.sum(dtype=np.float64)), float((said.argmax(axis=1) == own.argmax(axis=1)).sum())


def _named(what: str, layers: int) -> list[str]:
    return [f"{what}.{layer}.{part}" for layer in range(layers) for part in ("key", "value")]


def _values(arrays: Sequence[np.ndarray]) -> list[Any]:
    return [onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array)) for array in arrays]


def _same(row: Row) -> Row:
    return row
