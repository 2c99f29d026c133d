"""Every error a person can meet: one base, an exit code, and a remedy.

An error names the value, the place and the remedy. ``cli`` turns it into one line on standard error and its
``exit_code``; nothing below ``cli`` prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DONE, FAULT, USER, UNMET, INTERRUPTED = 0, 1, 2, 3, 130


class PotstillError(Exception):
    """Base of all our errors. ``remedy`` says what to do next."""

    exit_code = FAULT

    def __init__(self, message: str, *, place: str = "", remedy: str = "") -> None:
        self.message, self.place, self.remedy = message, place, remedy
        super().__init__(message, place, remedy)

    def __reduce__(self) -> tuple[object, ...]:  # keyword-only arguments would be lost by pickling's default
        return (_rebuild, (type(self), self.message, self.place, self.remedy))

    def __str__(self) -> str:
        head = f"{self.place}: {self.message}" if self.place else self.message
        return f"{head}\n  {self.remedy}" if self.remedy else head


def _rebuild(kind: type[PotstillError], message: str, place: str, remedy: str) -> PotstillError:
    return kind(message, place=place, remedy=remedy)


class UserError(PotstillError):
    """Something that the user can mend: usage, recipe, data, extra, endpoint, disk."""

    exit_code = USER


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file: where, what, and what to do."""

    place: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f"\n  {self.remedy}" if self.remedy else "")


class ProblemsError(UserError):
    """All problems of one file at once, so that they are mended in one go."""

    def __init__(self, message: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(message, remedy="\n  ".join(str(problem).replace("\n", "\n  ") for problem in problems))

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.message, self.problems))


class RecipeError(ProblemsError):
    """The recipe can't be used as it stands."""


class DataError(UserError):
    """The data can't be used as it stands."""


class MissingExtraError(UserError):
    """A part of potstill needs packages that are not installed."""


class DiskError(UserError):
    """The disk is full or can't be written."""


class LockedError(UserError):
    """Another process works on the same folder."""


class StoreError(UserError):
    """The label store can't be used: newer version, unreadable index."""


class TeacherError(UserError):
    """The teacher can't be used: not found, wrong labels, at chance."""


class BundleError(UserError):
    """A bundle or artifact is damaged, incomplete or from a newer version."""


class SealedError(PotstillError):
    """Code tried to look at the test split before its analysis was registered. A fault of ours."""


class BudgetError(UserError):
    """The teacher's bill has reached what the recipe allows; what was answered is kept."""
