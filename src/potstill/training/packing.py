"""Rows of tokens side by side in one: no padding is computed, and no row sees its neighbors.

Which rows share a place is chosen by best fit, the longest first, as in Krell et al. 2021 (arXiv:2107.02027): a few percent from the best there is. Each
row keeps its own positions and its own attention, so that what a model says of it is what it says of the row alone (a test holds both).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError

IGNORED = -100  # as transformers has it


class Packed(NamedTuple):
    """Several packs as a model takes them. *Shapes:* all (packs, length) integers but ``mask``, (packs, 1, length, length) of 0 and -inf, which is added.

    ``labels`` hold at each place the token itself where it is learnt, else -100, as transformers shifts them; ``rows`` the row's number, -1 for padding.
    """

    ids: Tensor
    positions: Tensor
    labels: Tensor
    rows: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Plan:
    """Which rows stand in which pack, in order, and how much of the packs is padding."""

    packs: tuple[tuple[int, ...], ...]
    padding: float


def plan(lengths: Sequence[int], size: int) -> Plan:
    """Return packs of at most ``size`` tokens. Raises :class:`UserError` for a row that is longer by itself."""
    over = next((n for n, length in enumerate(lengths) if length > size), None)
    if over is not None:
        raise UserError(f"row {over} has {lengths[over]} tokens, a pack takes {size}", place="packing", remedy="cut rows first, or raise max_length")
    packs: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, pack), in order
    for row in sorted(range(len(lengths)), key=lambda n: (-lengths[n], n)):
        at = bisect_left(room, (lengths[row], -1))
        left, pack = room.pop(at) if at < len(room) else (size, len(packs))
        if pack == len(packs):
            packs.append([])
        packs[pack].append(row)
        insort(room, (left - lengths[row], pack))
    taken = sum(lengths)
    return Plan(tuple(map(tuple, packs)), 1 - taken / (len(packs) * size) if packs else 0.0)


def packed(rows: Sequence[tuple[np.ndarray, np.ndarray]], packs: Sequence[Sequence[int]], *, pad: int, dtype: torch.dtype = torch.float32) -> Packed:
    """Return ``packs`` of ``rows``, each (ids, learnt) as :class:`potstill.serving.rendering.Rendered` has them, padded to the longest of these packs."""
    length = max(sum(len(rows[n][0]) for n in pack) for pack in packs)
    ids, positions, labels, own = (np.full((len(packs), length), fill, np.int64) for fill in (pad, 0, IGNORED, -1))
    for place, pack in enumerate(packs):
        at = 0
        for n in pack:
            told, learnt = rows[n]
            here = slice(at, at + len(told))
            ids[place, here], positions[place, here], own[place, here] = told, np.arange(len(told)), n
            labels[place, here] = np.where(learnt, told, IGNORED)
            labels[place, at] = IGNORED  # the end of the row before foretells nothing of this one
            at += len(told)
    numbers = torch.from_numpy(own)
    order = torch.arange(length)
    seen = (numbers[:, :, None] == numbers[:, None, :]) & (order[None, :, None] >= order[None, None, :])
    mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
    return Packed(torch.from_numpy(ids), torch.from_numpy(positions), torch.from_numpy(labels), numbers, mask[:, None])
