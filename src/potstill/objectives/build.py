"""From a recipe's objectives to the terms of one student's loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..records import WANTED, HeadKind, Want
from ..students.protocol import Output
from . import attention, divergences, hard
from . import labels as labels_losses
from .balance import weights
from .divergences import units
from .hidden import Projection, uniform
from .tokens import term as tokens_term

LOGPROBS, LOGODDS = Want("logprobs"), Want("logodds")
# Of (what the student says, the teacher's answers, gold): Output, a mapping of wants, classes; of one that writes Spoken, a target, tokens.
Compute = Callable[[Any, Any, Tensor], tuple[Tensor, Tensor]]
Count = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Term:
    """One term of the loss: ``compute`` gives (sum, count) over a batch; ``module`` holds what is learnt beside the student.

    ``count`` gives the same count from the data alone: a step that is cut into micro-batches divides each by the whole step's.
    ``finite``: it can't be had from a teacher that gives a class the probability 0.
    """

    name: str
    weight: float
    needs: frozenset[Want]
    compute: Compute
    count: Count
    module: nn.Module = field(default_factory=nn.Module)
    finite: bool = False
    attends: frozenset[int] = frozenset()  # the student's layers whose queries, keys and values it reads

    def __call__(self, output: Any, answers: Any, gold: Tensor) -> tuple[Tensor, Tensor]:
        """Return (sum, count) over the units of a batch; ``answers`` hold (units, width) arrays, ``gold`` (units,) with -1 for none."""
        return self.compute(output, answers, gold)

    @property
    def hidden(self) -> bool:
        """Whether the student must be asked for its hidden states."""
        return any(want.kind == "hidden" for want in self.needs)

    @property
    def gold(self) -> bool:
        """Whether it learns from gold labels alone."""
        return not self.needs


@dataclass(frozen=True)
class Shape:
    """What terms must know of student and teacher. ``classes`` 0: none are taught; ``layers`` 0: there are no hidden states; ``heads`` 0:
    queries, keys and values can't be had. ``labels`` and ``gold``, that of the rows to learn from, are for terms that weigh rows by
    their gold."""

    classes: int
    student_layers: int
    student_width: int
    teacher_layers: int
    teacher_width: int
    seed: int
    student_heads: int = 0
    teacher_heads: int = 0
    kind: HeadKind = "classes"
    labels: Sequence[str] = ()
    gold: np.ndarray | None = None

    @property
    def want(self) -> Want:
        return WANTED[self.kind]

    @property
    def attends(self) -> bool:
        return bool(self.student_layers and self.teacher_layers and self.student_heads and self.teacher_heads)


def build(
    specs: Sequence[Mapping[str, Any]], *, head_width: int, student_layers: int, student_width: int, teacher_layers: int,
    teacher_width: int, seed: int, student_heads: int = 0, teacher_heads: int = 0, head_kind: HeadKind = "classes", labels: Sequence[str] = (),
    gold: np.ndarray | None = None,
) -> tuple[list[Term], list[str]]:  # fmt: skip
    """Return the terms that this student can use, and the names of those that it can't.

    ``specs``: the recipe's objectives as plain mappings. A name that comes twice is numbered from the second on. ``head_width`` 0: there
    are no classes to teach. ``gold``: that of the rows to learn from, None where only the needs are asked for. Raises :class:`UserError`
    where the terms left teach the student no classes, where a layer map names layers that are not there, or where widths can't be cut
    into as many relation heads as asked for.
    """
    shape = Shape(head_width, student_layers, student_width, teacher_layers, teacher_width, seed, student_heads, teacher_heads, head_kind, labels, gold)
    terms: list[Term] = []
    left_out: list[str] = []
    for place, spec in enumerate(specs):
        seen = sum(earlier["kind"] == spec["kind"] for earlier in specs[:place])
        name = f"{spec['kind']}.{seen + 1}" if seen else str(spec["kind"])
        fits = (spec["kind"] == "tokens") == (head_kind == "tokens")
        term = KINDS[spec["kind"]](spec, shape) if fits else None
        if term is None:
            left_out.append(name)
        else:
            terms.append(replace(term, name=name))
    if not terms or (head_width and not any(term.gold or shape.want in term.needs for term in terms)):
        why = f"can use none of its objectives: {', '.join(left_out)}" if not terms else "would never be taught its classes"
        remedy = "add an objective that teaches them: {kind: logits}, or {kind: hard} for gold labels"
        remedy = "take {kind: tokens}" if head_kind == "tokens" else remedy
        raise UserError(f"the student {why}", place="objectives", remedy=remedy)
    return terms, left_out


def _logits(spec: Mapping[str, Any], shape: Shape) -> Term:
    temperature, want = spec.get("kd_temperature", 2.0), shape.want
    of = {"classes": divergences, "labels": labels_losses}[shape.kind]
    losses: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
        "kl": lambda student, teacher: of.kl(student, teacher, kd_temperature=temperature),
        "mse": of.mse,
    }
    name = spec.get("loss", "kl")

    def compute(output: Output, answers: Mapping[Want, Tensor], gold: Tensor) -> tuple[Tensor, Tensor]:
        given, own = answers[want].shape, output.logits.shape
        if given != own or own[-1] != shape.classes:
            raise UserError(
                f"the teacher's log-probabilities are {tuple(given)} (units, classes), the student's logits {tuple(own)}",
                place="objectives logits", remedy=f"both must have the same units, and the task's {shape.classes} classes",
            )  # fmt: skip
        return losses[name](output.logits, answers[want])

    return Term(
        "logits",
        spec["weight"],
        frozenset({want}),
        compute,
        lambda answers, gold: units(answers[want]),
        finite=name == "mse",
    )


def _hard(spec: Mapping[str, Any], shape: Shape) -> Term:
    of = {"classes": hard, "labels": labels_losses}[shape.kind]
    made = None if shape.gold is None else weights(spec.get("class_weights", "none"), shape.gold, shape.labels)
    weight = None if made is None else torch.from_numpy(made)
    return Term(
        "hard",
        spec["weight"],
        frozenset(),
        lambda output, answers, gold: of.cross_entropy(output.logits, gold, None if weight is None else weight.to(gold.device)),
        lambda answers, gold: of.labeled(gold),
    )


def _hidden(spec: Mapping[str, Any], shape: Shape) -> Term | None:
    if not shape.student_layers or not shape.teacher_layers:
        return None
    pairs = _pairs(spec, shape, uniform(shape.student_layers, shape.teacher_layers))
    wants = [Want("hidden", layer=teacher) for teacher, _ in pairs]
    projection = Projection(pairs, shape.student_width, shape.teacher_width, shape.seed)

    def compute(output: Output, answers: Mapping[Want, Tensor], gold: Tensor) -> tuple[Tensor, Tensor]:
        assert output.hidden is not None  # the loop asks for it: Term.hidden
        return projection(output.hidden, [answers[want] for want in wants])

    return Term(spec["kind"], spec["weight"], frozenset(wants), compute, lambda answers, gold: units(answers[wants[0]]), projection)


def _embedding(spec: Mapping[str, Any], shape: Shape) -> Term | None:
    """The embeddings, as they enter the first layer, through a learnt map (Jiao et al. 2020, arXiv:1909.10351, eq. 9)."""
    return _hidden({**spec, "layers": [[0, 0]]}, shape)


def _attention(spec: Mapping[str, Any], shape: Shape) -> Term | None:
    if not shape.attends:
        return None
    pairs = _pairs(spec, shape, uniform(shape.student_layers, shape.teacher_layers)[1:], first=1)
    wants = {teacher: Want("qkv", layer=teacher) for teacher, _ in pairs}

    def compute(output: Output, answers: Mapping[Want, Tensor], gold: Tensor) -> tuple[Tensor, Tensor]:
        assert output.attention is not None  # the learner asks for it: Term.attends
        given = {layer: answers[want] for layer, want in wants.items()}
        return attention.maps(output.attention, pairs, given, student_heads=shape.student_heads, teacher_heads=shape.teacher_heads)

    return Term(
        "attention", spec["weight"], frozenset(wants.values()), compute, lambda answers, gold: units(answers[wants[pairs[0][0]]]),
        attends=frozenset(student for _, student in pairs),
    )  # fmt: skip


def _relations(spec: Mapping[str, Any], shape: Shape) -> Term | None:
    if not shape.attends:
        return None
    layer = spec.get("layer") or attention.usual_layer(shape.teacher_layers)
    if layer > shape.teacher_layers:
        remedy = f"the teacher has layers 1 to {shape.teacher_layers}"
        raise UserError(f"there is no layer {layer} to take relations from", place="objectives relations.layer", remedy=remedy)
    heads = spec.get("heads") or attention.relation_heads(shape.student_width, shape.teacher_width, shape.teacher_heads)
    if shape.student_width % heads or shape.teacher_width % heads:
        common = math.gcd(shape.student_width, shape.teacher_width)
        words = f"vectors of {shape.student_width} (student) and {shape.teacher_width} (teacher) can't both be cut into {heads} relation heads"
        remedy = f"take a divisor of {common}, the greatest number that divides both, or leave it out"
        raise UserError(words, place="objectives relations.heads", remedy=remedy)
    want = Want("qkv", layer=layer)

    def compute(output: Output, answers: Mapping[Want, Tensor], gold: Tensor) -> tuple[Tensor, Tensor]:
        assert output.attention is not None  # the learner asks for it: Term.attends
        return attention.relations(output.attention, shape.student_layers, answers[want], heads)

    return Term("relations", spec["weight"], frozenset({want}), compute, lambda answers, gold: units(answers[want]), attends=frozenset({shape.student_layers}))


def _tokens(spec: Mapping[str, Any], shape: Shape) -> Term:
    """Weigh its two parts itself: they come from one pass."""
    needs = frozenset({shape.want}) if spec.get("weight", 1.0) else frozenset()
    return Term("tokens", 1.0, needs, tokens_term.compute(spec), tokens_term.count)


def _pairs(spec: Mapping[str, Any], shape: Shape, usual: list[tuple[int, int]], first: int = 0) -> list[tuple[int, int]]:
    """Return the (teacher's layer, student's layer) pairs that are asked for. Raises :class:`UserError` for a layer that is not there."""
    given = spec.get("layers", "uniform")
    pairs = usual if given == "uniform" else [(t, s) for t, s in given]
    for teacher, student in pairs:
        if not first <= teacher <= shape.teacher_layers or not first <= student <= shape.student_layers:
            what = "embeddings" if not first else "embeddings, which attend to nothing"
            raise UserError(
                f"the layer map [{teacher}, {student}] names a layer that is not there", place=f"objectives {spec['kind']}.layers",
                remedy=f"the teacher has layers {first} to {shape.teacher_layers}, the student {first} to {shape.student_layers}; 0 is the {what}",
            )  # fmt: skip
    return pairs


KINDS: Mapping[str, Callable[[Mapping[str, Any], Shape], Term | None]] = {
    "logits": _logits, "hard": _hard, "hidden": _hidden, "embedding": _embedding, "attention": _attention, "relations": _relations, "tokens": _tokens,
}  # fmt: skip
