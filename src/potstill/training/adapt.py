"""An encoder, or a language model, becomes a teacher for the task: all of it is trained on the gold rows, or a head over its frozen features.

The shared loop does it: the model is wrapped as a student of all its layers, whose one objective is the hard label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..contracts import Progress, Task, silent
from ..errors import DataError
from ..evaluation.statistics import Score, score
from ..objectives.build import build as build_terms
from ..records import Example, Field, Head, Split, group_numbers
from ..runlog import RunLog
from ..students.architectures import architecture, learning_rate
from ..students.protocol import LoopStudent, Output
from ..students.transformer import Top, TransformerStudent, cut
from . import loop
from .records import LoopSpec, TrainingRows

if TYPE_CHECKING:
    from ..serving.preprocess import Item, Preprocess


def adapt(
    spec: Any, train: Split, validation: Split, head: Head, *, task: Task, source: Path, fields: Sequence[str], folder: Path, scratch: Path,
    seed: int, threads: int | None, progress: Progress = silent, log: RunLog | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write to ``folder`` a sequence classifier of ``transformers`` made from the model in ``source``; return what happened, as JSON.

    ``spec`` is the recipe's teacher; its ``adapt`` says how. The weights kept are those of the last epoch that the task's
    main metric can't tell from the best on ``validation``. Interrupted, it goes on from the last epoch, from ``scratch``. Raises
    :class:`DataError` where no row has gold, and :class:`UserError` for a model that can't be used.
    """
    rows, judged = _gold(train), _gold(validation)
    whole = cut(source, head, layers=None, fields=fields, seed=seed, max_length=spec.max_length, rows=rows)
    with _threads(threads):
        student = HOW[spec.adapt.how].student(whole)
        items = student.preprocess.encode([row.fields for row in rows])
        held = student.preprocess.encode([row.fields for row in judged])
    plan = _plan(spec, len(rows), whole, seed, threads)
    terms, _ = build_terms(
        [{"kind": "hard", "weight": 1.0}], head_width=head.width, student_layers=0, student_width=0, teacher_layers=0,
        teacher_width=0, seed=seed, head_kind=head.kind,
    )  # fmt: skip
    metric = next(iter(task.metrics(head).values()))
    gold, groups = task.encode(judged, head), group_numbers(judged)

    def evaluate(trained: LoopStudent) -> Score:
        scores = loop.predict(trained, held)
        return score(metric, gold, scores - task.thresholds(gold, scores, metric), groups)

    history = loop.train(
        student, TrainingRows(items, task.encode(rows, head)), terms=terms, spec=plan, scratch=scratch, progress=progress, log=log,
        evaluate=evaluate,
    )  # fmt: skip
    whole.save_model(folder)
    return {
        "how": spec.adapt.how, "rows": len(rows), "validation_rows": len(judged), "metric": metric.name,
        "learning_rate": plan.learning_rate, "parameters": whole.parameters, "trained_parameters": student.parameters,
        "history": history.as_json(),
    }  # fmt: skip


def _gold(split: Split) -> list[Example]:
    rows = [example for example in split if example.gold is not None]
    if not rows:
        words = f"no {split.name} row has a gold label, and adapting the teacher needs them"
        raise DataError(words, place=f"data.{split.name}", remedy="label some, or leave out `teacher.adapt`")
    return rows


