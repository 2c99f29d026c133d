"""The commented recipe that ``potstill init`` writes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources

from ..errors import UserError
from ..lookup import did_you_mean

TASKS = ("text-classification",)


def template(
    task: str = "text-classification", *, name: str = "tickets", train: str = "train.jsonl", unlabeled: str | None = None,
    columns: Mapping[str, str] | None = None, model: str = "path/to/model", layers: int = 3, license: str = "unknown",
) -> str:  # fmt: skip
    """Return a commented recipe. It loads where the files that it names exist. Raises :class:`UserError` for an unknown task."""
    if task not in TASKS:
        raise UserError(f"'{task}' is no task that this version knows", place="--task", remedy=did_you_mean(task, TASKS))
    text = resources.files("potstill.recipe").joinpath("template.yaml").read_text("utf-8")
    roles = columns or {"text": "text", "label": "label"}
    listed = ", ".join(f"{role}: {_yaml(column)}" for role, column in roles.items())
    filled = text.format(
        name=name, train=_yaml(train), unlabeled=f"unlabeled: {_yaml(unlabeled)}" if unlabeled else "# unlabeled: more.jsonl",
        model=_yaml(model), columns=f"{{{listed}}}", layers=layers, license=license, output_license=license,
    )  # fmt: skip
    return "".join(_aligned(line) for line in filled.splitlines(keepends=True))


def _yaml(text: str) -> str:
    """Return ``text`` as YAML reads it back; in quotes only where it must be."""
    return text if re.fullmatch(r"[A-Za-z_./][\w./-]*", text) and text.lower() not in ("true", "false", "null") else json.dumps(text, ensure_ascii=False)


def _aligned(line: str) -> str:
    """Put the comment of a line where the others stand, as far as what was filled in lets it."""
    found = re.fullmatch(r"(\s*(?:# )?[^#]*?\S)\s{2,}(#.*\n?)", line)
    return f"{found[1]:<38} {found[2]}" if found else line
