"""From the recipe's section to a teacher whose answers stand in the order of the task's labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..contracts import Teacher
from ..errors import TeacherError
from ..lookup import did_you_mean, load
from ..records import Head

KINDS: Mapping[str, str] = {"model": "potstill.teachers.model:open_model", "recorded": "potstill.teachers.recorded:open_recorded"}


def build(spec: Any, head: Head, *, folder: Path | None = None, threads: int | None = None) -> Teacher:
    """Return the teacher that ``spec`` (a section of the recipe, told by its ``kind``) describes, for a task with ``head``.

    ``folder`` is the adapted model, where there is one. Raises :class:`TeacherError` for a model or recording that
    can't be used, :class:`MissingExtraError` without the packages that it needs.
    """
    if spec.kind not in KINDS:
        raise TeacherError(f"there is no kind of teacher '{spec.kind}'", place="teacher.kind", remedy=did_you_mean(spec.kind, KINDS))
    teacher: Teacher = load(KINDS[spec.kind])(spec, head, folder=folder, threads=threads)
    return teacher


def encoder(spec: Any, folder: Path, *, threads: int | None = None) -> Teacher:
    """Return the model in ``folder`` as a teacher without a head, that has inner states to show and no answers; see :func:`build`."""
    teacher: Teacher = load("potstill.teachers.model:open_model")(spec, None, folder=folder, threads=threads)
    return teacher


def task_names(own: Sequence[str], given: Mapping[str, str], head: Head, *, place: str) -> tuple[str, ...]:
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
            remedy="say which is which: `labels: {its label: the task's label}`; or give it a head for this task: `adapt: {how: finetune}`",
        )
    return names


def _list(labels: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(f"'{label}'" for label in labels[:most])
    return f"[{shown}{f', and {len(labels) - most} more' if len(labels) > most else ''}]"
