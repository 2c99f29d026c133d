"""Parts of a teacher's section that are of language models alone (`task: text-generation`): how chats are written, how what is said of tokens is kept."""

# ruff: noqa: RUF012 - pydantic copies a default before it gives it away

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .base import Section, Text


class Chat(Section):
    """How conversations are written for a language model that writes texts itself (`task: text-generation`)."""

    template: Text | None = None  # a jinja template; null: the tokenizer's own
    options: dict[Text, bool | int | str] = {}  # what the template is told: {enable_thinking: false}
    every_turn: bool = False  # learn all turns of the assistant, not the last alone


class Tokens(Section):
    """How what a language model says of each token is kept (`task: text-generation`)."""

    way: Literal["auto", "sparse", "sampled", "hidden"] = "auto"  # auto: the smallest within `limit`; sampled: drawn tokens, chosen only by name
    limit: Annotated[float, Field(gt=0)] = 0.05  # nats that a token's distribution may be off, in the mean, where the way is left to us
    mass: Annotated[float, Field(gt=0, le=1)] = 0.999  # sparse: the likeliest tokens until they hold this much,
    floor: Annotated[float, Field(ge=0, lt=1)] = 1e-4  # or the next is rarer than this,
    k_max: Annotated[int, Field(ge=1, le=4096)] = 384  # or there are this many
    draws: Annotated[int, Field(ge=1, le=1024)] = 12  # sampled: tokens drawn a position


def unless_default(section: type[Section]) -> Any:
    """Return the field of a section that is left out of what is written where nothing of it was said: recipes of other tasks don't change."""
    return Field(default=section(), exclude_if=lambda value: value == section())
