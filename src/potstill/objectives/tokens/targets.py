"""What the teacher said of each position, in the four shapes that it can be had or kept in.

Rows are positions: either all of the batch's, end to end, or the supervised ones alone, in order. A target carries no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...errors import UserError
from .heads import Head

PLACE = "token loss, target"


@dataclass(frozen=True)
class Full:
    """The teacher's logits, or log-probabilities, over its whole vocabulary. *Shape:* (rows, vocabulary); -inf rules a token out."""

    logits: Tensor

    def __post_init__(self) -> None:
        _rank("logits", self.logits)

    @property
    def rows(self) -> int:
        return len(self.logits)


@dataclass(frozen=True)
class Hidden:
    """The teacher's last hidden states and its head: logits are made a chunk at a time. *Shape:* ``states`` (rows, teacher's width)."""

    states: Tensor
    head: Head

    def __post_init__(self) -> None:
        _rank("states", self.states)
        if self.states.shape[1] != self.head.width:
            remedy = "give the states that go into the head: behind the last norm"
            raise UserError(f"states are {self.states.shape[1]} wide, their head takes {self.head.width}", place=PLACE, remedy=remedy)

    @property
    def rows(self) -> int:
        return len(self.states)


@dataclass(frozen=True)
class Sparse:
    """The top of the distribution at temperature 1, and the mass of all that is not in it, which counts as one token more.

    *Shapes:* ``ids`` integers (rows, k), distinct in a row; ``logprobs`` (rows, k), -inf in slots that are empty; ``tail`` (rows,)
    probabilities, 0 where nothing is left out. Rows are scaled to a total mass of 1. Both sides are added up to k + 1 tokens and
    softened then, so that student = teacher has gradient zero at every temperature; at k = vocabulary it is the full divergence.
    """

    ids: Tensor
    logprobs: Tensor
    tail: Tensor

    def __post_init__(self) -> None:
        _rank("ids", self.ids)
        _same("logprobs", self.logprobs, tuple(self.ids.shape))
        _same("tail", self.tail, (len(self.ids),))

    @property
    def rows(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Sampled:
    """Tokens drawn from any distribution r that leaves none out, with importance weights: the mean of sum_j w_j [id_j = i] is p_i.

    *Shapes:* ``ids`` integers (rows, m), repeats allowed; ``weights`` (rows, m), of m draws p / (m r), 0 in empty slots; ``logprobs``
    (rows, m): log p of the drawn tokens, at temperature 1 like all of this. With them, value and gradient are unbiased for forward
    KL's, each draw adds at least 0, and both are zero at student = teacher; far from it, rare tokens that the student likes weigh q / r.
    Without them the value is cross-entropy, and a draw's gradient is zero at student = teacher only in the mean (Anshumann et al. 2025,
    arXiv:2503.16870, section 3).
    """

    ids: Tensor
    weights: Tensor
    logprobs: Tensor | None = None

    def __post_init__(self) -> None:
        _rank("ids", self.ids)
        _same("weights", self.weights, tuple(self.ids.shape))
        if self.logprobs is not None:
            _same("logprobs", self.logprobs, tuple(self.ids.shape))

    @property
    def rows(self) -> int:
        return len(self.ids)


Target = Full | Hidden | Sparse | Sampled


def _rank(name: str, tensor: Tensor) -> None:
    if tensor.dim() != 2:
        raise UserError(f"{name} has shape {tuple(tensor.shape)}", place=PLACE, remedy="flatten positions: one row each, (rows, ...)")


def _same(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise UserError(f"{name} has shape {tuple(tensor.shape)}", place=PLACE, remedy=f"beside these ids it must be {shape}")
