"""What a language model says of rows, as it is judged: :data:`potstill.evaluation.generation.MEASURES`, from states, a few positions at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..evaluation.generation import by_row
from ..objectives.tokens import tiles
from ..objectives.tokens.column import Column, moved, taken
from ..objectives.tokens.divergences import forward_kl
from ..objectives.tokens.heads import Head, cap, scores
from ..objectives.tokens.targets import Full, Hidden, Sampled, Sparse, Target
from ..serving.turns import learnt
from ..students.protocol import TokenStudent
from .tokens import alone, apart

TILE_BYTES = 32 << 20  # of logits at a time
MOST = 16384  # tokens of text at a time, padding counted


def measure(student: TokenStudent, items: Sequence[Any], sizes: np.ndarray, column: Column | None = None, *, batch_size: int = 16) -> np.ndarray:
    """Return the measures of rows *Shape:* (rows, measures) float64, in eval mode, its former mode put back; kl and agreed NaN without a ``column``.

    ``sizes`` (rows,): the bytes of the text that each row learns, see :meth:`potstill.serving.turns.Turns.size`. Against a top of a distribution kl
    is over the top and its tail, and against draws an estimate, whose agreed is NaN. In float32.
    """
    module, lengths = student.module, np.array([learnt(item) for item in items], np.int64)
    was_training = module.training
    module.eval()
    device = next(module.parameters()).device
    order = np.argsort([student.preprocess.length(item) for item in items], kind="stable")
    out = np.full((len(items), 6), np.nan)
    with torch.inference_mode():
        head = student.token_head()
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            windows = [window for row in batch for window in alone(items[row])]
            told = None if column is None else moved(column.gather([int(row) for row in batch]), device)
            found, at = [], 0
            for inputs, places, tokens, _ in apart(student.preprocess, windows, MOST):
                states = student.states({name: value.to(device) for name, value in inputs.items()}).flatten(0, 1)[places.to(device)]
                there = None if told is None else taken(told, slice(at, at := at + len(tokens)))
                found.append(positions(head, states, tokens.to(device), there))
            out[batch] = by_row(np.concatenate(found), lengths[batch], np.asarray(sizes, np.float64)[batch])
    module.train(was_training)
    return out


def positions(head: Head, states: Tensor, tokens: Tensor, told: Target | None) -> np.ndarray:
    """Return nats, kl, agreed, right of positions *Shape:* (positions, 4) float64. Raises :class:`UserError` for a target that does not fit."""
    if told is not None:
        tiles.check(told, head.vocabulary, forward_kl(), 1.0)
    step = max(1, TILE_BYTES // (4 * head.vocabulary))
    found = [
        _tile(head, states[at : at + step].float(), tokens[at : at + step], None if told is None else taken(told, slice(at, at + step)))
        for at in range(0, len(states), step)
    ]
    return np.concatenate([np.zeros((0, 4)), *found])


def _tile(head: Head, states: Tensor, tokens: Tensor, told: Target | None) -> np.ndarray:
    own = _logits(head, states)
    if isinstance(told, Hidden):
        told = Full(_logits(told.head, told.states.float()))
    if isinstance(told, Full):
        own = own[:, : told.logits.shape[1]]  # where the student's is padded, the padding says nothing
    top = own.argmax(dim=1)
    nats = -own.log_softmax(dim=1).gather(1, tokens[:, None]).squeeze(1)
    kl, agreed = AGAINST[type(told)](own, told, top)  # uses up the logits
    return torch.stack([part.double() for part in (nats, kl, agreed, top == tokens)], dim=1).cpu().numpy()


def _nothing(own: Tensor, told: None, top: Tensor) -> tuple[Tensor, Tensor]:
    nothing = torch.full_like(top, torch.nan, dtype=torch.float32)
    return nothing, nothing


def _full(own: Tensor, told: Full, top: Tensor) -> tuple[Tensor, Tensor]:
    answers = told.logits.float()[:, : own.shape[1]].contiguous()
    same = answers.argmax(dim=1) == top
    return tiles.dense(own.contiguous(), answers.clone(), forward_kl(), 1.0), same


def _sparse(own: Tensor, told: Sparse, top: Tensor) -> tuple[Tensor, Tensor]:
    same = told.ids.long().gather(1, told.logprobs.argmax(dim=1, keepdim=True)).squeeze(1) == top
    return tiles.sparse(own, told, forward_kl(), 1.0), same


def _sampled(own: Tensor, told: Sampled, top: Tensor) -> tuple[Tensor, Tensor]:
    return tiles.sampled(own, told), torch.full_like(top, torch.nan, dtype=torch.float32)


AGAINST: Mapping[type, Callable[[Tensor, Any, Tensor], tuple[Tensor, Tensor]]] = {
    type(None): _nothing, Full: _full, Sparse: _sparse, Sampled: _sampled,
}  # fmt: skip


def _logits(head: Head, states: Tensor) -> Tensor:
    return cap(head, scores(head, states, states.new_empty(len(states), head.vocabulary)))
