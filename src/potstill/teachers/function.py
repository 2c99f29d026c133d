"""A teacher that is a function of the user's: found by name, asked in batches, believed only where what it says adds up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from .. import functions, storage
from ..errors import TeacherError
from ..records import Answer, Answered, Example, Failed, Head, Want
from .build import Given, known, task_names
from .distributions import BadAnswer, logprobs
from .rows import only_logprobs

VERSION = 1  # raise it when the same answers would be read otherwise
LOGPROBS = Want("logprobs")


@final
class CallableTeacher:
    """See :class:`potstill.contracts.Teacher`. Gives ``logprobs``.

    The function gets a list of the rows' fields and returns as many answers: a label (it gets all but ``distributions.FLOOR`` of the
    probability), a mapping label -> probability, or a list of probabilities in the order of the recipe's ``labels``.
    """

    def __init__(self, name: str, head: Head, function: Callable[..., Any], *, names: Sequence[str] | None, batch_size: int, identity: str,
                 facts: Mapping[str, Any]) -> None:  # fmt: skip
        self.name, self.labels, self._function, self._names = name, head.labels, function, names
        self._batch_size, self._identity, self._facts = batch_size, identity, facts
        self.repeated = 0  # rows that were asked about a second time, alone, because their batch had failed: calls like any others

    def identity(self) -> str:
        """Return the digest of the function's name, the version that the recipe gives it, its module's file, and the names of its labels.

        What the function calls beyond its own file is not seen: that is what the version is for.
        """
        return self._identity

    def offers(self) -> frozenset[str]:
        return frozenset({"logprobs"})

    def request(self, example: Example) -> bytes:
        return example.id.encode()

    def facts(self) -> Mapping[str, Any]:
        return self._facts

    def answer(self, examples: Sequence[Example], wants: Sequence[Want]) -> Iterator[tuple[str, Answer]]:
        only_logprobs(self.name, "a function", wants)
        for start in range(0, len(examples), self._batch_size):
            yield from self._batch(examples[start : start + self._batch_size])

    def _batch(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        """Ask about a batch; where that fails, row by row, so that one bad row does not fail its neighbors."""
        try:
            said = self._call(examples)
        except Exception as error:  # whatever a user's function raises is what it says about these rows
            if len(examples) == 1:
                yield examples[0].id, Failed(_words(error))
            else:
                for example in examples:
                    self.repeated += 1
                    yield from self._batch([example])
            return
        yield from ((example.id, self._answer(value)) for example, value in zip(examples, said))

    def _call(self, examples: Sequence[Example]) -> list[Any]:
        said = self._function([dict(example.fields) for example in examples])
        if isinstance(said, str | Mapping) or not isinstance(values := _plain(said), list):
            raise BadAnswer(f"it returned {type(said).__name__}, not a list of answers")
        if len(values) != len(examples):
            raise BadAnswer(f"it returned {len(values)} answers to {len(examples)} rows")
        return values

    def _answer(self, value: Any) -> Answer:
        role = "probabilities" if isinstance(value, Mapping | list) else "label"
        try:
            if isinstance(value, list) and self._names is None:
                raise BadAnswer("it returned a bare list of probabilities: name its entries in the recipe: teacher.labels")
            found = logprobs(role, value, self._names, {}, self.labels)
        except BadAnswer as error:
            return Failed(str(error))
        return Failed("it gave no answer") if found is None else Answered({LOGPROBS: found})


def open_callable(spec: Any, head: Head, given: Given) -> CallableTeacher:
    """Return the teacher of a recipe's `kind: callable`. Raises :class:`TeacherError` for a function that can't be found or loaded."""
    names = None
    if spec.labels is not None:
        names = task_names(spec.labels, {}, head, place="teacher.labels", remedy="name the entries of its lists by the task's labels")
    function = functions.find(spec.function, spec.folder, place="teacher", error=TeacherError)
    why = "it is a function: what it runs is not seen"
    facts = {
        "architecture": f"function {spec.function}", "parameters": None, "size_bytes": None, "layers": None, "width": None, "precision": None,
        "version": spec.version, "path": str(source_of(spec)), "one_hot": None, **known(spec),
        "unknown": {"parameters": why, "size_bytes": why, "precision": why},
    }  # fmt: skip
    return CallableTeacher(spec.name, head, function, names=names, batch_size=spec.batch_size, identity=identity(spec), facts=facts)


def identity(spec: Any) -> str:
    return storage.digest("callable", VERSION, spec.function, spec.version, storage.sha256_file(source_of(spec)), spec.labels)


def source_of(spec: Any) -> Path:
    """Return the file of the function's module. Raises :class:`TeacherError` where there is none."""
    return functions.source_of(spec.function, spec.folder, place="teacher", error=TeacherError)


def _plain(value: Any) -> Any:
    """Return arrays, tensors, tuples and numbers of numpy as lists and numbers of Python."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    tolist = getattr(value, "tolist", None)  # a tensor, of whatever library
    return tolist() if callable(tolist) else value


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, BadAnswer) else functions.words(error)
