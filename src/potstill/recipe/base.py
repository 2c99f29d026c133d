"""What every section stands on: frozen, strict, unknown keys refused; and the few types that several sections share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TAG = "kind="  # marks, in pydantic's places, the step into one choice of several


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values are not bent to fit, and nothing changes after construction."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True, allow_inf_nan=False)


class Finding(NamedTuple):
    """One thing that is wrong with a section as a whole: where below it, what, and what to do."""

    path: tuple[str | int, ...]
    message: str
    remedy: str = ""


def refuse(findings: Iterable[Finding]) -> None:
    """Raise all ``findings`` at once, in the form in which pydantic carries an error to its caller; no-op where there are none."""
    found = tuple(findings)
    if found:
        text = "; ".join(" ".join(part for part in (finding.message, finding.remedy) if part) for finding in found)
        # The text goes in by a variable, because pydantic would read braces in it as its own.
        raise PydanticCustomError("findings", "{text}", {"text": text, "findings": found})


def one(message: str, remedy: str = "") -> None:
    """Raise one finding about the value itself."""
    refuse([Finding((), message, remedy)])


def _text(value: Any) -> Any:
    """A number is taken as its text; yes and no are not, because it is not known how they were written."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return str(value)


def _slug(value: Any) -> Any:
    value = _text(value)
    if isinstance(value, str) and not SLUG.fullmatch(value):
        one(f"'{value}' can't name a folder", "use up to 64 letters, digits, '-', '_' and '.', beginning with a letter or a digit")
    return value


def _paths(value: Any) -> Any:
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str) and item.strip() for item in items):
        one(f"{value!r} is neither a path nor a list of paths")
    return value


def tagged(*kinds: type[BaseModel]) -> Any:
    """Return the annotation of a choice between sections that say which they are by ``kind``."""
    tags = {kind.model_fields["kind"].default: kind for kind in kinds}

    def tag(value: Any) -> str | None:
        kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
        return TAG + kind if isinstance(kind, str) else None

    union: Any = None
    for kind, model in tags.items():
        member = Annotated[model, Tag(TAG + kind)]  # type: ignore[valid-type]
        union = member if union is None else union | member
    return Annotated[union, Discriminator(tag)]


def _license(value: object) -> object:
    if isinstance(value, str) and value.strip().lower() in ("disallowed", "forbidden", "none"):
        one(
            f"'{value}': the teacher's terms don't allow its answers to train another model",
            "choose another teacher; potstill does not help to break its terms",
        )
    return value


SEPARATOR = "|"  # of labels in a text cell: that of pandas' str.get_dummies
Separator = Annotated[str, Field(min_length=1, exclude_if=lambda value: value == SEPARATOR)]
Text = Annotated[str, BeforeValidator(_text)]
Slug = Annotated[str, BeforeValidator(_slug)]
Paths = Annotated[str | list[str], BeforeValidator(_paths)]
OutputLicense = Annotated[Text, BeforeValidator(_license)]
