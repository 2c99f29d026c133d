"""Several teachers as one: the weighted mean of their probabilities, computed in log space.

A mean of logits would let the surest of them decide alone; a mean of probabilities gives each no more than its weight
(the linear opinion pool: Stone 1961, "The opinion pool").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np

from .. import storage
from ..contracts import Teacher
from ..errors import TeacherError
from ..records import Answer, Answered, Example, Failed, Head, Refused, Want
from .build import Given, build
from .rows import only_logprobs

VERSION = 1  # raise it when the same answers would be pooled otherwise
LOGPROBS = Want("logprobs")


@final
class EnsembleTeacher:
    """See :class:`potstill.contracts.Teacher`. Gives ``logprobs``; a row that a member did not answer fails, and says which member."""

    repeated = 0

    def __init__(self, name: str, head: Head, members: Sequence[Teacher], weights: Sequence[float] | None) -> None:
        self.name, self.labels, self.members = name, head.labels, tuple(members)
        given = np.ones(len(self.members)) if weights is None else np.asarray(weights, np.float64)
        self.weights = given / given.sum()
        for place, member in enumerate(self.members):
            if set(member.labels) != set(head.labels):
                raise TeacherError("the member's labels are not the task's", place=f"teacher.members[{place}]", remedy="name them: labels")

    def identity(self) -> str:
        """Return the digest of the members' identities and their shares; their order is none of it."""
        return storage.digest("ensemble", VERSION, sorted([member.identity(), round(float(weight), 12)] for member, weight in zip(self.members, self.weights)))

    def offers(self) -> frozenset[str]:
        return frozenset({"logprobs"})

    def request(self, example: Example) -> bytes:
        return example.id.encode()

    def facts(self) -> Mapping[str, Any]:
        told = [dict(member.facts()) for member in self.members]
        unknown = {
            key: f"a member's is not known ({self._title(i)})" for key in ("parameters", "size_bytes") for i, one in enumerate(told) if one.get(key) is None
        }
        return {
            "architecture": f"ensemble of {len(told)}", "layers": None, "width": None, "precision": None,
            **{key: None if key in unknown else sum(one[key] for one in told) for key in ("parameters", "size_bytes")},
            "one_hot": all(one.get("one_hot") for one in told), "weights": self.weights.tolist(), "members": told,
            "usd_per_1000": sum(one.get("usd_per_1000") or 0.0 for one in told), "unknown": {**unknown, "precision": "each member has its own"},
        }  # fmt: skip

    def answer(self, examples: Sequence[Example], wants: Sequence[Want]) -> Iterator[tuple[str, Answer]]:
        only_logprobs(self.name, "an ensemble", wants)
        said = [dict(member.answer(examples, [LOGPROBS])) for member in self.members]
        for example in examples:
            yield example.id, self._pooled([answers.get(example.id, Failed("no answer came")) for answers in said])

    def _pooled(self, answers: Sequence[Answer]) -> Answer:
        arrays = []
        for place, (member, answer) in enumerate(zip(self.members, answers)):
            if not isinstance(answer, Answered):
                verb = "refused" if isinstance(answer, Refused) else "failed"
                return Failed(f"{self._title(place)} {verb}: {answer.reason}")
            columns = [member.labels.index(label) for label in self.labels]
            arrays.append(answer.arrays[LOGPROBS][:, columns])
        return Answered({LOGPROBS: pool(np.stack(arrays), self.weights)})

    def _title(self, place: int) -> str:
        return f"members[{place}] ({self.members[place].name})"


def pool(logprobs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the log of the weighted mean of probabilities, float32.

    *Shapes:* ``logprobs`` (members, units, classes), ``weights`` (members,), summing to 1; out (units, classes). Finite where one
    member's log-probability is.
    """
    mixed = np.logaddexp.reduce(logprobs.astype(np.float64) + np.log(weights)[:, None, None], axis=0)
    pooled: np.ndarray = (mixed - np.logaddexp.reduce(mixed, axis=-1, keepdims=True)).astype(np.float32)
    return pooled


def open_ensemble(spec: Any, head: Head, given: Given) -> EnsembleTeacher:
    """Return the teacher of a recipe's `kind: ensemble`; its members are ``given``, else opened here as they stand in the recipe."""
    members = given.members or tuple(build(member, head, threads=given.threads) for member in spec.members)
    return EnsembleTeacher(spec.name, head, members, spec.weights)
