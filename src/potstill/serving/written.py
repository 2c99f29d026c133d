"""What is told of answers that were written: whole, or piece by piece as events; in OpenAI's shapes and in our own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import asked as asking
from .asked import Asked
from .completions import Completion, Finish
from .shapes import Body, Bounds, Wrong, dumps
from .writers import Said, Writer

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Named:
    """What every answer to a request tells of it: its number, under which name it was answered, by which bundle, when."""

    id: str
    alias: str
    digest: str
    created: int = field(default_factory=lambda: int(time.time()))

    def head(self, kind: str, prefix: str) -> dict[str, Any]:
        return {"id": f"{prefix}-{self.id}", "object": kind, "created": self.created, "model": self.alias, "bundle": self.digest}


@dataclass(frozen=True)
class Form:
    """A protocol for models that write: what a body asks; the whole answer; how one is begun in a stream, and one of its pieces."""

    asked: Callable[[Body, Writer, Bounds], Asked]
    whole: Callable[[Named, Sequence[Completion]], Any]
    begun: Callable[[Named], list[Any]] | None = None  # the first events
    piece: Callable[[Named, int, str, Finish | None], Any] | None = None  # None: nothing is streamed


def usage(completions: Sequence[Completion]) -> dict[str, int]:
    """Return how many tokens were read and written, the ones that end answers among them."""
    read, written = sum(one.prompt_tokens for one in completions), sum(len(one.ids) for one in completions)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _chat(named: Named, completions: Sequence[Completion]) -> dict[str, Any]:
    (one,) = completions
    choice = {"index": 0, "message": {"role": "assistant", "content": one.text}, "finish_reason": one.finish, "logprobs": None}
    return {**named.head("chat.completion", "chatcmpl"), "choices": [choice], "usage": usage(completions)}


def _chat_begun(named: Named) -> list[dict[str, Any]]:
    return [_chat_chunk(named, {"role": "assistant", "content": ""}, None)]


def _chat_piece(named: Named, place: int, text: str, finish: Finish | None) -> dict[str, Any]:
    return _chat_chunk(named, {"content": text} if text else {}, finish)


def _chat_chunk(named: Named, delta: Mapping[str, str], finish: Finish | None) -> dict[str, Any]:
    return {**named.head("chat.completion.chunk", "chatcmpl"), "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}


def _text(named: Named, completions: Sequence[Completion]) -> dict[str, Any]:
    choices = [{"index": place, "text": one.text, "finish_reason": one.finish, "logprobs": None} for place, one in enumerate(completions)]
    return {**named.head("text_completion", "cmpl"), "choices": choices, "usage": usage(completions)}


def _text_piece(named: Named, place: int, text: str, finish: Finish | None) -> dict[str, Any]:
    choice = {"index": place, "text": text, "finish_reason": finish, "logprobs": None}
    return {**named.head("text_completion", "cmpl"), "choices": [choice]}


def _native(named: Named, completions: Sequence[Completion]) -> dict[str, Any]:
    return {"predictions": [{**one.as_json(), "served_by": "student"} for one in completions], "model": named.alias, "bundle": named.digest}


CHAT = Form(asking.chat, _chat, _chat_begun, _chat_piece)
COMPLETIONS = Form(asking.completions, _text, lambda named: [], _text_piece)
NATIVE = Form(asking.native, _native)
V2 = Form(asking.tensors, _native)  # it refuses


# ------------------------------------------------------------------------------------------------------------ as events
def event(value: Any) -> bytes:
    return b"data: " + dumps(value) + b"\n\n"


def events(form: Form, named: Named, said: Sequence[Said]) -> bytes:
    """Return an event for each piece of text, and for each end."""
    assert form.piece is not None  # what is not streamed has been refused
    told = [(one.place, one.piece, one.whole.finish if one.whole is not None else None) for one in said]
    return b"".join(event(form.piece(named, place, text, finish)) for place, text, finish in told if text or finish)


def last(form: Form, named: Named, completions: Sequence[Completion], counted: bool) -> bytes:
    """Return what ends a stream: the count of its tokens, where it was asked for, and the word that nothing follows."""
    assert form.piece is not None
    told = {**form.piece(named, 0, "", None), "choices": [], "usage": usage(completions)}
    return (event(told) if counted else b"") + DONE


def broken(wrong: Wrong, error: Callable[[Wrong], Mapping[str, Any]]) -> bytes:
    """Return what ends a stream that can't go on: an error, and no word that it is whole."""
    return event(error(wrong))
