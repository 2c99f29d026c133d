"""Which positions are learnt from, and which token each of them foretells."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import UserError

IGNORED = -100  # the label of a position that has none: the field's `ignore_index`


def next_tokens(labels: Tensor) -> Tensor:
    """Return labels moved to the states that foretell them: that of position t is the token at t + 1; the last position has none.

    *Shape:* (..., length) -> the same. For labels as data sets hold them, each at its own token, ``IGNORED`` where nothing is learnt.
    """
    moved = torch.full_like(labels, IGNORED)
    moved[..., :-1] = labels[..., 1:]
    return moved


def supervised(shape: torch.Size, mask: Tensor | None, labels: Tensor | None) -> Tensor | None:
    """Return the row numbers that are learnt from, in order, of positions end to end; None for all. ``shape`` is that of positions.

    ``mask`` is true there; without one, where ``labels`` has a token. Raises :class:`UserError` for another shape.
    """
    for name, given in (("mask", mask), ("labels", labels)):
        if given is not None and given.shape != shape:
            remedy = f"one for each of the hidden states, {tuple(shape)}; labels from a data set go through `next_tokens` first"
            raise UserError(f"{name} has shape {tuple(given.shape)}", place="token loss", remedy=remedy)
    if mask is None:
        if labels is None:
            return None
        mask = labels != IGNORED
    index = mask.reshape(-1).bool().nonzero().squeeze(-1)
    return None if len(index) == mask.numel() else index


def taken(tensor: Tensor, index: Tensor | None) -> Tensor:
    """Return the supervised rows of a tensor of all positions, itself where all are."""
    return tensor if index is None else tensor.index_select(0, index)
