"""A teacher that ONNX Runtime runs: a classifier's graph with its preprocessing, asked in batches of rows of like length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from .. import storage
from ..errors import TeacherError
from ..records import Answer, Answered, Example, Failed, Field, Head, Want
from ..serving.predictor import log_softmax
from ..serving.preprocess import Item, Preprocess
from .distributions import BadAnswer, logprobs
from .rows import batches, has_surrogates, only_logprobs, texts

LOGPROBS = Want("logprobs")


@dataclass(frozen=True)
class _Encoded:
    id: str
    item: Item
    length: int


@dataclass(frozen=True)
class Graph:
    """An open session. ``output``: the name of what it gives, (rows, classes); ``types``: of its inputs, int64 or int32.

    ``tokens``: the most that a batch may hold, padded; ``max_batch``: rows that may share one, 1 where neighbors would have a say in
    each other's answers, None for any number. ``again``: a more exact graph that is asked about rows whose two best scores lie within
    ``margin``; so a row's answer still depends on that row alone.
    """

    session: Any  # onnxruntime.InferenceSession
    preprocess: Preprocess
    tokens: int
    max_batch: int | None = None
    output: str | None = None
    types: Mapping[str, str] | None = None
    again: Graph | None = None
    margin: float = 0.0

    def run(self, items: Sequence[Item]) -> np.ndarray:
        """Return the scores of one batch *Shape:* (rows, classes)."""
        arrays = self.preprocess.collate(items)
        if self.types:
            arrays = {name: array.astype(self.types[name], copy=False) for name, array in arrays.items()}
        scores: np.ndarray = self.session.run([self.output] if self.output else None, arrays)[0]
        return scores

    def scores(self, rows: Mapping[str, Mapping[str, Field]]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each row's scores *Shape:* (classes,) by id."""
        encode, length = self.preprocess.encode, self.preprocess.length
        encoded = [_Encoded(id, item, length(item)) for id, item in zip(rows, encode(list(rows.values())))]
        padded = "attention_mask" in self.preprocess.inputs  # else the graph can't tell padding from words
        doubtful = {}
        for batch in batches(encoded, self.tokens, rows=self.max_batch, padded=padded):
            for one, scores in zip(batch, self.run([one.item for one in batch])):
                if self.again is not None and np.diff(np.sort(scores)[-2:])[0] < self.margin:
                    doubtful[one.id] = rows[one.id]
                else:
                    yield one.id, scores
        if doubtful and self.again is not None:
            yield from self.again.scores(doubtful)


@final
class GraphTeacher:
    """See :class:`potstill.contracts.Teacher`. Gives ``logprobs`` alone: hidden states don't leave its graph.

    ``names`` are the task's names of the graph's outputs, in their order: answers are put in the order of ``head`` by name.
    """

    repeated = 0

    def __init__(self, name: str, head: Head, graph: Graph, names: Sequence[str], *, identity: str, facts: Mapping[str, Any], output: str = "logits") -> None:
        self.name, self.labels, self._graph, self._names = name, head.labels, graph, tuple(names)
        self._identity, self._facts = identity, facts
        self._read = {"logits": self._logits, "probabilities": self._probabilities}[output]

    def identity(self) -> str:
        """Return the digest of graph, tokenizer, ``max_length`` and the names of its outputs."""
        return self._identity

    def offers(self) -> frozenset[str]:
        return frozenset({"logprobs"})

    def request(self, example: Example) -> bytes:
        return storage.canonical(texts(example.fields))

    def facts(self) -> Mapping[str, Any]:
        return self._facts

    def answer(self, examples: Sequence[Example], wants: Sequence[Want]) -> Iterator[tuple[str, Answer]]:
        """Yield an answer for each example, all at the end: a call that is broken off leaves nothing half kept."""
        only_logprobs(self.name, "an ONNX graph", wants)
        rows = {example.id: texts(example.fields) for example in examples}
        wrong = [id for id, row in rows.items() if any(map(has_surrogates, row.values()))]
        answers: dict[str, Answer] = {id: Failed("the text is not valid Unicode") for id in wrong}
        try:
            for id, scores in self._graph.scores({id: row for id, row in rows.items() if id not in answers}):
                answers[id] = self._answered(scores)
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise TeacherError(f"the graph can't answer: {first_line(error)}", place=self.name) from error
        yield from answers.items()

    def _answered(self, scores: np.ndarray) -> Answer:
        try:
            return Answered({LOGPROBS: self._read(scores)})
        except BadAnswer as error:
            return Failed(str(error))

    def _logits(self, scores: np.ndarray) -> np.ndarray:
        if not np.isfinite(scores).all():
            raise BadAnswer("a logit is not finite")
        return log_softmax(scores[[self._names.index(label) for label in self.labels]])[None]

    def _probabilities(self, scores: np.ndarray) -> np.ndarray:
        made = logprobs("probabilities", scores.tolist(), list(self._names), {}, self.labels)
        assert made is not None  # a list is not empty
        return made


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
