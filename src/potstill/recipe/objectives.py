"""The section ``objectives``: the terms of the training loss. One model a kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from .base import Section, one, tagged

Weight = Annotated[float, Field(gt=0)]


def _layers(value: object) -> object:
    if value == "uniform":
        return value
    pairs = value if isinstance(value, list) else []
    if not pairs or not all(isinstance(p, list) and len(p) == 2 and all(type(n) is int and n >= 0 for n in p) for p in pairs):
        one(
            f"{value!r} is no map of layers",
            "write `uniform`, or pairs of teacher's and student's layer: [[2, 1], [6, 3]]; 0 is the embeddings",
        )
    return value


class Logits(Section):
    """Match the teacher's log-probabilities, softened by ``kd_temperature`` (Hinton et al. 2015, arXiv:1503.02531)."""

    kind: Literal["logits"] = "logits"
    weight: Weight = 1.0
    kd_temperature: Annotated[float, Field(gt=0)] = 2.0
    loss: Literal["kl", "mse"] = "kl"


class Hidden(Section):
    """Match the teacher's hidden states through a learnt projection (Jiao et al. 2020, arXiv:1909.10351, eq. 8)."""

    kind: Literal["hidden"] = "hidden"
    weight: Weight = 1.0
    layers: Annotated[Literal["uniform"] | list[list[int]], BeforeValidator(_layers)] = "uniform"


class Hard(Section):
    """Cross-entropy on the gold labels, where a row has one."""

    kind: Literal["hard"] = "hard"
    weight: Weight = 1.0


Objective = tagged(Logits, Hidden, Hard)
# Gold labels beside the teacher's answers: on ICD-10-CM chapters 0.8 and 2.1 points better than answers alone (docs/log.md). Each term
# is a mean over the rows that have it, so rows without gold take nothing from it.
DEFAULT = (Logits(), Hard())
