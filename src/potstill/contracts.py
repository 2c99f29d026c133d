"""The protocols at the borders: what a task, a teacher, a student, a predictor, a metric and an engine promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .records import Answer, Example, Field, Head, HeadKind, Parcel, Usage, Want


class BadRow(Exception):
    """A row of data that can't be used; the argument is the reason, one of few short phrases, so that they can be counted."""


class Task(Protocol):
    """What is asked: how a row is read, what a student puts out, how an answer is judged. Nothing else knows the kind of data.

    Scores are what a head gives: log-probabilities of classes, log-odds of labels; of a language model the measures of a row's tokens
    (:mod:`evaluation.generation`). Gold and decisions are integers (n,) for classes, a matrix (n, labels) of 0 and 1 for labels, and gold
    is (n, 0) where each row holds its own.
    """

    name: str
    head_kind: HeadKind

    def columns(self, given: Mapping[str, str], present: Sequence[str] = ()) -> Mapping[str, str]:
        """Return role -> column with defaults filled in; raises UserError for a role that the task lacks.

        ``present``: the columns of the file, by which a task whose rows come in several forms tells which it is.
        """

    def read(self, row: Mapping[str, Any], columns: Mapping[str, str], place: str) -> Example:
        """Turn one row into an example, or raise :class:`BadRow` with the reason."""

    def text(self, example: Example) -> str:
        """Return the words of an example, for near-duplicate search and display; empty where there are none."""

    def head(self, examples: Sequence[Example]) -> Head:
        """Return the head that these examples' gold answers call for."""

    def encode(self, examples: Sequence[Example], head: Head) -> np.ndarray:
        """Return gold answers as integers *Shape:* (n,) or (n, width), -1 where there is none."""

    def thresholds(self, gold: np.ndarray, scores: np.ndarray, metric: Metric) -> np.ndarray:
        """Return what is taken off scores before they decide *Shape:* (width,) float32, chosen on these (validation) rows for ``metric``.

        Zeros where a decision needs none. Rows without gold or without scores (NaN) have no say.
        """

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """Turn scores (n, width), their thresholds taken off, into decisions (n,) or (n, width)."""

    def metrics(self, head: Head) -> Mapping[str, Metric]:
        """Return the metrics by name; the first is the task's main one."""


class Metric(Protocol):
    """A quality as per-example sufficient statistics and a way to combine their sum: one bootstrap serves all metrics."""

    name: str
    higher_is_better: bool
    proportion: bool  # True when each row counts 0 or 1, so that score intervals for proportions apply
    decisions: bool  # True when it judges decisions, not how sure they are: then mistakes that no row happens to show count
    span: float  # the largest difference that two values can have, the widest interval of a drop

    def statistics(self, gold: np.ndarray, logprobs: np.ndarray) -> np.ndarray:
        """Return float64 *Shape:* (n, s) from gold (n,) and log-probabilities (n, classes).

        With several labels a row: from gold (n, labels) and log-odds (n, labels), their thresholds taken off.
        """

    def combine(self, sums: np.ndarray) -> np.ndarray:
        """Return the metric *Shape:* (...) from summed statistics *Shape:* (..., s)."""


class Teacher(Protocol):
    """Who knows. Answers come in any order, keyed by example id; every example asked gets exactly one answer."""

    name: str
    labels: tuple[str, ...]  # in the order of the log-probabilities that it gives
    repeated: int  # rows that it has asked about again of itself so far: whoever pays pays for these too

    def identity(self) -> str:
        """Return the digest of all that its answers depend on: weights, processor, precision, template."""

    def offers(self) -> frozenset[str]:
        """Return the kinds of :class:`Want` that it can answer."""

    def request(self, example: Example) -> bytes:
        """Return the canonical rendered request: what it is really asked for this example."""

    def answer(self, examples: Sequence[Example], wants: Sequence[Want]) -> Iterator[tuple[str, Answer]]: ...

    def facts(self) -> Mapping[str, Any]:
        """Return parameters, size_bytes, licence and what else is worth showing; None for what can't be known."""


@runtime_checkable
class PaidByCall(Protocol):
    """A :class:`Teacher` of which each call is made, and paid, by itself: its answers don't depend on company, and come one by one."""

    def reserve(self, example: Example) -> Usage:
        """Return the most that a call about ``example`` is expected to cost."""

    def calls(
        self, take: Callable[[], Example | None], wants: Sequence[Want], booked: Callable[[str, Usage], None], *, proven: bool = False,
        post: Post | None = None,
    ) -> Iterator[tuple[str, Answer, Usage]]:  # fmt: skip
        """Yield each answer with its example's id and what it cost, as they come; many calls may be in flight.

        ``take`` is called just before a call is sent: it gives the row, None where there is none now (one may come when an answer has).
        ``booked(id, usage)`` hears of an attempt that failed, before the next attempt of its row. Both are called in the caller's
        thread. ``proven``: it has answered before, so that rows that fail are more likely the rows' own fault. ``post`` remembers what is
        sent by the file; without it nothing is. Raises
        :class:`TeacherError` for what holds of every row, once all that was in flight has been yielded.
        """


class Post(Protocol):
    """The durable memory of files of requests that a server works through in its own time: they outlive whoever sent them."""

    def left(self) -> Sequence[Parcel]:
        """Return what dead askers had sent and not fetched, as far as it is asked about now; its rows are the caller's from here on."""

    def sending(self, ids: Sequence[str]) -> str:
        """Note that these rows are about to be sent in one file; return the name to send it under."""

    def sent(self, name: str, remote: str) -> None:
        """Note by which number the server knows it."""

    def progress(self, words: str) -> None:
        """Tell people how far the server is."""


class Predictor(Protocol):
    """The shipped thing: fields in, scores out; numpy and ONNX Runtime only."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def kind(self) -> HeadKind:
        """Whether one label applies or any number of them."""

    @property
    def thresholds(self) -> np.ndarray:
        """What is taken off scores before they decide *Shape:* (classes,) float32: zeros where one class applies."""

    def predict(self, rows: Sequence[Mapping[str, Field]]) -> np.ndarray:
        """Return calibrated log-probabilities, of labels log-odds *Shape:* (n, classes) float32."""

    def decide(self, logprobs: np.ndarray) -> list[str | list[str]]:
        """Return what each row is told to be: a label, or the list of those that apply."""


class Objective(Protocol):
    """A term of the training loss."""

    needs: frozenset[Want]

    def __call__(self, student_output: Any, answers: Mapping[Want, Any], batch: Any) -> tuple[Any, Any]:
        """Return (sum, count) over supervised units, never a mean."""


class Engine(Protocol):
    """Where work runs. ``ref`` is "module:function", specs are JSON: no closures, so that processes and clusters can carry it."""

    def run(self, ref: str, spec: Mapping[str, Any], *, threads: int | None = None) -> Any: ...

    def map(self, ref: str, specs: Sequence[Mapping[str, Any]], *, threads: int | None = None) -> list[Any]: ...


Progress = Callable[[float, float, str], None]  # done, total, detail


def silent(done: float, total: float, detail: str = "") -> None:
    """The progress that nobody watches."""
