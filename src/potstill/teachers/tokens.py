"""Whether a student reads what its teacher reads: the same tokens by the same ids, written by the same chat template.

A teacher's answers stand at positions. Where the two cut or write a text differently, position by position they speak of other things, and nothing in
the loss shows it (TRAPS.md 18, 38). So both are compared before anything is spent: what they are, then what they make of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..errors import TeacherError
from ..records import Field
from ..serving.turns import Turns

PLACE = "students.from"
REMEDY = "start the student from the teacher, or from a model that has its tokenizer"
SHOWN = 3  # ids that an error names
PROBES = (
    "Hello, world!  Two  spaces,\ta tab\n\nand lines \n", "  leading and trailing  ", "naïve café — “quotes” … \ufb01 \u2460 \u2163 e\u0301",
    "日本語の文章と한국어, عربى", "\U0001f642\U0001f469\u200d\U0001f467 §", "x = [1, 2.50, 10000, 0xFF];\n\treturn x_1 ** 2  # ok",
    "don't I'll WE'VE", "<s></s><|im_start|>user<|endoftext|>", "",
)  # fmt: skip
PARTS: Mapping[str, Callable[[Turns], Any]] = {  # of how rows are written, by what an error calls them
    "chat template": lambda turns: turns.renderer.template, "template options": lambda turns: dict(turns.renderer.options),
    "special tokens of the template": lambda turns: dict(turns.renderer.special), "max_length": lambda turns: turns.max_length,
    "every_turn": lambda turns: turns.every_turn,
}  # fmt: skip
ENDS: Mapping[str, Callable[[Turns], int | None]] = {
    "token that ends an answer": lambda turns: turns.renderer.end, "token that begins a row": lambda turns: turns.renderer.begin,
}  # fmt: skip


def same_tokens(teacher: Path | Tokenizer, student: Path | Tokenizer, *, texts: Sequence[str] = (), kept: Sequence[int] | None = None) -> None:
    """Raise :class:`TeacherError`, naming the ids, unless two tokenizers (or those in two models' folders) make the same ids of all texts.

    Compared by id: the vocabularies, added tokens with whether they are special, and what both make of our probes and of ``texts``. A
    vocabulary's size tells nothing, and neither does a table that is padded: that is the model's, not the tokenizer's. ``kept``: for each token
    of a student's whose vocabulary was trimmed the teacher's; then ``texts`` alone are tried, for others fall apart.
    """
    mine, other = (_plain(_tokenizer(side)) for side in (teacher, student))
    _same_ids(_vocabulary(mine), _renamed(_vocabulary(other), kept), whole=kept is None)
    _same_added(_added(mine), _renamed(_added(other), kept), whole=kept is None)
    for text in (*(PROBES if kept is None else ()), *texts):
        first, second = (own.encode(text, add_special_tokens=False).ids for own in (mine, other))
        second = _whole(second, kept)
        if first != second:
            at = _parted(first, second)
            words = f"the teacher makes {_few(first, at)} of {text[:40]!r}, the student {_few(second, at)}, from token {at} on"
            raise TeacherError(f"the student's tokenizer cuts texts otherwise: {words}", place=PLACE, remedy=REMEDY)


def same_rows(teacher: Turns, student: Turns, rows: Sequence[Mapping[str, Field]], *, kept: Sequence[int] | None = None) -> None:
    """Raise :class:`TeacherError` unless both write rows alike: by template, its options (a thinking flag), length; and, row by row, to the same ids,
    learnt at the same places. ``kept``: see :func:`same_tokens`."""
    parts = {name: (part(teacher), part(student)) for name, part in PARTS.items()}
    for name, end in ENDS.items():
        own = end(student)
        parts[name] = (end(teacher), own if own is None else _whole([own], kept)[0])
    for name, (first, second) in parts.items():
        if first != second:
            words = f"the student's {name}, which must be the teacher's: {_shown(first, second)} to the teacher, {_shown(second, first)} to the student"
            raise TeacherError(words, place=PLACE, remedy="give both one: teacher.chat, or start the student from the teacher")
    for n, (told, read) in enumerate(zip(teacher.encode(rows), student.encode(rows))):
        for name in ("input_ids", "learnt", "window"):
            mine, other = told[name].tolist(), read[name].tolist()
            other = _whole(other, kept) if name == "input_ids" else other
            if mine != other:
                at = _parted(mine, other)
                words = f"of row {n} the teacher reads {_few(mine, at)}, the student {_few(other, at)}, from token {at} on ({name})"
                raise TeacherError(words, place=PLACE, remedy=REMEDY)


def _same_ids(first: Mapping[int, str], second: Mapping[int, str], *, whole: bool) -> None:
    wrong = sorted(id for id in (first.keys() | second.keys() if whole else second.keys()) if first.get(id) != second.get(id))
    if wrong:
        told = "; ".join(f"{id} is {_token(first, id)} to the teacher and {_token(second, id)} to the student" for id in wrong[:SHOWN])
        more = f"; and {len(wrong) - SHOWN:,} more" if len(wrong) > SHOWN else ""
        raise TeacherError(f"the student's tokenizer is another one: {told}{more}", place=PLACE, remedy=REMEDY)


def _same_added(first: Mapping[int, Any], second: Mapping[int, Any], *, whole: bool) -> None:
    for id in sorted(first.keys() | second.keys() if whole else second.keys()):
        if first.get(id) != second.get(id):
            words = f"{id} is added as {first.get(id)} to the teacher's and as {second.get(id)} to the student's"
            raise TeacherError(f"the tokenizers' added tokens (token, special) differ: {words}", place=PLACE, remedy=REMEDY)


def _vocabulary(own: Tokenizer) -> dict[int, str]:
    return {id: token for token, id in own.get_vocab(with_added_tokens=True).items()}


def _added(own: Tokenizer) -> dict[int, tuple[str, bool]]:
    return {id: (token.content, token.special) for id, token in own.get_added_tokens_decoder().items()}


def _renamed(tokens: Mapping[int, Any], kept: Sequence[int] | None) -> Mapping[int, Any]:
    """Return a student's tokens by the teacher's ids."""
    return tokens if kept is None else {kept[id]: token for id, token in tokens.items()}


def _whole(ids: Sequence[int], kept: Sequence[int] | None) -> list[int]:
    return list(ids) if kept is None else [int(kept[id]) for id in ids]


def _tokenizer(folder: Path | Tokenizer) -> Tokenizer:
    if not isinstance(folder, Path):
        return Tokenizer.from_str(folder.to_str())
    path = folder / "tokenizer.json"
    try:
        found = Tokenizer.from_str(path.read_text("utf-8"))
    except OSError as error:
        raise TeacherError("the model has no tokenizer.json", place=str(folder), remedy="save it with its fast tokenizer") from error
    except Exception as error:  # tokenizers raises no narrower one
        raise TeacherError(f"the tokenizer can't be read: {error}", place=str(path), remedy="restore the file or write it again") from error
    return found


def _plain(own: Tokenizer) -> Tokenizer:
    own.no_padding()
    own.no_truncation()
    return own


def _parted(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the first place where two sequences differ."""
    return next((at for at, (one, two) in enumerate(zip(first, second)) if one != two), min(len(first), len(second)))


def _few(values: Any, at: int) -> str:
    return str([int(value) for value in values[at : at + 4]])


def _token(tokens: Mapping[int, str], id: int) -> str:
    return repr(tokens[id]) if id in tokens else "no token"


def _shown(value: Any, other: Any) -> str:
    """Return a part in words; of a long text what stands where it parts from the other one."""
    if not isinstance(value, str) or len(value) < 60:
        return repr(value)
    at = next((n for n, (one, two) in enumerate(zip(value, other)) if one != two), 0) if isinstance(other, str) else 0
    return f"...{value[max(at - 20, 0) : at + 30]!r}..."
