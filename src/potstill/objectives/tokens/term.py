"""The term of a loss that a language model learns by: its teacher's distributions, and the tokens that stand there, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .divergences import NAMES, Divergence
from .heads import Head
from .loss import token_loss
from .targets import Target

USUAL: Mapping[str, tuple[str, float]] = {"jsd": ("beta", 0.5), "skew_kl": ("alpha", 0.1), "skew_reverse_kl": ("alpha", 0.1)}


@dataclass(frozen=True)
class Spoken:
    """What a student says at the positions that are learnt: ``states`` *Shape:* (positions, width), and the head that they go into."""

    states: Tensor
    head: Head


def divergence(spec: Mapping[str, Any]) -> Divergence:
    """Return the divergence that an objective names, with its ``beta`` or ``alpha``."""
    name = spec.get("divergence", "forward_kl")
    option, usual = USUAL.get(name, ("", 0.0))
    given = spec.get(option)
    return NAMES[name](**{option: usual if given is None else given}) if option else NAMES[name]()


def compute(spec: Mapping[str, Any]) -> Callable[[Spoken, Target | None, Tensor], tuple[Tensor, Tensor]]:
    """Return the function of (what is said, what the teacher said there, the tokens that stand there) to (sum, count), weights and all."""
    soft, hard = float(spec.get("weight", 1.0)), float(spec.get("hard", 0.0))
    measure, temperature = divergence(spec), float(spec.get("kd_temperature", 1.0))

    def term(spoken: Spoken, told: Target | None, tokens: Tensor) -> tuple[Tensor, Tensor]:
        made = token_loss(
            spoken.states, spoken.head, told if soft else None, divergence=measure, kd_temperature=temperature, labels=tokens if hard or not soft else None,
            soft_weight=soft, hard_weight=hard,
        )  # fmt: skip
        return made.total, made.count

    return term


def count(told: Target | None, tokens: Tensor) -> Tensor:
    """Return the number of positions: from the data alone, before any forward pass."""
    return torch.tensor(float(len(tokens)), device=tokens.device)
