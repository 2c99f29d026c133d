"""A teacher whose answers someone already has: files of texts with labels, probabilities or log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from .. import storage
from ..errors import Problem, TeacherError
from ..lookup import did_you_mean
from ..records import Answer, Answered, Example, Failed, Head, Want, field_digest
from . import recording
from .build import Given
from .distributions import MANY_ROLES, ROLES, BadAnswer, logodds, logprobs

VERSION = 1  # raise it when the same recording would give other numbers
SHOWN = 10  # problems that an error lists
SURE: Mapping[str, Callable[[np.ndarray], bool]] = {  # all but certain: of labels, of each of them
    "logprobs": lambda scores: bool(scores.max() > np.log(0.9999)), "logodds": lambda scores: bool(np.abs(scores).min() > np.log(9999)),
}  # fmt: skip
SAME = 1e-5  # log-probabilities nearer than this are one answer written twice


@dataclass(frozen=True)
class _Columns:
    text: str
    text_pair: str | None
    role: str  # one of ROLES, or of MANY_ROLES
    value: str
    labels: str  # names the entries of lists


@dataclass(frozen=True)
class _Kept:
    scores: np.ndarray | None  # (1, labels); None: the row is there, its answer is empty
    place: str


@final
class RecordedTeacher:
    """See :class:`potstill.contracts.Teacher`. Gives ``logprobs`` (``logodds`` where any number of labels apply) for the examples whose
    texts the recording holds.

    A hard label becomes probability ``distributions.FLOOR`` for every other label and the rest for itself: ``facts()``
    then says ``one_hot``, because such a teacher has no soft labels to teach with.
    """

    repeated = 0

    def __init__(self, name: str, head: Head, identity: str, kept: Mapping[str, _Kept], known: Mapping[str, Any]) -> None:
        self.name, self.labels, self._identity, self._kept, self._known = name, head.labels, identity, kept, known
        self._want = head.want

    def identity(self) -> str:
        """Return the digest of the files' contents and of what maps their columns and labels."""
        return self._identity

    def offers(self) -> frozenset[str]:
        return frozenset({self._want.kind})

    def request(self, example: Example) -> bytes:
        return example.id.encode()

    def answer(self, examples: Sequence[Example], wants: Sequence[Want]) -> Iterator[tuple[str, Answer]]:
        for want in wants:
            if want != self._want:
                raise TeacherError(f"a recording can't give '{want.key}'", place=self.name)
        for example in examples:
            kept = self._kept.get(example.id)
            if kept is None:
                yield example.id, Failed("not in the recording")
            elif kept.scores is None:
                yield example.id, Failed("the recording has no answer")
            else:
                yield example.id, Answered({want: kept.scores for want in wants})

    def facts(self) -> Mapping[str, Any]:
        given = [kept.scores for kept in self._kept.values() if kept.scores is not None]
        saturated = sum(SURE[self._want.kind](array) for array in given)
        return {
            "architecture": "recorded answers",
            "parameters": None,
            "size_bytes": None,
            "layers": None,
            "width": None,
            "rows": len(given),
            "one_hot": bool(given) and saturated == len(given),
            "one_hot_share": saturated / len(given) if given else None,
            **self._known,
        }


def open_recorded(spec: Any, head: Head, given: Given) -> RecordedTeacher:
    """Return the teacher of a recipe's `kind: recorded`; ``given`` means nothing to it.

    Raises :class:`TeacherError` with the places of all rows that can't be used: unknown labels, probabilities that do
    not sum to one, two answers to one text.
    """
    paths = [Path(path) for path in ([spec.path] if isinstance(spec.path, str) else spec.path)]
    kept: dict[str, _Kept] = {}
    problems: list[Problem] = []
    columns = None
    for path in paths:
        columns = None
        for place, row in recording.read(path):
            columns = columns or _columns(spec.columns, list(row), place, MANY_ROLES if head.kind == "labels" else ROLES)
            _keep(kept, problems, row, place, columns, spec, head)
    if problems:
        listed = "\n  ".join(str(problem) for problem in problems[:SHOWN])
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        rows = "1 row" if len(problems) == 1 else f"{len(problems)} rows"
        raise TeacherError(f"{rows} of the recording can't be used", place=", ".join(path.name for path in paths), remedy=listed + more)
    if not kept:
        raise TeacherError("the recording has no rows", place=", ".join(map(str, paths)), remedy="name another file")
    contents = sorted(storage.sha256_file(path) for path in paths)
    identity = storage.digest("recorded", VERSION, contents, dict(spec.columns), dict(spec.labels), sorted(head.labels), *_many(spec, head))
    known = {
        "license": spec.license, "output_license": spec.output_license, "usd_per_1000": 0.0, "path": ", ".join(map(str, paths)),
    }  # fmt: skip
    return RecordedTeacher(spec.name, head, identity, kept, known)


def _many(spec: Any, head: Head) -> tuple[str, ...]:
    """Return what else answers depend on where any number of labels apply."""
    return (head.kind, spec.label_separator) if head.kind == "labels" else ()


def _columns(given: Mapping[str, str], present: Sequence[str], place: str, answers: Sequence[str]) -> _Columns:
    """Return which column holds what: as given, else by the role's own name; of the answers, what says most."""
    known = tuple(dict.fromkeys(("text", "text_pair", "labels", *answers)))
    for role, column in given.items():
        if role not in known:
            raise TeacherError(f"a recording has no '{role}'", place=f"teacher.columns.{role}", remedy=did_you_mean(role, known))
        if column not in present:
            raise TeacherError(f"there is no column '{column}'", place=place, remedy=_present(column, present))
    text = given.get("text", "text")
    if text not in present:
        raise TeacherError(f"there is no column '{text}' with the texts", place=place, remedy=_present(text, present))
    roles = [role for role in answers if role in given] or [role for role in answers if role in present]
    if not roles:
        raise TeacherError("no column holds answers", place=place, remedy=f"name one in `columns` as {', '.join(answers)}; there are: {', '.join(present)}")
    return _Columns(text, given.get("text_pair"), roles[0], given.get(roles[0], roles[0]), given.get("labels", "labels"))


def _present(name: str, present: Sequence[str]) -> str:
    near = did_you_mean(name, present)
    return near if near.startswith("known") else f"{near} there are: {', '.join(present)}"


def _keep(
    kept: dict[str, _Kept],
    problems: list[Problem],
    row: Mapping[str, Any],
    place: str,
    columns: _Columns,
    spec: Any,
    head: Head,
) -> None:
    """Add one row to ``kept``, or what is wrong with it to ``problems``."""
    sources = {"text": columns.text} | ({"text_pair": columns.text_pair} if columns.text_pair else {})
    fields = {name: value for name, column in sources.items() if isinstance(value := row.get(column), str)}
    if len(fields) < len(sources):
        problems.append(Problem(place, "there is no text"))
        return
    try:
        said = row.get(columns.value), row.get(columns.labels), spec.labels, head.labels
        answer = _Kept(logodds(columns.role, *said, separator=spec.label_separator) if head.kind == "labels" else logprobs(columns.role, *said), place)
        id = field_digest(fields)
    except (BadAnswer, UnicodeEncodeError) as error:
        problems.append(Problem(place, str(error)))
        return
    before = kept.setdefault(id, answer)
    if before.scores is None:
        kept[id] = answer
    elif answer.scores is not None and not np.allclose(before.scores, answer.scores, rtol=0, atol=SAME):
        problems.append(Problem(place, f"another answer to the same text stands at {before.place}", "keep one of them"))
