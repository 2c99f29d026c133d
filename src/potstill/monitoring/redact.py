"""What in a text may name a person, replaced: the same address always by the same word, under a key that is not kept beside the texts."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import UserError

NAMED = re.compile(r"([A-Za-z][A-Za-z0-9_-]{0,31})=(.+)", re.DOTALL)


def _address(found: str) -> bool:
    try:
        ipaddress.ip_address(found)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Rule:
    """What is looked for; ``check`` says of a match whether it is one."""

    name: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool] = lambda found: True


# Each looks at a character a bounded number of times: a text made to be slow is not. Rather too much is replaced than too little.
BUILT_IN = (
    Rule("email", re.compile(r"(?<![\w.+%'-])[\w.+%'-]++@[\w-]++(?:\.[\w-]++)++")),
    Rule("iban", re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?(?![A-Za-z0-9])")),
    Rule("ip", re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?!\d|\.\d)"), _address),
    Rule("ip", re.compile(r"(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])"), _address),
    Rule("card", re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")),
    Rule("phone", re.compile(r"(?<!\d)(?:\+|00)\d(?:[ ()./-]{0,3}\d){6,14}(?!\d)")),
    Rule("phone", re.compile(r"(?<!\d)(?!\d{4}-\d\d-\d\d)\(?\d(?:[ ()./-]{0,3}\d){8,14}(?!\d)")),
    Rule("phone", re.compile(r"(?<![\d-])\d{3}[-. ]\d{4}(?!\d|-\d)")),
)


def rules_from(given: Sequence[str]) -> tuple[Rule, ...]:
    """Return the rules that "NAME=EXPRESSION" describe. Raises :class:`UserError`."""
    found = []
    for text in given:
        parts = NAMED.fullmatch(text)
        if parts is None:
            raise UserError(f"'{text}' is no name with an expression", place="--traffic-redact", remedy="write NAME=EXPRESSION: ticket=T-\\d+")
        try:
            found.append(Rule(parts[1], re.compile(parts[2])))
        except re.error as error:
            raise UserError(f"'{parts[2]}' is no regular expression: {error}", place="--traffic-redact") from error
    return tuple(found)


@dataclass(frozen=True)
class Redactor:
    """Replaces by the rules, those given before the built-in ones. ``key``: without it nobody can try out what a replacement stood for."""

    key: bytes
    rules: tuple[Rule, ...] = ()

    def __call__(self, text: str) -> str:
        for rule in (*self.rules, *BUILT_IN):
            text = rule.pattern.sub(lambda match, rule=rule: self._instead(rule, match[0]), text)  # type: ignore[misc]
        return text

    def _instead(self, rule: Rule, found: str) -> str:
        """Return ``<name:123abc>``: the same for whatever differs in case, spaces and signs alone."""
        if not found or not rule.check(found):
            return found
        same = re.sub(r"[^\w@]", "", found).casefold()
        return f"<{rule.name}:{self.digest(same)[:6]}>"

    def digest(self, text: str) -> str:
        """Return the text's keyed digest, 32 hexadecimal digits."""
        return hmac.new(self.key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]
