"""What the model is told: a template of declared variables, a few training rows as shots, and a row that can't step out of its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ... import rng, storage
from ...errors import TeacherError
from ...instructions import signs
from ...lookup import did_you_mean
from ...recipe.endpoint import FIELDS
from ...records import Example

VERSION = 1  # raise it when the same template and row would be written otherwise
VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
CHAT = "Classify the text. Answer with one of these labels and nothing else: {{labels}}.\n---\n{{text}}"
COMPLETION = "Each text has one of these labels: {{labels}}.\n---\nText: {{text}}\nLabel:"
PAIR = {"chat": "\n{{text_pair}}", "completion": "\nSecond text: {{text_pair}}"}
# What a row could close its delimiter by, or what a server reads as a token of its template (it reads a completion's prompt, and a rendered
# chat, with the special tokens in them): the bracket that opens it becomes a harmless one. Vocabularies differ, so any word in such brackets counts:
# <s>, </s>, <bos>, <start_of_turn>, <<SYS>>, <|im_end|>, <｜User｜>, <think>, <0x0A>, [INST], [TOOL_CALLS], [gMASK]. Not [MASK], which ends nothing,
# nor the words that stand for what was replaced (redact.HELD).
MARKS = re.compile(
    r"<(?=\s*/?\s*(?:(?i:text|s\s*>|start_of_|end_of_|im_start|im_end|eos|bos)|\||｜))"
    r"|<(?![A-Za-z][\w-]{0,31}:[0-9a-f]{6}>)(?=<?/?[^\s<>]{1,64}>)"
    r"|\[(?=\s*/?\s*(?i:INST|SYS))|\[(?=/?(?:(?!MASK\])[A-Z][A-Z0-9_]{1,40}|[gs]MASK)\])"
)
LEFT_OUT = "\u2026"  # an ellipsis for a label's word
LONG = 4  # letters of a word that is found at the beginning of another, too
HARMLESS = {"<": "‹", "[": "("}


@dataclass(frozen=True)
class Shot:
    """A training row as an example: its fields, and the gold label."""

    fields: Mapping[str, str]
    label: str


@dataclass(frozen=True)
class Template:
    """An instruction, said once, and what is said of every row; their variables are known, and each of them is used."""

    instruction: str
    item: str
    delimiter: str  # tags | line
    constants: Mapping[str, str]  # what the item's other variables stand for

    @property
    def digest(self) -> str:
        used = {name: value for name, value in self.constants.items() if name in VARIABLE.findall(self.item)}
        return storage.digest("prompt", VERSION, self.instruction, self.item, self.delimiter, used)

    def about(self, fields: Mapping[str, Any]) -> str:
        """Return what is said of a row. Raises :class:`TeacherError` for fields that the template does not show."""
        shown = {name: SET_APART[self.delimiter](name, str(value)) for name, value in fields.items()}
        if unseen := [name for name in fields if name not in VARIABLE.findall(self.item)]:
            raise TeacherError(
                f"the prompt does not show '{unseen[0]}', which these rows have", place="teacher.prompt", remedy=f"write {{{{{unseen[0]}}}}} below its line ---"
            )
        return _filled(self.item, {**self.constants, **shown})


def template(text: str, *, variables: Mapping[str, str], words: Sequence[str], delimiter: str, place: str = "teacher.prompt") -> Template:
    """Return the template in ``text``, all but the row's own variables filled in.

    Raises :class:`TeacherError` for a variable that is not declared, one that is declared and not used, and a template without the row.
    """
    instruction, line, item = re.sub(r"\r\n?", "\n", text).rpartition("\n---\n") if "\n---\n" in text else ("", "", text)
    known = {**variables, "labels": ", ".join(words)}
    used = set(VARIABLE.findall(text))
    for name in sorted(used - {*known, *FIELDS}):
        raise TeacherError(f"the prompt names '{name}', which is not declared", place=place, remedy=did_you_mean(name, [*known, *FIELDS]))
    for name in sorted(set(variables) - used):
        raise TeacherError(f"the variable '{name}' is declared and not used", place=place, remedy=f"write {{{{{name}}}}} into it, or drop the variable")
    if "text" not in VARIABLE.findall(item):
        raise TeacherError("the prompt does not show the row", place=place, remedy="write {{text}}" + (" below its line ---" if line else ""))
    if row := set(VARIABLE.findall(instruction)) & set(FIELDS):
        raise TeacherError(f"'{min(row)}' stands in the instruction, which is said once for all rows", place=place, remedy="write it below the line ---")
    return Template(_filled(instruction, known).strip(), item.strip(), delimiter, known)


def source(spec: Any, fields: Sequence[str]) -> str:
    """Return the text of a recipe's prompt: of its file, its own, or a plain one. Raises :class:`TeacherError` for a file that can't be read."""
    if spec.prompt.text is not None:
        return str(spec.prompt.text)
    if spec.prompt.file is not None:
        try:
            return Path(spec.prompt.file).read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise TeacherError(f"the prompt can't be read: {error}", place=f"teacher.prompt.file: {spec.prompt.file}", remedy="name a UTF-8 text") from error
    plain = {"chat": CHAT, "completion": COMPLETION}[spec.api]
    return plain.replace("{{text}}", "{{text}}" + PAIR[spec.api]) if "text_pair" in fields else plain


def draw(rows: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Return ``count`` of the rows that have gold, label by label in turn, by a seeded order that one row more or less hardly changes.

    Raises :class:`TeacherError` where there are fewer.
    """
    by_label: dict[str, list[Example]] = {}
    for row in sorted((row for row in rows if row.gold is not None), key=lambda row: rng.integer(seed, "shot", row.id)):
        by_label.setdefault(str(row.gold), []).append(row)
    queues = [by_label[label] for label in sorted(by_label, key=lambda label: rng.integer(seed, "shot label", label))]
    turns = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
    if len(turns) < count:
        raise TeacherError(
            f"{count} shots are asked for, and {len(turns)} training rows have a gold label", place="teacher.prompt.shots", remedy="ask for fewer"
        )
    return sorted(turns[:count], key=lambda row: rng.integer(seed, "shot place", row.id))


