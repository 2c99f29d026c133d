"""What a language model is shown and what it should say: the turns of a row, in any of the three forms that people keep them in.

``messages``: a list of {role, content}; ``prompt`` and ``completion``, each a text or such a list; ``text``: plain, all of it to be learnt.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DataError

ROLES = ("system", "user", "assistant")
FORMS = (("messages",), ("prompt", "completion"), ("text",))
REMEDY = "write messages: [{role: user, content: ...}, {role: assistant, content: ...}], or prompt and completion, or text"


@dataclass(frozen=True)
class Turn:
    """Who says what; ``learnt``: whether a model should learn to say it."""

    role: str
    content: str
    learnt: bool = False


@dataclass(frozen=True)
class Conversation:
    """The turns of a row. ``plain``: they are texts to be joined as they stand, and not what a chat template is for."""

    turns: tuple[Turn, ...]
    plain: bool = False

    @property
    def learnt(self) -> bool:
        return any(turn.learnt for turn in self.turns)


def conversation(fields: Mapping[str, Any], *, every_turn: bool = False) -> Conversation:
    """Return the turns of a row; the last assistant's turn is learnt, or ``every_turn`` of the assistant's.

    A row without an answer (messages that end with the user's, or a prompt alone) is a question: nothing in it is learnt. Raises
    :class:`DataError` for a row of none of the forms, or whose turns can't be read.
    """
    named = [form for form in FORMS if form[0] in fields]
    if len(named) != 1:
        raise DataError(f"a row of {', '.join(sorted(map(str, fields))) or 'no fields'}: there must be one form, not {len(named)}", remedy=REMEDY)
    if "text" in fields:
        return Conversation((Turn("text", _text(fields["text"], "text"), True),), plain=True)
    if "messages" in fields:
        return Conversation(_answers(_turns(fields["messages"], "messages"), every_turn))
    prompt, completion = fields["prompt"], fields.get("completion")
    if isinstance(prompt, str):
        if completion is not None and not isinstance(completion, str):
            raise DataError(f"prompt is a text and completion is {type(completion).__name__}", remedy="give both in one form")
        told = (Turn("user", _text(prompt, "prompt")),)
        return Conversation(told if completion is None else (*told, Turn("assistant", _text(completion, "completion"), True)), plain=True)
    asked = _turns(prompt, "prompt")
    if completion is None:
        return Conversation(asked)
    return Conversation(_answers((*asked, *_turns(completion, "completion")), every_turn))


def _turns(value: Any, place: str) -> tuple[Turn, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise DataError(f"{place} is {type(value).__name__}, and not a list of turns", remedy=REMEDY)
    return tuple(_turn(one, f"{place}[{n}]") for n, one in enumerate(value))


def _turn(value: Any, place: str) -> Turn:
    if not isinstance(value, Mapping) or not {"role", "content"} <= set(value):
        raise DataError(f"{place} has no role and content", remedy=REMEDY)
    if value["role"] not in ROLES:
        raise DataError(f"{place}: '{value['role']}' is no role that is known", remedy=f"roles are {', '.join(ROLES)}")
    return Turn(value["role"], _text(value["content"], f"{place}.content"))


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{place} is {type(value).__name__}, and not a text", remedy="content is a text; pictures and tools are not read")
    if not value:
        raise DataError(f"{place} is empty", remedy="leave the row out, or write what should be said")
    return value


def _answers(turns: tuple[Turn, ...], every_turn: bool) -> tuple[Turn, ...]:
    """Return the turns, marked where they are learnt. Raises where two of one side follow each other, or a system's comes late."""
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if any(turn.role == "system" for turn in turns[1:]) or any(a == b for a, b in itertools.pairwise(spoken)) or spoken[:1] == ["assistant"]:
        raise DataError(f"turns come as {', '.join(turn.role for turn in turns)}", remedy="system first if at all, then user and assistant in turn")
    last = len(turns) - 1
    return tuple(Turn(turn.role, turn.content, turn.role == "assistant" and (every_turn or n == last)) for n, turn in enumerate(turns))
