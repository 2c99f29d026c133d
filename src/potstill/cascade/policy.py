"""The policy: what a fit found, what it holds for, and what to do at the limits. A file of JSON, bound to one bundle by its digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import storage
from ..contracts import Predictor
from ..errors import Problem, UserError
from .sequence import NOTHING

SCHEMA = 1
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(gt=0)]


class Record(BaseModel):
    """Base: unknown keys are errors, numbers are finite, nothing changes after construction."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Tried(Record):
    """One threshold that was tried: see :class:`sequence.Step`."""

    threshold: Share
    kept: int
    wrong: int
    bound: Share
    certified: bool


class Rule(Record):
    """From which confidence on answers are kept, and what is known of them. ``threshold`` 1: none is, for nothing could be certified.

    ``bound``: the upper bound of the share of kept answers that are wrong. ``rows_needed``: calibration rows with which something is
    likely to be certified, where nothing was; None where no number of rows is in sight.
    """

    threshold: Share
    n: int
    kept: int
    wrong: int
    bound: Share | None
    passed_on: Share
    passed_on_low: Share
    passed_on_high: Share
    rows_needed: int | None = None
    tried: tuple[Tried, ...] = ()


class Sets(Record):
    """Conformal label sets: a label belongs to a row's set from probability ``level`` on."""

    method: Literal["lac"] = "lac"
    coverage: Share
    level: Share
    n: int


class Limits(Record):
    """How much may be passed on: requests a second and dollars an hour, None for no limit, and what one costs.

    ``unreachable``: what is told where the teacher does not answer in ``timeout_s``, or a limit is reached: the student's answer,
    flagged, or nothing (503).
    """

    per_second: Amount | None = None
    usd_per_hour: Amount | None = None
    usd_per_1000: Annotated[float, Field(ge=0)] = 0.0
    timeout_s: Amount = 10.0
    unreachable: Literal["student", "refuse"] = "student"


class Rows(Record):
    """Where the calibration rows came from, how many had no answer to judge by, or stood among rows that had chosen something."""

    source: str
    digest: str
    left_out: Mapping[str, int] = {}
    groups: int | None = None


class Place(Record):
    """The share of kept answers that are wrong where so many are passed on, with its own 95 % interval: for the page, nothing is decided by it."""

    passed_on: Share
    risk: Share
    low: Share
    high: Share


class Policy(Record):
    """Answers of the student are kept where its confidence is above a threshold; all others are passed on to the teacher.

    At ``confidence``, at most ``risk`` of those kept are wrong: ``against`` gold, or against the teacher's answer. ``by_label``: where
    each label has a threshold of its own, all of them hold together at ``confidence``. ``bundle``: the digest of what answers.
    """

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    kind: Literal["cascade-policy"] = "cascade-policy"
    potstill: str
    created: str
    bundle: str
    runtime: Mapping[str, str]
    against: Literal["gold", "teacher"]
    risk: Annotated[float, Field(gt=0, lt=1)]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    rows: Rows
    rule: Rule
    by_label: Mapping[str, Rule] | None = None
    sets: Sets | None = None
    limits: Limits = Limits()
    curve: tuple[Place, ...] = ()

    @property
    def id(self) -> str:
        """The digest by which answers name the policy that they were given under."""
        return storage.digest(self.as_json())[:16]

    @property
    def certifies(self) -> bool:
        """Whether any answer is kept at all."""
        rules = [self.rule] if self.by_label is None else list(self.by_label.values())
        return any(rule.threshold < NOTHING for rule in rules)

    def thresholds(self, labels: Sequence[str]) -> np.ndarray:
        """Return the threshold of each label *Shape:* (labels,), all the same where there is one rule."""
        if self.by_label is None:
            return np.full(len(labels), self.rule.threshold)
        return np.array([self.by_label[label].threshold if label in self.by_label else NOTHING for label in labels])

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)


def write(path: Path, policy: Policy) -> None:
    storage.write_json(path, policy.as_json(), point="policy")


def read(path: Path, *, bundle: str | None = None) -> Policy:
    """Return the policy in ``path``. Raises :class:`UserError` for what is no policy, and for one of another bundle than that of the digest given."""
    again = "fit it again: potstill cascade fit BUNDLE"
    try:
        found = storage.read_json(path)
    except FileNotFoundError as error:
        raise UserError("there is no such policy", place=str(path), remedy=again) from error
    except (ValueError, OSError) as error:
        raise UserError(f"the policy can't be read: {error}", place=str(path), remedy=again) from error
    if isinstance(found, dict) and isinstance(found.get("schema"), int) and found["schema"] > SCHEMA:
        raise UserError(f"a policy of a newer potstill (schema {found['schema']})", place=str(path), remedy="install that version")
    try:
        policy = Policy.model_validate(found)
    except ValidationError as error:
        raise UserError(f"this is no policy: {_first(error)}", place=str(path), remedy=again) from error
    if bundle is not None and policy.bundle != bundle:
        told = f"the policy is of another bundle ({policy.bundle[:12]}; this one is {bundle[:12]}): what it promises does not hold here"
        raise UserError(told, place=str(path), remedy=again)
    return policy


def _first(error: ValidationError) -> Problem:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return Problem(".".join(map(str, first["loc"])) or "the file", first["msg"])


# -------------------------------------------------------------------------------------------------------- asking a policy
def confidence(predictor: Predictor, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return how sure a predictor is of each answer, a probability *Shape:* (n,), and which label it told, None where it tells sets.

    Of a set of labels: the probability of the whole set, its labels taken for independent, measured from each label's threshold.
    """
    wide = scores.astype(np.float64)
    if predictor.kind == "classes":
        return np.exp(wide.max(axis=1, initial=-np.inf)), wide.argmax(axis=1)
    return np.exp(-np.logaddexp(0.0, -np.abs(wide - predictor.thresholds)).sum(axis=1)), None
