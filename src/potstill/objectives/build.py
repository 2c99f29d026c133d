"""From a recipe's objectives to the terms of one student's loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..records import Want
from ..students.protocol import Output
from .divergences import kl, mse
from .hard import IGNORED, cross_entropy
from .hidden import Projection, uniform

LOGPROBS = Want("logprobs")
Compute = Callable[[Output, Mapping[Want, Tensor], Tensor], tuple[Tensor, Tensor]]
Count = Callable[[Mapping[Want, Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class Term:
    """One term of the loss: ``compute`` gives (sum, count) over a batch; ``module`` holds what is learnt beside the student.

    ``count`` gives the same count from the data alone: a step that is cut into micro-batches divides each by the whole step's.
    """

    name: str
    weight: float
    needs: frozenset[Want]
    compute: Compute
    count: Count
    module: nn.Module = field(default_factory=nn.Module)

    def __call__(self, output: Output, answers: Mapping[Want, Tensor], gold: Tensor) -> tuple[Tensor, Tensor]:
        """Return (sum, count) over the units of a batch; ``answers`` hold (units, width) arrays, ``gold`` (units,) with -1 for none."""
        return self.compute(output, answers, gold)

    @property
    def hidden(self) -> bool:
        """Whether the student must be asked for its hidden states."""
        return any(want.kind == "hidden" for want in self.needs)


@dataclass(frozen=True)
class Shape:
    """What terms must know of student and teacher. ``layers`` 0: there are no hidden states."""

    student_layers: int
    student_width: int
    teacher_layers: int
    teacher_width: int
    seed: int


def build(
    specs: Sequence[Mapping[str, Any]], *, head_width: int, student_layers: int, student_width: int, teacher_layers: int,
    teacher_width: int, seed: int,
) -> tuple[list[Term], list[str]]:  # fmt: skip
    """Return the terms that this student can use, and the names of those that it can't.

    Raises :class:`UserError` where it can use none, or where a layer map names layers that are not there.
    """
    shape = Shape(student_layers, student_width, teacher_layers, teacher_width, seed)
    built = [(spec["kind"], KINDS[spec["kind"]](spec, shape)) for spec in specs]
    terms = [term for _, term in built if term is not None]
    left_out = [name for name, term in built if term is None]
    if not terms:
        raise UserError(f"the student can use none of its objectives: {', '.join(left_out)}", remedy="add one that it can use: {kind: logits}")
    return terms, left_out


def _logits(spec: Mapping[str, Any], shape: Shape) -> Term:
    temperature = spec.get("kd_temperature", 2.0)
    losses: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
        "kl": lambda student, teacher: kl(student, teacher, kd_temperature=temperature),
        "mse": mse,
    }
    loss = losses[spec.get("loss", "kl")]
    return Term(
        "logits",
        spec["weight"],
        frozenset({LOGPROBS}),
        lambda output, answers, gold: loss(output.logits, answers[LOGPROBS]),
        lambda answers, gold: _rows(answers[LOGPROBS]),
    )


def _hard(spec: Mapping[str, Any], shape: Shape) -> Term:
    return Term(
        "hard",
        spec["weight"],
        frozenset(),
        lambda output, answers, gold: cross_entropy(output.logits, gold),
        lambda answers, gold: (gold != IGNORED).sum().float(),
    )


def _hidden(spec: Mapping[str, Any], shape: Shape) -> Term | None:
    if not shape.student_layers or not shape.teacher_layers:
        return None
    given = spec.get("layers", "uniform")
    pairs = uniform(shape.student_layers, shape.teacher_layers) if given == "uniform" else [(t, s) for t, s in given]
    for teacher, student in pairs:
        if teacher > shape.teacher_layers or student > shape.student_layers:
            raise UserError(
                f"the layer map [{teacher}, {student}] names a layer that is not there", place="objectives hidden.layers",
                remedy=f"the teacher has layers 0 to {shape.teacher_layers}, the student 0 to {shape.student_layers}; 0 is the embeddings",
            )  # fmt: skip
    wants = [Want("hidden", layer=teacher) for teacher, _ in pairs]
    projection = Projection(pairs, shape.student_width, shape.teacher_width, shape.seed)

    def compute(output: Output, answers: Mapping[Want, Tensor], gold: Tensor) -> tuple[Tensor, Tensor]:
        assert output.hidden is not None  # the loop asks for it: Term.hidden
        return projection(output.hidden, [answers[want] for want in wants])

    return Term("hidden", spec["weight"], frozenset(wants), compute, lambda answers, gold: _rows(answers[wants[0]]), projection)


def _rows(array: Tensor) -> Tensor:
    return torch.tensor(float(array.shape[0]), device=array.device)


KINDS: Mapping[str, Callable[[Mapping[str, Any], Shape], Term | None]] = {"logits": _logits, "hard": _hard, "hidden": _hidden}
