"""What a traffic log holds: told in counts, and written out as the next round's data."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from .. import storage
from ..errors import UserError
from ..lookup import did_you_mean
from .database import connect, used_bytes

COUNTS = """
SELECT alias AS model, count(*) AS rows, total(1 / share) AS standing_for, total((served_by = 'student') / share) AS by_student,
  total((served_by = 'teacher') / share) AS by_teacher, total((flag <> '') / share) AS flagged, sum(fields IS NOT NULL) AS with_inputs,
  total(usd) AS usd, total(infer_ms / share) / total(1 / share) AS infer_ms, min(at) AS first, max(at) AS last
FROM rows GROUP BY alias ORDER BY alias
"""


def stats(path: Path) -> dict[str, Any]:
    """Return what is held: bytes, and of each model rows, how many rows these stand for, who answered, what was paid."""
    with closing(connect(path)) as base:
        base.row_factory = sqlite3.Row
        models = [{**dict(row), "passed_on": row["by_teacher"] / row["standing_for"]} for row in base.execute(COUNTS)]
        return {"file": str(path), "bytes": used_bytes(base), "rows": sum(one["rows"] for one in models), "models": models}


def export(path: Path, output: Path, *, model: str | None = None, pool: bool = False) -> tuple[int, int]:
    """Write rows with the teacher's answers to ``output``, JSONL: the fields, ``label`` (or ``labels``) and ``probabilities``, as a recorded teacher
    reads them. ``pool``: the texts of all rows instead, with no answers, as ``data.unlabeled`` reads them.

    A text that came several times is written once, with its last answer. Return (rows written, rows left out for want of their texts).
    Raises :class:`UserError` for a model that is not there, several models, or different labels under one name.
    """
    with closing(connect(path)) as base:
        base.row_factory = sqlite3.Row
        name = _model(base, path, model)
        wanted = "alias = ?" + ("" if pool else " AND teacher IS NOT NULL")
        found: dict[str, str] = {}
        for text, line in _lines(base, wanted, name, pool):
            found.pop(text, None)
            found[text] = line
        (missing,) = base.execute(f"SELECT count(*) FROM rows WHERE {wanted} AND fields IS NULL", (name,)).fetchone()
    if not found:
        why = f"{missing:,} rows have no texts: serve with --traffic-inputs" if missing else "the teacher answered none that is held; --pool takes all texts"
        raise UserError(f"there is nothing to write of '{name}'", place=str(path), remedy=why)
    storage.write_text(output, "".join(f"{line}\n" for line in found.values()), point="traffic.export")
    return len(found), int(missing)


def _model(base: sqlite3.Connection, path: Path, model: str | None) -> str:
    names = [row["alias"] for row in base.execute("SELECT DISTINCT alias FROM rows ORDER BY alias")]
    if not names:
        raise UserError("no rows are held", place=str(path), remedy="serve with --traffic first")
    if model is None and len(names) > 1:
        raise UserError(f"rows of several models are held: {', '.join(names)}", place=str(path), remedy=f"--model {names[0]}")
    name = model or names[0]
    if name not in names:
        raise UserError(f"no rows of '{name}' are held", place=str(path), remedy=did_you_mean(name, names))
    heads = "SELECT DISTINCT m.kind, m.labels FROM models m WHERE m.digest IN (SELECT DISTINCT digest FROM rows WHERE alias = ?)"
    if len({(row["kind"], tuple(sorted(json.loads(row["labels"])))) for row in base.execute(heads, (name,))}) > 1:
        raise UserError(f"models of different labels were served as '{name}'", place=str(path), remedy="serve the other one under a name of its own")
    return name


def _lines(base: sqlite3.Connection, wanted: str, name: str, pool: bool) -> Iterator[tuple[str, str]]:
    """Yield (the row's texts, its line), the oldest first; a text with half a surrogate pair is left out, for no reader takes it."""
    asked = f"SELECT r.fields, r.told, r.teacher, m.kind FROM rows r JOIN models m USING (digest) WHERE {wanted} AND r.fields IS NOT NULL ORDER BY r.id"
    for row in base.execute(asked, (name,)):
        fields = json.loads(row["fields"])
        if any("\ud800" <= char <= "\udfff" for text in fields.values() for char in text):
            continue
        key = json.dumps(fields, sort_keys=True)
        told = {} if pool else {"labels" if row["kind"] == "labels" else "label": json.loads(row["told"]), "probabilities": json.loads(row["teacher"])}
        yield key, json.dumps({**fields, **told}, ensure_ascii=True)
