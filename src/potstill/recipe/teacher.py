"""The section ``teacher``: who knows. One model a kind."""

# ruff: noqa: RUF012 - pydantic copies a default before it gives it away

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from .base import SEPARATOR, Finding, OutputLicense, Paths, Section, Separator, Slug, Text, one, refuse, tagged
from .endpoint import EndpointTeacher
from .language import Chat, Tokens, unless_default

Whole = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, le=1)]


def _names(value: list[str]) -> list[str]:
    if len(set(value)) < max(len(value), 2):
        one(f"{value} are no names of classes", "name two or more, each once, in the order of the answers")
    return value


def function(value: str) -> str:
    """Return the name of a function as it is written, or refuse it."""
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", value):
        one(f"'{value}' names no function", "write module:function, as in my_package.answers:classify")
    return value


Names = Annotated[list[Text], AfterValidator(_names)]


class Adapt(Section):
    """How a model without a head for the task gets one: ``finetune`` trains all of it, ``head`` a head on frozen features."""

    how: Literal["finetune", "head"]
    epochs: Whole = 3
    learning_rate: Rate | None = None  # null: the usual one of ``how``
    batch_size: Whole = 32


class ModelTeacher(Section):
    """A folder with a `transformers` model: a sequence classifier, or an encoder or a language model that is adapted first; or a language model
    that is taken as it is, for texts."""

    kind: Literal["model"] = "model"
    model: Text
    gguf_file: Text | None = None  # which one, where the folder holds several; converted once
    adapt: Adapt | None = None
    max_length: Annotated[int, Field(ge=2)] = 128  # tokens; longer inputs are cut
    batch_size: Whole = 32
    precision: Literal["auto", "fp32", "bf16", "onnx-fp32", "onnx-int8"] = "fp32"  # auto: asked in the fastest that answers as fp32 does
    license: Text = "unknown"
    output_license: OutputLicense = "unknown"
    labels: dict[Text, Text] = {}  # the teacher's label -> the task's
    usd_per_1000: Annotated[float, Field(ge=0)] = 0.0  # what a thousand answers cost
    chat: Chat = unless_default(Chat)
    tokens: Tokens = unless_default(Tokens)

    @property
    def training_precision(self) -> str:
        """What it is adapted in: an ONNX graph is made of the trained model."""
        return "fp32" if self.precision.startswith("onnx") else self.precision


class RecordedTeacher(Section):
    """Answers that someone already has: JSONL or Parquet with labels, probabilities, log-probabilities or log-odds."""

    kind: Literal["recorded"] = "recorded"
    path: Paths
    columns: dict[Text, Text] = {}  # role (text, text_pair, label, labels, probabilities, logprobs, logodds) -> column
    label_separator: Separator = SEPARATOR  # of `labels` in a text cell, where any number of them apply
    name: Slug = "recorded"
    license: Text = "unknown"
    output_license: OutputLicense = "unknown"
    labels: dict[Text, Text] = {}


class OnnxTeacher(Section):
    """A classifier in an ONNX file, with its tokenizer."""

    kind: Literal["onnx"] = "onnx"
    model: Text  # the file
    tokenizer: Text | None = None  # null: tokenizer.json beside it
    labels: Names | None = None  # of its outputs, in their order; null: as config.json beside it says (id2label)
    output: Literal["logits", "probabilities"] = "logits"
    max_length: Annotated[int, Field(ge=2)] = 128
    batch_size: Whole = 32
    license: Text = "unknown"
    output_license: OutputLicense = "unknown"
    usd_per_1000: Annotated[float, Field(ge=0)] = 0.0


class CallableTeacher(Section):
    """A function of yours: it gets a list of {text: ...} and says for each a label, or the labels' probabilities."""

    kind: Literal["callable"] = "callable"
    function: Annotated[Text, AfterValidator(function)]  # module:function
    version: Text  # raise it when the function would answer otherwise: only its own file is looked at
    folder: Text | None = None  # where its module lies, before what is installed; null: the recipe's folder
    name: Slug = "callable"
    labels: Names | None = None  # what the entries of a bare list of probabilities stand for
    batch_size: Whole = 32
    license: Text = "unknown"
    output_license: OutputLicense = "unknown"
    usd_per_1000: Annotated[float, Field(ge=0)] = 0.0


Member = tagged(ModelTeacher, RecordedTeacher, OnnxTeacher, CallableTeacher)


class EnsembleTeacher(Section):
    """Several teachers: the weighted mean of their probabilities."""

    kind: Literal["ensemble"] = "ensemble"
    members: Annotated[list[Member], Field(min_length=2)]  # type: ignore[valid-type]
    weights: list[Annotated[float, Field(gt=0)]] | None = None  # null: equal
    name: Slug = "ensemble"

    @model_validator(mode="after")
    def _together(self) -> EnsembleTeacher:
        refuse(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        if self.weights is not None and len(self.weights) != len(self.members):
            yield Finding(("weights",), f"{len(self.weights)} weights for {len(self.members)} members", "give one for each, or leave the key out")

    @property
    def license(self) -> str:
        return _several([member.license for _, member in members(self)])

    @property
    def output_license(self) -> str:
        return _several([member.output_license for _, member in members(self)])

    @property
    def usd_per_1000(self) -> float:
        return sum(getattr(member, "usd_per_1000", 0.0) for _, member in members(self))


def _several(licenses: list[str]) -> str:
    """Return what holds of all members: each license once; unknown where one is."""
    return "unknown" if "unknown" in licenses else ", ".join(dict.fromkeys(licenses))


Teacher = tagged(ModelTeacher, RecordedTeacher, OnnxTeacher, CallableTeacher, EnsembleTeacher, EndpointTeacher)
HIDDEN_STATES: tuple[type[Any], ...] = (ModelTeacher,)  # the kinds that have hidden states to match
WEIGHTS: tuple[type[Any], ...] = (ModelTeacher,)  # the kinds from whose weights a student may start


def paid(teacher: Any) -> bool:
    """Return whether its answers cost money."""
    return bool(getattr(teacher, "usd_per_1000", 0.0) or getattr(teacher, "paid", False))


def members(teacher: Any) -> list[tuple[tuple[str | int, ...], Any]]:
    """Return each single teacher with its path below ``teacher``: itself, or an ensemble's members."""
    if isinstance(teacher, EnsembleTeacher):
        return [(("members", i), member) for i, member in enumerate(teacher.members)]
    return [((), teacher)]
