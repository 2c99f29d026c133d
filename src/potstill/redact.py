"""What in a text may name a person, replaced: the same address always by the same word, under a key that is not kept beside the texts.

Standard library alone: what is sent to a server, what a student reads and what a log keeps are replaced by these rules, and no other.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import UserError

NAME = r"[A-Za-z][A-Za-z0-9_-]{0,31}"
NAMED = re.compile(rf"({NAME})=(.+)", re.DOTALL)
HELD = re.compile(rf"<({NAME})(?::[0-9a-f]{{6}})?>")  # what stands where something was replaced
PASSES = 6
WITH_DIGEST = re.compile(rf"<({NAME}):[0-9a-f]{{6}}>")


def _address(found: str) -> bool:
    try:
        ipaddress.ip_address(found)
    except ValueError:
        return False
    return True


CHECKS: Mapping[str, Callable[[str], bool]] = {"": lambda found: True, "address": _address}


@dataclass(frozen=True)
class Rule:
    """What is looked for; ``check`` names what says of a match whether it is one (:data:`CHECKS`)."""

    name: str
    pattern: re.Pattern[str]
    check: str = ""

    def as_json(self) -> dict[str, str]:
        return {"name": self.name, "pattern": self.pattern.pattern, **({"check": self.check} if self.check else {})}

    @staticmethod
    def parse(found: Mapping[str, Any]) -> Rule:
        """Return what :meth:`as_json` gave. Raises KeyError and :class:`re.error` for what is none."""
        check = str(found.get("check", ""))
        if check not in CHECKS:
            raise KeyError(check)
        return Rule(str(found["name"]), re.compile(str(found["pattern"])), check)


# Each looks at a character a bounded number of times: a text made to be slow is not. Rather too much is replaced than too little.
BUILT_IN = (
    Rule("email", re.compile(r"(?<![\w.+%'-])[\w.+%'-]++@[\w-]++(?:\.[\w-]++)++(?:[\w.+%'-]*+@[\w.+%'@-]*+)?")),  # what is glued to it goes with it
    Rule("iban", re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?(?![A-Za-z0-9])")),
    Rule("ip", re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?!\d|\.\d)"), "address"),
    Rule("ip", re.compile(r"(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])"), "address"),
    Rule("card", re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")),
    Rule("phone", re.compile(r"(?:\+|(?<!\d)00)\d(?:[ ()./-]{0,3}\d){6,14}(?!\d)")),
    Rule("phone", re.compile(r"(?<!\d)(?!\d{4}-\d\d-\d\d)\(?\d(?:[ ()./-]{0,3}\d){8,14}(?!\d)")),
    Rule("phone", re.compile(r"(?<![\d-])\d{3}[-. ]\d{4}(?!\d|-\d)")),
)


def rules_from(given: Sequence[str], place: str = "--traffic-redact") -> tuple[Rule, ...]:
    """Return the rules that "NAME=EXPRESSION" describe. Raises :class:`UserError`."""
    found = []
    for text in given:
        parts = NAMED.fullmatch(text)
        if parts is None:
            raise UserError(f"'{text}' is no name with an expression", place=place, remedy="write NAME=EXPRESSION: ticket=T-\\d+")
        try:
            found.append(Rule(parts[1], re.compile(parts[2])))
        except re.error as error:
            raise UserError(f"'{parts[2]}' is no regular expression: {error}", place=place) from error
    return tuple(found)


@dataclass(frozen=True)
class Redactor:
    """Replaces by the rules, those given before the built-in ones. A second time nothing changes: what was replaced is no match.

    ``key``: without it nobody can try out what a replacement stood for; None: only the rule's name stands there, so that it takes no
    secret to read texts as a student learnt to read them.
    """

    key: bytes | None
    rules: tuple[Rule, ...] = ()
    built_in: tuple[Rule, ...] = BUILT_IN

    def __call__(self, text: str) -> str:
        return self.counted(text)[0]

    def counted(self, text: str) -> tuple[str, Counter[str]]:
        """Return the text, and how many times each rule, by its name, replaced something."""
        counts: Counter[str] = Counter()
        for _ in range(PASSES):  # where one thing was glued to another, it is found when that is gone
            before = counts.total()
            for rule in (*self.rules, *self.built_in):
                text = "".join(self._parts(rule, text, counts))
            if counts.total() == before:
                break
        if self.key is None:
            text = WITH_DIGEST.sub(r"<\1>", text)  # what a log or a server was told, read as what a student learns
        return text, counts

    def _parts(self, rule: Rule, text: str, counts: Counter[str]) -> Iterator[str]:
        held, at = list(HELD.finditer(text)) if "<" in text else [], 0
        before = 0  # of the words that stand already, those that end before a match
        for match in rule.pattern.finditer(text):
            begin, end = match.span()
            while before < len(held) and held[before].end() <= begin:
                before += 1
            inside = before < len(held) and held[before].start() <= begin and end <= held[before].end()
            if begin == end or inside or not CHECKS[rule.check](match[0]):
                continue
            counts[rule.name] += 1
            yield text[at:begin]
            yield self._instead(rule, match[0])
            at = end
        yield text[at:]

    def _instead(self, rule: Rule, found: str) -> str:
        """Return ``<name:123abc>``: the same for whatever differs in case, spaces and signs alone; without a key ``<name>``."""
        if self.key is None:
            return f"<{rule.name}>"
        same = re.sub(r"[^\w@]", "", found).casefold()
        return f"<{rule.name}:{self.digest(same)[:6]}>"

    def digest(self, text: str) -> str:
        """Return the text's keyed digest, 32 hexadecimal digits."""
        assert self.key is not None  # whoever keeps digests has a key
        return hmac.new(self.key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]

    def fields(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row's fields, its texts replaced."""
        return {name: self(value) if isinstance(value, str) else value for name, value in row.items()}

    def as_json(self) -> list[dict[str, str]]:
        """Return the rules as data, without the key."""
        return [rule.as_json() for rule in (*self.rules, *self.built_in)]

    @staticmethod
    def plain(found: Sequence[Mapping[str, Any]]) -> Redactor:
        """Return a redactor without a key by what :meth:`as_json` gave. Raises KeyError, TypeError and :class:`re.error` for what is none."""
        return Redactor(None, tuple(Rule.parse(rule) for rule in found), ())
