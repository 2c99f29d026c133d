"""Hidden states: a student's layer, projected to the teacher's width, against the teacher's layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import rng
from .divergences import units, widened


class Projection(nn.Module):
    """A linear map for each pair of layers, learnt with the student and never saved with it (Jiao et al. 2020, arXiv:1909.10351, eq. 8).

    Maps between equal widths begin as the identity: a student cut out of its teacher already speaks its language, and a
    random map would first teach it to unlearn that. Others are drawn from ``seed``.
    """

    def __init__(self, pairs: Sequence[tuple[int, int]], student_width: int, teacher_width: int, seed: int) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        # skip_init draws nothing from the global generator, whose state belongs to the loop.
        maps = [nn.utils.skip_init(nn.Linear, student_width, teacher_width) for _ in pairs]
        self.maps = nn.ModuleList(maps)
        generator = torch.Generator().manual_seed(rng.integer(seed, "projection"))
        for linear in maps:
            if student_width == teacher_width:
                nn.init.eye_(linear.weight)
            else:
                nn.init.normal_(linear.weight, std=student_width**-0.5, generator=generator)
            nn.init.zeros_(linear.bias)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the squared distance, as a mean over width and layers, summed over tokens; and the number of tokens.

        *Shape:* each (tokens, width); ``teacher`` in the order of ``pairs``, ``student`` all layers from the embeddings on.
        """
        distances = []
        with torch.autocast(student[0].device.type, enabled=False):
            for linear, (_, layer), target in zip(self.maps, self.pairs, teacher):
                projected = linear(widened(student[layer]))
                distances.append((projected - widened(target)).square().mean(dim=-1).sum())
        return torch.stack(distances).mean(), units(teacher[0])


def uniform(student_layers: int, teacher_layers: int) -> list[tuple[int, int]]:
    """Return (teacher's layer, student's layer) pairs that spread the student's layers evenly; embeddings to embeddings."""
    return [(round(layer * teacher_layers / student_layers), layer) for layer in range(student_layers + 1)]
