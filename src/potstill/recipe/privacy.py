"""The section ``teacher.privacy``: what of a row that may name a person is replaced before it is sent."""

# ruff: noqa: RUF012 - pydantic copies a default before it gives it away

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ..redact import BUILT_IN, NAME, Redactor, Rule
from .base import Finding, Section, Text, one, refuse

Kind = Literal["email", "iban", "ip", "card", "phone"]
KINDS: tuple[Kind, ...] = ("email", "iban", "ip", "card", "phone")
SIGNS = re.compile(r"[\\\[\](){}*+?.|^$]")  # what makes an expression one, and not the very word that it looks for


def key_name(value: Any) -> Any:
    """Return the value: null, or the name of an environment variable. A key itself is refused."""
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*", value)):
        one("a key is named, never written into a recipe", "put it into an environment variable and name that, as in env:MY_KEY")
    return value


class Privacy(Section):
    """Replaced in all that is sent, the shots too: the same address always by the same word. Addresses and numbers are found, names of people are not."""

    replace: Annotated[list[Kind], Field(min_length=1)] = list(KINDS)
    rules: dict[Text, Text] = {}  # more: what it is -> regular expression; looked for before the others
    key: Annotated[str | None, BeforeValidator(key_name)] = None  # env:NAME, of the replacements; null: one of this machine's
    students: bool = False  # they learn from, and where they are served read, texts in which the same is replaced; the bundle holds the rules

    @model_validator(mode="after")
    def _together(self) -> Privacy:
        refuse(self._findings())
        return self

    @property
    def built_in(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in BUILT_IN if rule.name in self.replace)

    @property
    def own(self) -> tuple[Rule, ...]:
        return tuple(Rule(name, re.compile(expression)) for name, expression in self.rules.items())

    def redactor(self, key: bytes | None) -> Redactor:
        """Return what replaces; without a key only the rules' names stand where something stood."""
        return Redactor(key, self.own, self.built_in)

    def _findings(self) -> Iterator[Finding]:
        for name, expression in self.rules.items():
            if not re.fullmatch(NAME, name):
                yield Finding(("rules", name), f"'{name}' can't stand in a text for what was there", "use up to 32 letters, digits, '-' and '_'")
            try:
                found = re.compile(expression)
            except re.error as error:
                yield Finding(("rules", name), f"'{expression}' is no regular expression: {error}")
                continue
            if found.search(""):
                yield Finding(("rules", name), f"'{expression}' finds a text in which there is nothing", "let it ask for a character at least")
            if self.students and not SIGNS.search(expression):
                remedy = "write what such words have in common, as in T-\\d+, or leave students out"
                yield Finding(("rules", name), f"the bundle would hold '{expression}', the very word that is to be replaced", remedy)
