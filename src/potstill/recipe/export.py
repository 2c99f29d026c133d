"""The section ``export``: what a trained student becomes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Section


class Export(Section):
    """ONNX, as small as the gate on validation lets it be."""

    format: Literal["onnx"] = "onnx"
    precision: Literal["int8", "fp32", "auto"] = "int8"
    max_quality_loss: Annotated[float, Field(ge=0, lt=1)] = 0.005  # int8 against fp32, in points of the main metric on validation
    min_agreement: Annotated[float, Field(ge=0, le=1)] = 0.98  # the share of validation rows that int8 must decide as fp32 does
