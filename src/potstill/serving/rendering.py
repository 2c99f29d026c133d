"""From turns to token ids, and which of these are learnt: the same code where a student learns, where it is judged and where it answers.

A chat template is rendered as transformers renders it, by jinja2 in a sandbox, without transformers. What is learnt is found in the rendered text:
from where the template asks for the answer to the token that ends it, that one included, for a model that never learnt to end does not stop.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np

from ..errors import UserError
from .conversation import Conversation, Turn
from .preprocess import whole

TODAY = datetime.date(2024, 7, 26)  # what templates that write today's date are told: a row must not become another one overnight
LEAST_PROMPT = 8  # tokens of a prompt that are left where the answer alone would fill a row


@dataclass(frozen=True)
class Rendered:
    """A row as a model reads it. *Shapes:* ``ids`` (n,) int32; ``learnt`` (n,) bool: tokens that are to be foretold, never the first.

    ``cut``: tokens of the prompt that were left out so that the row fits; ``lost``: tokens of the answer.
    """

    ids: np.ndarray
    learnt: np.ndarray
    cut: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Renderer:
    """A tokenizer (of the library tokenizers) with what a chat is written by. ``end`` ends an answer, ``begin`` (or None) begins a row.

    ``options`` go to the template: ``{"enable_thinking": False}``.
    """

    tokenizer: Any
    end: int
    begin: int | None = None
    template: str | None = None
    special: Mapping[str, str] = field(default_factory=dict)  # bos_token, eos_token ... as the template names them
    options: Mapping[str, Any] = field(default_factory=dict)

    # -------------------------------------------------------------------------------------------------------- text
    def text(self, turns: Sequence[Turn], *, ask: bool = False) -> str:
        """Return the turns as the template writes them; ``ask``: and what an answer would follow. Raises :class:`UserError`."""
        import jinja2

        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            said: str = self._compiled.render(messages=messages, add_generation_prompt=ask, **self.special, **self.options)
        except jinja2.exceptions.TemplateError as error:
            raise UserError(f"the chat template refuses these turns: {error}", place="chat template", remedy="look at the roles and their order") from error
        return said

    @cached_property
    def _compiled(self) -> Any:
        if self.template is None:
            remedy = "give one (chat_template), or rows of prompt and completion, or of text"
            raise UserError("this tokenizer has no chat template", place="chat template", remedy=remedy)
        return _environment().from_string(self.template)

    # --------------------------------------------------------------------------------------------------------- ids
    def question(self, told: Conversation) -> list[int]:
        """Return what a model is given to answer: all turns before an answer that is there."""
        turns = told.turns[:-1] if told.turns[-1].role == "assistant" else told.turns
        if told.plain:
            return self._first(self._ids("".join(turn.content for turn in turns)))
        return self._ids(self.text(turns, ask=True))

    def rows(self, told: Conversation, max_length: int) -> list[Rendered]:
        """Return the rows of a conversation, one; of a text that is longer than ``max_length`` tokens several, none of its tokens learnt twice.

        Where a conversation is too long its prompt is cut, the oldest turns first, never the answer while any of the prompt can go.
        """
        if told.plain and told.turns[0].role == "text":
            return self._windows(self._first([*self._ids(told.turns[0].content), self.end]), max_length)
        if told.plain:
            prompt = self.question(told)
            answer = [*self._ids(told.turns[1].content), self.end] if len(told.turns) > 1 else []
            return [fitted([*prompt, *answer], [False] * len(prompt) + [True] * len(answer), max_length, keep=int(self.begin is not None))]
        ids, learnt = self._marked(told.turns)
        turns, before = told.turns, len(ids)
        while len(ids) > max_length and (fewer := _without_oldest(turns)) is not None:
            turns = fewer
            ids, learnt = self._marked(turns)
        row = fitted(ids, learnt, max_length, keep=int(ids[0] == self.begin))
        return [Rendered(row.ids, row.learnt, row.cut + before - len(ids), row.lost)]

    def _marked(self, turns: Sequence[Turn]) -> tuple[list[int], list[bool]]:
        """Return the ids of a whole chat, and which are learnt."""
        whole = self.text(turns)
        spans = [span for n, turn in enumerate(turns) if turn.learnt and (span := self._span(turns, n, whole)) is not None]
        ids: list[int] = []
        learnt: list[bool] = []
        for begin, end, wanted in _pieces(spans, len(whole)):
            piece = self._ids(whole[begin:end])  # by itself, as a question is: no token reaches over into an answer
            ids += piece
            learnt += self._until_its_end(piece) if wanted else [False] * len(piece)
        if turns[-1].learnt and self.end not in ids[-2:]:
            ids.append(self.end)  # the template writes no end: an answer has one all the same
            learnt.append(True)
        return ids, learnt

    def _span(self, turns: Sequence[Turn], n: int, whole: str) -> tuple[int, int] | None:
        """Return where in the rendered text an answer stands; None for an earlier one that the template writes otherwise once others follow.

        Raises :class:`UserError` where the last one does not follow what the template asks it by.
        """
        asked, said = self.text(turns[:n], ask=True), self.text(turns[: n + 1])
        if said.startswith(asked) and whole.startswith(said):
            return len(asked), len(said)
        if n < len(turns) - 1:
            return None
        shown = asked[-40:]
        remedy = "set its thinking flag, or give a template that writes an answer as it asks for one"
        raise UserError(f"the chat template asks for an answer by {shown!r}, and writes it behind something else", place="chat template", remedy=remedy)

    def _until_its_end(self, ids: Sequence[int]) -> list[bool]:
        """Return which of an answer's tokens are learnt: up to the last special one, which ends it; what stands behind is the template's."""
        marks = [n for n, id in enumerate(ids) if id in self._special]
        last = marks[-1] if marks else len(ids) - 1
        return [n <= last for n in range(len(ids))]

    @cached_property
    def _special(self) -> frozenset[int]:
        return frozenset(id for id, token in self.tokenizer.get_added_tokens_decoder().items() if token.special) | {self.end}

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(whole(text), add_special_tokens=False).ids)

    def _first(self, ids: list[int]) -> list[int]:
        return ids if self.begin is None or ids[:1] == [self.begin] else [self.begin, *ids]

    def _windows(self, ids: Sequence[int], size: int) -> list[Rendered]:
        """Cut a long text: each window begins with the last token of the one before, which it foretells nothing of."""
        return [
            Rendered(np.array(some, np.int32), np.arange(len(some)) > 0)
            for start in range(0, max(len(ids) - 1, 1), size - 1)
            if len(some := ids[start : start + size]) > 1
        ]  # fmt: skip


def fitted(ids: Sequence[int], learnt: Sequence[bool], max_length: int, *, keep: int = 0) -> Rendered:
    """Return a row of at most ``max_length`` tokens. The prompt loses its oldest tokens, but for the first ``keep``; the answer is cut at its
    end only where it would not fit behind ``LEAST_PROMPT`` tokens of the prompt."""
    over = len(ids) - max_length
    told = np.array(ids, np.int32), np.array(learnt, bool)
    told[1][:1] = False  # nothing foretells the first
    if over <= 0:
        return Rendered(*told)
    answered = bool(told[1].any())
    prompt, least = (int(np.argmax(told[1])), max(keep, LEAST_PROMPT)) if answered else (len(ids), keep)
    cut = min(over, max(0, prompt - least))
    kept = np.r_[0:keep, keep + cut : len(ids)][:max_length]
    row = [part[kept] for part in told]
    return Rendered(row[0], row[1], cut, over - cut)


def _without_oldest(turns: Sequence[Turn]) -> tuple[Turn, ...] | None:
    """Return the turns without the oldest question and its answer; None where one question alone is left."""
    system = 1 if turns[0].role == "system" else 0
    return (*turns[:system], *turns[system + 2 :]) if len(turns) - system > 2 else None


def _pieces(spans: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int, bool]]:
    found, at = [], 0
    for begin, end in spans:
        found += [(at, begin, False), (begin, end, True)]
        at = end
    return [(begin, end, wanted) for begin, end, wanted in [*found, (at, size, False)] if end > begin]


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False) -> str:
    """jinja2's own escapes what HTML would read; transformers' templates are written for this one."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    import jinja2

    raise jinja2.exceptions.TemplateError(message)


@cache
def _environment() -> Any:
    """Return where templates are compiled: in a sandbox, by what transformers gives them to work with."""
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        """``{% generation %}`` marks answers in some templates; what is learnt is found without it."""

        tags = {"generation"}  # noqa: RUF012 - jinja2's own name

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(["name:endgeneration"], drop_needle=True)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = TODAY.strftime
    return environment
