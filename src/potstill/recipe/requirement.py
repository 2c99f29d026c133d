"""The section ``requirement``: what must hold for a student to ship."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .base import Finding, Section, refuse

METRICS = ("accuracy", "macro_f1", "mcc", "log_loss")
MANY_METRICS = ("micro_f1", "macro_f1", "subset_accuracy", "hamming_loss")  # where any number of labels apply; the first is the usual one
GENERATION_METRICS = ("bits_per_byte", "perplexity", "token_accuracy")  # of a language model; the first is the usual one
ANSWER_METRICS = ("exact_match", "choice", "rouge_l", "callable")  # of the answers that a language model writes: the section ``generation``
LOSSES = ("log_loss", "hamming_loss", "bits_per_byte", "perplexity")  # lower is better
Metric = Literal[
    "accuracy", "macro_f1", "mcc", "log_loss", "micro_f1", "subset_accuracy", "hamming_loss", "bits_per_byte", "perplexity", "token_accuracy",
    "exact_match", "choice", "rouge_l", "callable",
]  # fmt: skip
Confidence = Annotated[float, Field(gt=0.5, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class Quality(Section):
    """The drop against the teacher, on gold labels, that is accepted."""

    metric: Metric = "accuracy"  # micro_f1 where any number of labels apply, bits_per_byte where text is written
    max_drop: Annotated[float, Field(ge=0, lt=1)] | None = None  # absolute
    max_relative_drop: Annotated[float, Field(ge=0, lt=1)] | None = None  # of the teacher's quality
    confidence: Confidence = 0.95

    @model_validator(mode="after")
    def _together(self) -> Quality:
        given = [name for name in ("max_drop", "max_relative_drop") if getattr(self, name) is not None]
        if not given:
            refuse([Finding((), "the drop that you accept is missing", "give max_drop (absolute, 0.02 is two points) or max_relative_drop")])
        if len(given) == 2:
            refuse([Finding((), "max_drop and max_relative_drop are both given", "keep one of them")])
        if self.metric in LOSSES and self.max_relative_drop is not None:
            words = f"{self.metric} has no share that can be kept", f"give max_drop: by how much {self.metric} may rise"
            refuse([Finding(("max_relative_drop",), *words)])
        return self


class Fidelity(Section):
    """The disagreement with the teacher that is accepted, where there is no gold."""

    metric: Literal["agreement"] = "agreement"
    max_disagreement: Annotated[float, Field(gt=0, lt=1)]
    confidence: Confidence = 0.95


class Requirement(Section):
    """Every line that is given must hold, each with its interval."""

    quality: Quality | None = None
    fidelity: Fidelity | None = None
    latency_p95_ms: Positive | None = None  # of the shipped artifact, batch 1, on this machine
    speedup: Positive | None = None  # throughput of the shipped artifact over the teacher's
    size_mb: Positive | None = None  # of the shipped artifact, in 10^6 bytes
    max_cost_usd: Positive | None = None  # hard stop for the teacher's bill

    @model_validator(mode="after")
    def _together(self) -> Requirement:
        if self.quality is not None and self.fidelity is not None:
            refuse([Finding(("fidelity",), "quality and fidelity are both required", "keep quality where there are gold labels, else fidelity")])
        if not self.model_dump(exclude_none=True):
            refuse([Finding((), "nothing is required", "leave out `requirement`, or give it a line: quality: {max_drop: 0.02}")])
        return self
