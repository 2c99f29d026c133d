"""From the recipe's section to a teacher whose answers stand in the order of the task's labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ..contracts import Teacher
from ..errors import TeacherError
from ..lookup import did_you_mean, load
from ..recipe.teacher import Teacher as Section
from ..records import Head

KINDS: Mapping[str, str] = {
    "model": "potstill.teachers.model:open_model",
    "recorded": "potstill.teachers.recorded:open_recorded",
    "onnx": "potstill.teachers.onnx_file:open_onnx",
    "callable": "potstill.teachers.function:open_callable",
    "ensemble": "potstill.teachers.ensemble:open_ensemble",
    "endpoint": "potstill.teachers.endpoint.teacher:open_endpoint",
}
QUICK = "potstill.teachers.quick:open_quick"  # a model whose graph was made: it runs without torch
WRITERS: Mapping[str, str] = {  # the kinds that can be asked about each token of a text
    "model": "potstill.teachers.causal:open_causal", "endpoint": "potstill.teachers.endpoint.tokens:open_tokens",
}  # fmt: skip


@dataclass(frozen=True)
class Given:
    """What was made for a teacher beside its section of the recipe: its adapted folder, its graph in another precision, an ensemble's
    members, the threads that it may use; for a prompt the rows' fields and the shots, [fields, label] each; and a clock, in tests."""

    folder: Path | None = None
    graph: Path | None = None
    members: tuple[Teacher, ...] = ()
    threads: int | None = None
    fields: tuple[str, ...] = ("text",)
    shots: tuple[tuple[Mapping[str, str], str], ...] = ()
    clock: Any = None


def build(
    spec: Any, head: Head, *, folder: Path | None = None, graph: Path | None = None, members: Sequence[Teacher] = (), threads: int | None = None,
    fields: Sequence[str] = ("text",), shots: Sequence[tuple[Mapping[str, str], str]] = (), clock: Any = None,
) -> Teacher:  # fmt: skip
    """Return the teacher that ``spec`` (a section of the recipe, told by its ``kind``) describes, for a task with ``head``.

    The others are :class:`Given`. Raises :class:`TeacherError` for a model, file or function that can't be used,
    :class:`MissingExtraError` without the packages that it needs.
    """
    if spec.kind not in KINDS:
        raise TeacherError(f"there is no kind of teacher '{spec.kind}'", place="teacher.kind", remedy=did_you_mean(spec.kind, KINDS))
    if head.kind == "tokens" and spec.kind not in WRITERS:
        raise TeacherError(f"a teacher of kind '{spec.kind}' writes no text", place="teacher.kind", remedy=did_you_mean(spec.kind, WRITERS))
    opener = WRITERS[spec.kind] if head.kind == "tokens" else QUICK if graph is not None else KINDS[spec.kind]
    teacher: Teacher = load(opener)(spec, head, Given(folder, graph, tuple(members), threads, tuple(fields), tuple(shots), clock))
    return teacher


def opened(told: Mapping[str, Any], head: Head, *, threads: int | None = None, wrap: Callable[[Teacher], Teacher] = lambda teacher: teacher) -> Teacher:
    """Return the teacher that plain JSON tells of: {"teacher": its section, "folder", "graph", "members": [the same of each],
    "fields", "shots"}.

    ``wrap`` is put around each member of an ensemble.
    """
    folder, graph = (Path(told[name]) if told.get(name) else None for name in ("folder", "graph"))
    members = [wrap(opened(member, head, threads=threads)) for member in told.get("members", ())]
    asked = {"fields": told.get("fields", ("text",)), "shots": [(fields, label) for fields, label in told.get("shots", ())]}
    return build(read(told["teacher"]), head, folder=folder, graph=graph, members=members, threads=threads, **asked)


def encoder(spec: Any, folder: Path, *, threads: int | None = None) -> Teacher:
    """Return the model in ``folder`` as a teacher without a head, that has inner states to show and no answers; see :func:`build`."""
    teacher: Teacher = load(KINDS["model"])(spec, None, Given(folder=folder, threads=threads))
    return teacher


def read(section: Mapping[str, Any]) -> Any:
    """Return a teacher's section of the recipe from its JSON."""
    return TypeAdapter(Section).validate_python(section)


def known(spec: Any) -> dict[str, Any]:
    """Return what the recipe says of a teacher that is worth showing."""
    return {"license": spec.license, "output_license": spec.output_license, "usd_per_1000": spec.usd_per_1000}


RENAME = "say which is which: `labels: {its label: the task's label}`; or give it a head for this task: `adapt: {how: finetune}`"


def task_names(own: Sequence[str], given: Mapping[str, str], head: Head, *, place: str, remedy: str = RENAME) -> tuple[str, ...]:
    """Return the task's name for each of a teacher's ``own`` labels, in their order: aligned by name, never by position.

    Raises :class:`TeacherError` unless the names, after ``given`` renames them, are the task's labels, all and each once.
    """
    if unknown := [label for label in given if label not in own]:
        raise TeacherError(
            f"the teacher has no label '{unknown[0]}'",
            place="teacher.labels",
            remedy=did_you_mean(unknown[0], own) or f"it has: {_list(own)}",
        )
    names = tuple(given.get(label, label) for label in own)
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise TeacherError(f"two of the teacher's labels are called '{twice[0]}'", place=place, remedy="give each a name: teacher.labels")
    if set(names) != set(head.labels):
        lacks, extra = sorted(set(head.labels) - set(names)), sorted(set(names) - set(head.labels))
        raise TeacherError(
            f"the teacher's labels are not the task's: the teacher has {_list(names)}; the task has {_list(head.labels)}"
            + (f"; the teacher lacks {_list(lacks)}" if lacks and len(lacks) < len(head.labels) else "")
            + (f"; the task lacks {_list(extra)}" if extra and len(extra) < len(names) else ""),
            place=place,
            remedy=remedy,
        )
    return names


def _list(labels: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(f"'{label}'" for label in labels[:most])
    return f"[{shown}{f', and {len(labels) - most} more' if len(labels) > most else ''}]"
