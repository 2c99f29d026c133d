"""Hidden states: a student's layer, projected to the teacher's width, against the teacher's layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import rng


class Projection(nn.Module):
    """A linear map for each pair of layers, learnt with the student and never saved with it (Jiao et al. 2020, arXiv:1909.10351, eq. 8)."""

    def __init__(self, pairs: Sequence[tuple[int, int]], student_width: int, teacher_width: int, seed: int) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        # skip_init draws nothing from the global generator, whose state belongs to the loop.
        self.maps = nn.ModuleList(nn.utils.skip_init(nn.Linear, student_width, teacher_width) for _ in pairs)
        generator = torch.Generator().manual_seed(rng.integer(seed, "projection"))
        for linear in self.maps:
            nn.init.normal_(linear.get_parameter("weight"), std=student_width**-0.5, generator=generator)
            nn.init.zeros_(linear.get_parameter("bias"))

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the squared distance, as a mean over width and layers, summed over tokens; and the number of tokens.

        *Shape:* each (tokens, width); ``teacher`` in the order of ``pairs``, ``student`` all layers from the embeddings on.
        """
        total = torch.zeros((), device=student[0].device)
        for linear, (_, layer), target in zip(self.maps, self.pairs, teacher):
            total = total + (linear(student[layer]).float() - target.float()).square().mean(dim=-1).sum()
        return total / len(self.pairs), torch.tensor(float(teacher[0].shape[0]), device=total.device)


def uniform(student_layers: int, teacher_layers: int) -> list[tuple[int, int]]:
    """Return (teacher's layer, student's layer) pairs that spread the student's layers evenly; embeddings to embeddings."""
    return [(round(layer * teacher_layers / student_layers), layer) for layer in range(student_layers + 1)]