# ------------------------------------------------------------------------------------------------------------ the row
def _filled(text: str, values: Mapping[str, str]) -> str:
    """Fill in variables, once: what a value says is never read as a variable."""
    return VARIABLE.sub(lambda found: values.get(found[1], found[0]), text)


def harmless(value: str) -> str:
    """Return a row's text without what could end its delimiter or a turn, and without halves of characters."""
    return MARKS.sub(lambda found: HARMLESS[found[0]], value.encode("utf-8", "replace").decode())


@dataclass(frozen=True)
class Guard:
    """What keeps a row from putting an answer into the model's mouth: the labels' words are left out of it, so that whichever of them an
    instruction asks for, the model reads the same.

    ``where``: of no row, of those that talk to a language model (:mod:`potstill.instructions`), of all.
    """

    where: str  # none | flagged | all
    words: tuple[str, ...]

    def __call__(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Return a row's fields as they are said."""
        if self.where == "none" or (self.where == "flagged" and not signs("\n".join(fields.values()))):
            return dict(fields)
        return {name: self.pattern.sub(LEFT_OUT, value) for name, value in fields.items()}

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds the words in capitals, too, the longest first; where a script parts words by spaces it is the beginning of one: negative, negatively. A
        short word must be the whole one, or every `no` would go from `nobody`."""
        known = sorted(set(self.words), key=lambda word: (-len(word), word))
        kinds = {
            r"(?<!\w)(?:{})+": [word for word in known if word.isascii() and len(word) >= LONG],
            r"(?<!\w)(?:{})(?!\w)": [word for word in known if word.isascii() and len(word) < LONG], r"(?:{})": [word for word in known if not word.isascii()],
        }  # fmt: skip
        return re.compile("|".join(form.format("|".join(map(re.escape, words))) for form, words in kinds.items() if words), re.IGNORECASE)


def _tags(name: str, value: str) -> str:
    return f"<{name}>\n{harmless(value)}\n</{name}>"


def _line(name: str, value: str) -> str:
    return " ".join(harmless(value).split())


SET_APART: Mapping[str, Callable[[str, str], str]] = {"tags": _tags, "line": _line}
