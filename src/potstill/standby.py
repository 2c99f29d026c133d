"""The teacher behind a server, in a process of its own: lines of JSON in, lines of JSON out, answers kept in the label store.

    python -m potstill.standby TEACHER '{"kind": "classes", "labels": ["ham", "spam"], "threads": 1}'

TEACHER is a run's folder, whose recipe names it (an adapted one is found where the run left it), or a YAML file with a teacher's section.
The first line out is {"ready": true}. Then {"id", "rows": [{field: text}]} in gives {"id", "scores": [[...] or null]} out, log-probabilities
(of labels log-odds) in the order of the labels, or {"id", "error"}. What was answered before is not asked again.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import yaml

from . import storage
from .errors import PotstillError, UserError
from .lookup import load
from .records import Answered, Example, Head
from .runlog import RunLog


def told(path: Path) -> dict[str, Any]:
    """Return what opens the teacher that ``path`` names: see ``teachers.build:opened``. Raises :class:`UserError`."""
    if path.is_dir():
        return _of_run(path)
    try:
        section = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"the teacher can't be read: {error}", place=str(path), remedy="name a run's folder, or a YAML file") from error
    section = section.get("teacher", section) if isinstance(section, dict) else section
    if not isinstance(section, dict):
        raise UserError("this file holds no teacher", place=str(path), remedy="write what stands under `teacher:` in a recipe")
    if section.get("adapt"):
        raise UserError("this teacher is adapted first", place=str(path), remedy="name the run's folder, where the adapted one is known")
    return _opened(section, path.parent)


def _opened(section: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a section as ``teachers.build:opened`` reads it, its paths taken from ``folder``, an ensemble's members beside it."""
    whole = {
        key: str((folder / value).resolve()) if isinstance(value, str) and value and (folder / value).exists() else value for key, value in section.items()
    }
    if whole.get("kind") == "callable":
        whole.setdefault("folder", str(folder.resolve()))
    members = [_opened(member, folder) for member in section.get("members") or () if isinstance(member, dict)]
    if members:
        whole["members"] = [member["teacher"] for member in members]
    return {"teacher": whole, "members": members}


def _of_run(run: Path) -> dict[str, Any]:
    """Return a run's teacher as it labelled: adapted, in the precision that was chosen. Raises :class:`UserError` where its stages are not
    found: a server's start is no time to train a teacher."""

    def refuse(record: dict[str, Any]) -> None:
        if record["event"] == "stage.start":
            remedy = "run it again here: `potstill run` makes what is missing"
            raise UserError(f"what the run made for its teacher is not on this machine ({record['title']})", place=str(run), remedy=remedy)

    recipe = load("potstill.recipe.load:load")(run / "recipe.yaml")
    with load("potstill.workspace:open_workspace")(recipe, run, RunLog(listeners=[refuse]), offline=True, fresh=False) as work:
        teaching = load("potstill.steps.teach:adapt")(work, load("potstill.steps.data:prepare")(work))
        shift = teaching.shift
        found: dict[str, Any] = teaching.ready.told() | {"shift": None if shift is None else shift.tolist()}
    return found


class Asked:
    """A teacher that is asked through the label store, where it can be kept here; else straight."""

    def __init__(self, path: Path, head: Head, threads: int) -> None:
        self.head, self.log = head, RunLog()
        kept = importlib.util.find_spec("pyarrow") is not None
        self.store = load("potstill.labels.store:LabelStore")(storage.home() / "labels", log=self.log) if kept else None
        known = told(path)
        self.shift = None if known.get("shift") is None else np.array(known["shift"])
        self.teacher = load("potstill.teachers.build:opened")(known, head, threads=threads, wrap=self._through)

    def _through(self, member: Any) -> Any:
        return member if self.store is None else load("potstill.labels.through:Through")(member, self._account(part=True))

    def _account(self, *, part: bool) -> Any:
        return load("potstill.labels.account:Account")(self.store, self.log, part=part)

    def scores(self, rows: Sequence[dict[str, str]]) -> list[list[float] | None]:
        """Return each row's scores in the order of the head's labels, None where there is no answer."""
        examples = [Example.make(row) for row in rows]
        want = self.head.want
        if self.store is None:
            said = {id: one.arrays[want][0] for id, one in self.teacher.answer(list({e.id: e for e in examples}.values()), [want]) if isinstance(one, Answered)}
        else:
            ask = load("potstill.labels.ask:ask")
            answers = ask(self.teacher, examples, [want], self._account(part=False), batch_size=max(1, len(examples))).shifted(self.shift)
            ids = list(dict.fromkeys(answers.answered(example.id for example in examples)))
            said = dict(zip(ids, answers.array(ids, want))) if ids else {}
        return [None if example.id not in said else [float(score) for score in said[example.id]] for example in examples]


def run(asked: Asked, lines: IO[str], out: IO[str]) -> None:
    """Answer until the lines end."""
    _write(out, {"ready": True})
    for line in lines:
        question = json.loads(line)
        try:
            scores = asked.scores(question["rows"])
            _write(out, {"id": question["id"], "scores": [None if row is None or not np.isfinite(row).all() else row for row in scores]})
        except Exception as error:  # one question that fails must not end the teacher; its words may hold an input, so only its kind is told
            print(f"potstill: the teacher failed: {type(error).__name__}", file=sys.stderr, flush=True)  # noqa: T201 - for people, as every verb's
            _write(out, {"id": question["id"], "error": type(error).__name__})


def _write(out: IO[str], value: Any) -> None:
    out.write(json.dumps(value) + "\n")
    out.flush()


def main(arguments: Sequence[str]) -> int:
    """Open the teacher and answer; what it prints goes to standard error, so that only answers are on standard output."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    path, spec = Path(arguments[0]), json.loads(arguments[1])
    try:
        asked = Asked(path, Head(spec["kind"], tuple(spec["labels"])), spec["threads"])
    except PotstillError as error:
        print(f"potstill: {' '.join(str(error).split())}", file=sys.stderr, flush=True)  # noqa: T201 - for people, as every verb's
        return error.exit_code
    run(asked, sys.stdin, out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
