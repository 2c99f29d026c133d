"""The section ``augment``: rows made from those that are learnt from, for the teacher to label. One model a kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .base import Section, Text, tagged

Share = Annotated[float, Field(gt=0, le=1)]
Copies = Annotated[int, Field(ge=1, le=100)]
Whole = Annotated[int, Field(ge=1)]


class Augmentation(Section):
    """What all kinds have in common. Of a pair of texts each is changed for itself, and both in every copy."""

    rows: Literal["all", "train", "unlabeled"] = "all"  # which rows copies are made of: both, those with gold, the pool
    copies: Copies = 1  # of each row


class Substitution(Augmentation):
    """Words are replaced by one of the ``top_k`` that a model proposes, each as likely as the others."""

    source: Annotated[Text, Field(alias="from")] = "teacher"  # the model, as it is before it is adapted
    top_k: Whole = 15  # Jiao et al. 2020, section 4.1, as are 0.4 of the words
    multi_piece: Literal["leave", "mean"] = "leave"  # words of several tokens: left alone, or known by the mean of their pieces' embeddings


class Masked(Substitution):
    """The likeliest words where a masked language model sees a mask (Jiao et al. 2020, arXiv:1909.10351, algorithm 1)."""

    kind: Literal["masked"] = "masked"
    share: Share = 0.4  # of the words, at least one


class Neighbours(Substitution):
    """The words nearest by cosine in a model's table of input embeddings, which any model has."""

    kind: Literal["neighbours"] = "neighbours"
    share: Share = 0.2  # assumed: less than for masked, because neighbours know nothing of the sentence


class Deletion(Augmentation):
    """One span of words is left out, anywhere in the text."""

    kind: Literal["deletion"] = "deletion"
    share: Share = 0.2  # of the words, at least one; one is always left


AnyAugmentation = tagged(Masked, Neighbours, Deletion)
USES_MODEL: tuple[type[Any], ...] = (Masked, Neighbours)
