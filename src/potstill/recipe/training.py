"""The section ``training``: the loop that all students share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Section


class Training(Section):
    """What a student does not say for itself."""

    batch_size: Annotated[int, Field(ge=1)] = 32
    evaluations: Annotated[int, Field(ge=1)] = 8  # how often validation is looked at
    patience: Annotated[int, Field(ge=1)] = 4  # evaluations without gain until it stops
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.06  # share of the steps
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Annotated[float, Field(gt=0)] = 1.0  # the gradient's greatest norm
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    # Rows of text side by side in one, none of which sees its neighbors: no padding is computed. The gradients are the same.
    pack: Annotated[bool, Field(exclude_if=lambda value: not value)] = False
