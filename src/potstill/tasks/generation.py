"""Text generation: a conversation, a prompt with its completion, or a text, of which each learnt token is an answer to all that stands before it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from .. import lookup
from ..contracts import BadRow, Metric
from ..errors import DataError, UserError
from ..records import Example, Head, HeadKind, field_digest
from ..serving.conversation import FORMS, Conversation, conversation
from . import cells

ROLES: Final = ("messages", "prompt", "completion", "text", "group", "options")
LISTS: Final = {"messages": "[{", "prompt": "[{", "completion": "[{", "options": "["}  # roles whose cell may be a list, and how it begins as JSON in a table
METRICS: Final = ("BitsPerByte", "Perplexity", "TokenAccuracy")  # the first is the main one
ANSWERED: Final[tuple[str, ...]] = ()  # gold of a row that holds an answer: it has no label, and the answer itself stands in its fields


@final
@dataclass(frozen=True)
class TextGeneration:
    """See :class:`potstill.contracts.Task`. Fields: ``messages``; or ``prompt`` and, where there is one, ``completion``; or ``text``. Beside
    them ``options``, of which the answer is one.

    Rows with one prompt are of one group where the data names none: they are resampled, and split, together.
    """

    name: str = "text-generation"
    head_kind: HeadKind = "tokens"

    def columns(self, given: Mapping[str, str], present: Sequence[str] = ()) -> Mapping[str, str]:
        """Return role -> column: those that are ``given``, else the form that the columns ``present`` hold.

        Raises :class:`UserError` for an unknown role, and for roles of two forms.
        """
        for role in given:
            if role not in ROLES:
                raise UserError(f"{self.name} has no '{role}'", place=f"data.columns.{role}", remedy=lookup.did_you_mean(role, ROLES))
        named = {role: column for role, column in given.items() if column}
        forms = [form for form in FORMS if form[0] in named]
        if len(forms) > 1 or ("completion" in named and "prompt" not in named):
            remedy = "name messages; or prompt and completion; or text"
            raise UserError(f"columns of {', '.join(named)}: that is no one form of a row", place="data.columns", remedy=remedy)
        if not forms:
            form = next((form for form in FORMS if form[0] in present), FORMS[0])
            named |= {role: role for role in form if role in present or role == form[0]}
        return named

    def read(self, row: Mapping[str, Any], columns: Mapping[str, str], place: str) -> Example:
        """Turn a row into an example. Raises :class:`BadRow`."""
        fields = {role: _cell(role, row.get(column, cells.MISSING)) for role, column in columns.items() if role != "group"}
        fields = {role: value for role, value in fields.items() if value is not None}
        try:
            told = conversation(fields)
        except DataError as error:
            raise BadRow(re.sub(r"\[\d+\]", "", error.message)) from None
        _check(told)
        _options(fields.get("options"), told)
        group = cells.group(row.get(columns["group"])) if "group" in columns else _asked(told)
        return Example.make(fields, gold=ANSWERED if told.learnt else None, group=group, place=place)

    def text(self, example: Example) -> str:
        return "\n".join(turn.content for turn in conversation(example.fields).turns)

    def head(self, examples: Sequence[Example]) -> Head:
        """Return the head of a language model. Raises :class:`DataError` where no row holds an answer to learn."""
        if not any(example.gold is not None for example in examples):
            remedy = "give each row a last turn of the assistant, a completion, or a text"
            raise DataError("no row holds an answer to learn from", place="data.train", remedy=remedy)
        return Head("tokens", ())

    def encode(self, examples: Sequence[Example], head: Head) -> np.ndarray:
        """Return nothing to compare with *Shape:* (n, 0): what was right stands in the measures, token by token (see :mod:`evaluation.generation`)."""
        return np.zeros((len(examples), 0), np.int8)

    def thresholds(self, gold: np.ndarray, scores: np.ndarray, metric: Metric) -> np.ndarray:
        """Return zeros: nothing is decided by a threshold."""
        return np.zeros(scores.shape[-1], np.float32)

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """Return the measures as they are: a text is not decided, it is written."""
        return scores

    def metrics(self, head: Head) -> Mapping[str, Metric]:
        """Return bits per byte (the main one), perplexity and token accuracy by name."""
        made = [lookup.load(f"potstill.evaluation.generation:{metric}")() for metric in METRICS]
        return {metric.name: metric for metric in made}


def _cell(role: str, value: Any) -> Any:
    """Return a cell as a field, None for a completion that is not there."""
    if value is cells.MISSING or value is None or (isinstance(value, float) and math.isnan(value)):
        if role == "completion":
            return None
        raise BadRow(f"no {role}")
    if isinstance(value, str) and role in LISTS and value.lstrip().startswith(LISTS[role]):  # how a table holds turns
        try:
            value = json.loads(value)
        except ValueError:
            raise BadRow(f"{role} is no JSON") from None
    if hasattr(value, "tolist"):  # a list out of a Parquet file
        value = value.tolist()
    return value


def _options(options: Any, told: Conversation) -> None:
    """Raise :class:`BadRow` for options among which nothing can be chosen, or that the row's answer is none of."""
    if options is None:
        return
    if not isinstance(options, list) or not all(isinstance(option, str) and option.strip() for option in options):
        raise BadRow("options are no list of texts")
    plain = [option.strip() for option in options]
    if len(set(plain)) < max(len(plain), 2):
        raise BadRow("options must be two or more, each once")
    if told.learnt and told.turns[-1].content.strip() not in plain:
        raise BadRow("the answer is none of the options")


def _check(told: Conversation) -> None:
    """Raise :class:`BadRow` for what no tokenizer takes, and for what went astray."""
    for turn in told.turns:
        try:
            size = len(turn.content.encode())
        except UnicodeEncodeError:
            raise BadRow("invalid Unicode") from None
        if size > cells.MAX_BYTES:
            raise BadRow("text over 1 MB")


def _asked(told: Conversation) -> str | None:
    """Return what stands for the prompt of a row, None for a plain text: it has none."""
    asked = [[turn.role, turn.content] for turn in (told.turns[:-1] if told.turns[-1].learnt else told.turns)]
    return field_digest({"asked": asked})[:16] if asked else None
