"""The section ``objectives``: the terms of the training loss. One model a kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from .base import Section, Text, one, tagged

Weight = Annotated[float, Field(gt=0)]


def _pairs(value: object, first: int, note: str) -> object:
    if value == "uniform":
        return value
    pairs = value if isinstance(value, list) else []
    if not pairs or not all(isinstance(p, list) and len(p) == 2 and all(type(n) is int and n >= first for n in p) for p in pairs):
        one(f"{value!r} is no map of layers", f"write `uniform`, or pairs of teacher's and student's layer: [[2, 1], [6, 3]]; {note}")
    return value


def _layers(value: object) -> object:
    return _pairs(value, 0, "0 is the embeddings")


def _attending(value: object) -> object:
    return _pairs(value, 1, "they count from 1, for the embeddings attend to nothing")


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


class Embedding(Section):
    """Match the teacher's embeddings, as they enter its first layer, through a learnt projection (Jiao et al. 2020, eq. 9)."""

    kind: Literal["embedding"] = "embedding"
    weight: Weight = 1.0


class Attention(Section):
    """Match what the teacher's tokens attend to: the scores of its queries and keys (Jiao et al. 2020, eq. 7)."""

    kind: Literal["attention"] = "attention"
    weight: Weight = 1.0
    layers: Annotated[Literal["uniform"] | list[list[int]], BeforeValidator(_attending)] = "uniform"


class Relations(Section):
    """Match how the teacher's queries, keys and values of one layer relate among themselves, with the student's last layer; widths and
    heads may differ (Wang et al. 2021, arXiv:2012.15828)."""

    kind: Literal["relations"] = "relations"
    weight: Weight = 1.0
    layer: Annotated[int, Field(ge=1)] | None = None  # the teacher's, from 1; null: the last, of more than 12 one seven eighths up
    heads: Annotated[int, Field(ge=1)] | None = None  # relation heads; null: the most that divide both widths, up to the teacher's heads


class Hard(Section):
    """Cross-entropy on the gold labels, where a row has some; the control learns by it too.

    ``class_weights``: `balanced` makes every class weigh the same in all (each label's yes and no, where any number of labels apply);
    {label: weight} weighs those rows so, others 1. The rows' mean weight is 1 whatever is given.
    """

    kind: Literal["hard"] = "hard"
    weight: Weight = 1.0
    class_weights: Annotated[Literal["none", "balanced"] | dict[Text, Weight], Field(exclude_if=lambda value: value == "none")] = "none"


Divergence = Literal["forward_kl", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl", "total_variation"]


class Tokens(Section):
    """Match the teacher's distribution at each token that is learnt, and the token that stands there; for students that write.

    ``weight`` of the teacher's, by ``divergence``; ``hard`` of the token. Of both are the means over tokens. The teacher's alone where the
    recipe says nothing, as in Sreenivas et al. 2024 (arXiv:2408.11796); the control learns by the tokens alone.
    """

    kind: Literal["tokens"] = "tokens"
    weight: Annotated[float, Field(ge=0)] = 1.0
    hard: Annotated[float, Field(ge=0)] = 0.0
    divergence: Divergence = "forward_kl"
    beta: Annotated[float, Field(ge=0, le=1)] | None = None  # of jsd: 0 forward KL, 1 reverse KL; null: 0.5
    alpha: Annotated[float, Field(ge=0, lt=1)] | None = None  # of skew_kl and skew_reverse_kl; null: 0.1
    kd_temperature: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _fits(self) -> Tokens:
        if not self.weight and not self.hard:
            one("weight and hard are both 0: nothing would be learnt", "give one of them a weight")
        for name, users in (("beta", ("jsd",)), ("alpha", ("skew_kl", "skew_reverse_kl"))):
            if getattr(self, name) is not None and self.divergence not in users:
                one(f"'{name}' is no part of {self.divergence}", f"it is of {' and '.join(users)}: leave it out")
        return self


Objective = tagged(Logits, Hidden, Embedding, Attention, Relations, Hard, Tokens)
Inner = tagged(Hidden, Embedding, Attention, Relations)  # those that look inside the teacher, and need no labels
INNER: tuple[type[Section], ...] = (Hidden, Embedding, Attention, Relations)
# Gold labels beside the teacher's answers: on ICD-10-CM chapters 0.8 and 2.1 points better than answers alone (docs/log.md). Each term
# is a mean over the rows that have it, so rows without gold take nothing from it.
DEFAULT = (Logits(), Hard())
DEFAULT_OF_TOKENS = (Tokens(),)  # where text is written
