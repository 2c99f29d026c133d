"""The section ``teacher``: who knows. One model a kind."""

# ruff: noqa: RUF012 - pydantic copies a default before it gives it away

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from .base import Paths, Section, Slug, Text, one, tagged

Whole = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, le=1)]


def _license(value: object) -> object:
    if isinstance(value, str) and value.strip().lower() in ("disallowed", "forbidden", "none"):
        one(
            f"'{value}': the teacher's terms don't allow its answers to train another model",
            "choose another teacher; potstill does not help to break its terms",
        )
    return value


OutputLicense = Annotated[Text, BeforeValidator(_license)]


class Adapt(Section):
    """How an encoder without a head for the task gets one: ``finetune`` trains all of it, ``head`` a head on frozen features."""

    how: Literal["finetune", "head"]
    epochs: Whole = 3
    learning_rate: Rate | None = None  # null: the usual one of ``how``
    batch_size: Whole = 32


class ModelTeacher(Section):
    """A folder with a `transformers` model: a sequence classifier, or an encoder that is adapted first."""

    kind: Literal["model"] = "model"
    model: Text
    adapt: Adapt | None = None
    max_length: Annotated[int, Field(ge=2)] = 128  # tokens; longer inputs are cut
    batch_size: Whole = 32
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    license: Text = "unknown"
    output_license: OutputLicense = "unknown"
    labels: dict[Text, Text] = {}  # the teacher's label -> the task's
    usd_per_1000: Annotated[float, Field(ge=0)] = 0.0  # what a thousand answers cost


class RecordedTeacher(Section):
    """Answers that someone already has: JSONL or Parquet with labels, probabilities or log-probabilities."""

    kind: Literal["recorded"] = "recorded"
    path: Paths
    columns: dict[Text, Text] = {}  # role (text, text_pair, label, probabilities, logprobs) -> column
    name: Slug = "recorded"
    license: Text = "unknown"
    output_license: OutputLicense = "unknown"
    labels: dict[Text, Text] = {}


Teacher = tagged(ModelTeacher, RecordedTeacher)
