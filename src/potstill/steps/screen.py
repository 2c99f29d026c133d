"""Part of step 1: which rows talk to a language model, and how much in them would be replaced before they are sent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import storage
from ..cache import Stage
from ..errors import DataError
from ..lookup import load
from ..records import Example, Split
from ..redact import Redactor
from ..workspace import Workspace

if TYPE_CHECKING:
    from .data import Data

FILE = "instructions.jsonl"
REASON = "talks to a language model"
SPLITS = ("train", "unlabeled", "validation", "calibration")
LEARNT = ("train", "unlabeled")  # of these rows are left out; those that judge stay as they come
EXAMPLES = 5  # on the page


def screen(work: Workspace, data: Data) -> Data:
    """Return the data with what was found in its rows; where the recipe says ``instructions: drop``, without the rows to learn from that are flagged.

    No-op with ``ignore``. Rows that judge are never left out: such rows come where a student is served, too.
    """
    mode = work.recipe.looks_for_instructions
    if mode == "ignore":
        return data
    stage = _looked(work, data)
    lines = stage.read()
    _write(work, lines)
    gone = {(line["split"], line["id"]) for line in lines if mode == "drop" and line["split"] in LEARNT}
    if lines:
        left = f"; {len(gone):,} of them are left out" if mode == "drop" else ""
        work.log.warn(f"{len(lines):,} rows talk to a language model, or seem to{left} ({FILE} lists them)")
    return _without(data, stage, gone) if gone else data


def _looked(work: Workspace, data: Data) -> Stage:
    """Return the stage whose result lists the flagged rows, those of test apart: they are sealed."""

    def make(folder: Path, scratch: Path) -> None:
        storage.write_json(folder / "result.json", [line for name in SPLITS for line in _flagged(work, name, getattr(data, name))])

    inputs = {"version": load("potstill.instructions:VERSION"), **{name: getattr(data, name).digest for name in SPLITS}}
    return work.cache.get("instructions", inputs, make)


def _flagged(work: Workspace, split: str, rows: Iterable[Example]) -> Iterable[dict[str, Any]]:
    signs, hide = load("potstill.instructions:signs"), Redactor(None)
    for row in rows:
        if found := signs(work.task.text(row)):
            yield {"id": row.id, "place": row.place, "split": split, "signs": [{"rule": sign.rule, "found": hide(sign.found)} for sign in found]}


def _without(data: Data, stage: Stage, gone: set[tuple[str, str]]) -> Data:
    """Return the data without the rows that are ``gone``: the card counts them among the dropped, under their reason."""
    kept = {name: tuple(row for row in getattr(data, name) if (name, row.id) not in gone) for name in LEARNT}
    if not any(kept.values()):
        raise DataError("there are no rows to learn from", place="instructions: drop", remedy=f"look at {FILE}; instructions: report keeps them")
    counts = Counter(label for row in kept["train"] for label in row.labels)
    by_label = data.card["by_label"]
    told = {"train": {label: counts.get(label, 0) for label in data.card["labels"]}} if "train" in by_label else {}
    card = {
        **data.card, "counts": {**data.card["counts"], **{name: len(rows) for name, rows in kept.items()}},
        "dropped": {**data.card["dropped"], REASON: len(gone)}, "by_label": {**by_label, **told},
    }  # fmt: skip
    known = replace(data.stage, fingerprint=storage.digest(data.stage.fingerprint, "without instructions", stage.fingerprint))
    return replace(data, stage=known, card=card, train=Split("train", kept["train"]), unlabeled=Split("unlabeled", kept["unlabeled"]))


def _write(work: Workspace, lines: Sequence[dict[str, Any]]) -> None:
    storage.write_text(work.folder / FILE, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def hiding(work: Workspace) -> Redactor | None:
    """Return what replaces without a key, for what is shown or shipped; None where the recipe replaces nothing."""
    privacy = getattr(work.recipe.teacher, "privacy", None)
    return None if privacy is None else privacy.redactor(None)


# ------------------------------------------------------------------------------------------------------------ the report
def instructions(work: Workspace, data: Data, test: Sequence[Example] = ()) -> dict[str, Any] | None:
    """Return what was found, the ``test`` rows too once they are open; None where nobody looked. A row that was left out is still counted here."""
    mode = work.recipe.looks_for_instructions
    if mode == "ignore":
        return None
    lines = [*_lines(work), *_flagged(work, "test", test)]
    _write(work, lines)
    dropped = data.card["dropped"].get(REASON, 0)
    looked = sum(len(getattr(data, name)) for name in SPLITS) + dropped + len(test)
    shown = [{"place": line["place"], "split": line["split"], **line["signs"][0]} for line in lines[:EXAMPLES]]
    return {
        "mode": mode, "rows": looked, "flagged": len(lines), "dropped": dropped, "by_split": dict(Counter(line["split"] for line in lines)),
        "by_rule": dict(Counter(sign["rule"] for line in lines for sign in line["signs"]).most_common()), "examples": shown,
    }  # fmt: skip


def _lines(work: Workspace) -> list[dict[str, Any]]:
    """Return the lines of the file, those of test rows left out: a run that was made before has written them."""
    found = [json.loads(line) for line in (work.folder / FILE).read_text("utf-8").splitlines()]
    return [line for line in found if line["split"] != "test"]


def replaced(work: Workspace, data: Data, test: Sequence[Example] = ()) -> dict[str, Any] | None:
    """Return in how many rows, and how often, each kind of personal data is replaced before they are sent; None where rows are sent as they are."""
    privacy, hidden = getattr(work.recipe.teacher, "privacy", None), hiding(work)
    if privacy is None or hidden is None:
        return None

    def make(folder: Path, scratch: Path) -> None:
        storage.write_json(folder / "result.json", _counts(hidden, [row for name in SPLITS for row in getattr(data, name)]))

    inputs = {"rules": hidden.as_json(), **{name: getattr(data, name).digest for name in SPLITS}}
    parts = [work.cache.get("replaced", inputs, make).read(), _counts(hidden, test)]
    counts = sum((Counter(part["replaced"]) for part in parts), Counter())
    return {
        **{name: sum(part[name] for part in parts) for name in ("rows", "changed")}, "replaced": dict(counts.most_common()), "students": privacy.students,
        "looked_for": list(dict.fromkeys([*privacy.rules, *privacy.replace])),
    }  # fmt: skip


def _counts(redactor: Redactor, rows: Sequence[Example]) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    changed = 0
    for row in rows:
        found = sum((redactor.counted(value)[1] for value in row.fields.values() if isinstance(value, str)), Counter())
        counts += found
        changed += bool(found)
    return {"rows": len(rows), "changed": changed, "replaced": dict(counts)}
