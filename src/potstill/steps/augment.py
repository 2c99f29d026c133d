"""Step 4: copies of the rows to learn from, changed, for the teacher to label beside them; none unless the recipe says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import storage
from ..lookup import load
from ..records import Example
from ..workspace import Workspace
from .data import Data
from .label import Lesson, first
from .teach import Teaching

FILE = "augmented.jsonl"
MAKE = "potstill.dataset.augment.make"


@dataclass(frozen=True)
class Augmented:
    """The rows that were made and kept, without gold; and what became of all that were made."""

    rows: tuple[Example, ...] = ()
    counts: Mapping[str, Any] | None = None


def augment(work: Workspace, data: Data, teaching: Teaching) -> Augmented:
    """Make rows from those of the first round; ``augmented.jsonl`` of the run folder shows every one, and why it was left out.

    Of several rounds all get these and no more: what a later round chooses from the pool is chosen as it is.
    """
    specs, shown = work.recipe.augment, work.folder / FILE
    if not specs:
        shown.unlink(missing_ok=True)  # what an earlier recipe left in this folder
        return Augmented()
    lesson, seed, near = first(work, data), work.recipe.seeds[0], work.recipe.data.near_duplicates
    folders = {spec.kind: _folder(teaching, spec) for spec in specs}

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("augment", "making rows for the teacher to label"):
            kinds = [load(f"{MAKE}:kind")(spec, _rows(spec, lesson), folders[spec.kind], work.threads) for spec in specs]
            counts = load(f"{MAKE}:make")(
                kinds, folder, scratch, data=data.stage.folder, taken=(*data.train, *data.unlabeled), task=work.task, threshold=near, seed=seed,
                progress=work.progress("augment"),
            )  # fmt: skip
            storage.write_json(folder / "result.json", counts)
            work.log.event("augmented", compared_with=["test", "validation", "calibration"], **counts)

    inputs = {
        "kinds": [spec.model_dump(mode="json", exclude={"source"}) for spec in specs], "data": data.stage.fingerprint, "near": near, "seed": seed,
        "models": {kind: storage.sha256_folder(folder) for kind, folder in folders.items() if folder is not None},
        "rows": [row.id for row in lesson.rows],
    }  # fmt: skip
    stage = work.cache.get("augment", inputs, make)
    counts = stage.read()
    storage.write_bytes(shown, (stage.folder / FILE).read_bytes(), point="augmented")
    work.log.say(said(counts))
    return Augmented(load(f"{MAKE}:load")(stage.folder), counts)


def _folder(teaching: Teaching, spec: Any) -> Path | None:
    """Return the model that a substitution takes its words from: the teacher's as given, because adapting takes a masked-LM head away."""
    source = getattr(spec, "source", None)
    return None if source is None else teaching.source if source == "teacher" else load("potstill.teachers.gguf:usable")(Path(source))


def _rows(spec: Any, lesson: Lesson) -> tuple[Example, ...]:
    return {"all": lesson.rows, "train": lesson.gold, "unlabeled": lesson.labeled}[spec.rows]


def said(counts: Mapping[str, Any]) -> str:
    """Return the counts as a line for people."""
    total, kinds = counts["total"], ", ".join(f"{name} {kind['kept']:,}" for name, kind in counts["kinds"].items())
    return (
        f"augmentation made {total['made']:,} texts and kept {total['kept']:,} for the teacher to label ({kinds}): {total['duplicate']:,} were there already, "
        f"{total['leaked']:,} stood, word for word or nearly, among the rows that judge; {total['unchanged']:,} more had nothing in them to change"
    )