def _plan(spec: Any, rows: int, whole: TransformerStudent, seed: int, threads: int | None) -> LoopSpec:
    options, how = spec.adapt, HOW[spec.adapt.how]
    return LoopSpec(
        steps=options.epochs * how.passes * math.ceil(rows / options.batch_size), batch_size=options.batch_size,
        learning_rate=options.learning_rate or how.learning_rate(whole), evaluations=options.epochs, patience=options.epochs,
        precision=spec.precision, seed=seed, threads=threads,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------ frozen features
@dataclass(frozen=True)
class Features:
    """Preprocessing that ends in the frozen body's answer: the last state of the token that its head reads, *Shape:* (width,) float32 a row."""

    whole: TransformerStudent
    inputs: tuple[str, ...] = ("features",)

    @torch.inference_mode()
    def encode(self, rows: Sequence[Mapping[str, Field]]) -> list[Item]:
        """Return each row's features; rows of like length share a batch."""
        items = self.whole.preprocess.encode(rows)
        order = np.argsort([self.whole.preprocess.length(item) for item in items], kind="stable")
        found = np.empty((len(items), self.whole.width), np.float32)
        self.whole.module.eval()
        for start in range(0, len(order), 64):
            batch = order[start : start + 64]
            arrays = self.whole.preprocess.collate([items[i] for i in batch])
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            states = self.whole.module.base_model(**tensors).last_hidden_state
            found[batch] = states[torch.arange(len(batch)), self._read(tensors)].numpy()
        return [{"features": row} for row in found]

    def _read(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the place of the token that the head reads, *Shape:* (rows,): a decoder's is the last that is no padding."""
        last = tensors["attention_mask"].sum(1) - 1
        return last.clamp(min=0) if _decodes(self.whole) else torch.zeros_like(last)

    def collate(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        return {"features": np.stack([item["features"] for item in items])}

    def length(self, item: Item) -> int:
        return 1


@dataclass
class FrozenBody:
    """A student that learns only what stands above its layers; the rest is ``whole``'s, and what it learns is there at once."""

    whole: TransformerStudent
    kind: str = "transformer"
    learns: Literal["loop"] = "loop"
    hidden_layers: int = 0
    width: int = 0
    module: nn.Module = field(init=False)
    preprocess: Preprocess = field(init=False)

    def __post_init__(self) -> None:
        self.head = self.whole.head
        self.module = Top(self.whole.module)
        self.preprocess = Features(self.whole)
        self.parameters = sum(p.numel() for p in self.module.parameters())

    def forward(self, batch: dict[str, Tensor], hidden: bool = False) -> Output:
        return Output(self.module(batch["features"]))

    def save(self, folder: Path) -> None:
        self.whole.save(folder)

    def preprocess_spec(self) -> dict[str, Any]:
        return self.whole.preprocess_spec()

    def save_preprocess(self, folder: Path) -> None:
        self.whole.save_preprocess(folder)

    def export_module(self) -> nn.Module:
        return self.whole.export_module()


@dataclass(frozen=True)
class How:
    """A way to adapt: what is trained, how often it sees the rows in an epoch, and at what rate for a model."""

    student: Callable[[TransformerStudent], LoopStudent]
    passes: int
    learning_rate: Callable[[TransformerStudent], float]


def _rate(whole: TransformerStudent) -> float:
    """Return the rate of fine-tuning: a decoder's is a third of an encoder's of the same width, for it is deeper (30 layers, not 6).

    Measured on 640 rows of SST-2, SmolLM2-135M in bf16, 250 validation rows (standard error 2.8 points): at 3e-5, the third, accuracy
    0.628 after one epoch and 0.732 after two; at 9e-5 0.528 and 0.724, the first epoch's loss above chance.
    """
    return learning_rate(whole.width) / (3 if _decodes(whole) else 1)


def _head_rate(whole: TransformerStudent) -> float:
    """Return the rate of a head over frozen features. A decoder's is one linear map without a pooler, which takes larger steps.

    Measured on 512 rows of SST-2, SmolLM2-135M, 12 passes, accuracy on 256 validation rows: 5e-4 0.629, 2e-3 0.695, 5e-3 0.715, 2e-2 0.719;
    the best of scikit-learn's logistic regressions 0.738.
    """
    return 5e-3 if _decodes(whole) else 5e-4


def _decodes(whole: TransformerStudent) -> bool:
    return architecture(whole.module.config.model_type).decoder


HOW: Mapping[str, How] = {
    "finetune": How(lambda whole: whole, 1, _rate),
    # Features are computed once, so passes are cheap. Measured on 2,542 ICD-10-CM texts, 3 epochs, validation accuracy: 0.652;
    # at 1e-3 0.636; with 20 passes 0.602, all of them learnt by heart.
    "head": How(FrozenBody, 4, _head_rate),
}


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
