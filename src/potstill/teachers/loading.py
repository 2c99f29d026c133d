"""Load a model from a folder, a classifier, an encoder or a language model: offline, silent, without code from the folder, without pickle, ready to answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.utils import logging

from ..errors import TeacherError
from ..records import HeadKind


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing to the terminal: no progress bars, no reports."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


# What a head's kind is to transformers. One label a row may go unsaid: many a model was trained by hand. Several may not: whether a
# model's scores were made for a sigmoid shows nowhere else.
PROBLEMS: Mapping[HeadKind, tuple[str | None, ...]] = {
    "classes": ("single_label_classification", None), "labels": ("multi_label_classification",),
}  # fmt: skip
WORDS: Mapping[HeadKind, tuple[str, str]] = {
    "classes": ("one label applies to a row of this task", "name the column of the labels as `labels` where any number may apply: data.columns"),
    "labels": ("any number of labels apply to a row of this task", "where it was trained for that, set problem_type in its config.json"),
}


def classifier(folder: Path, kind: HeadKind = "classes") -> tuple[Any, Any]:
    """Return the model (eval mode, no gradients, eager attention, float32) and its tokenizer. Raises :class:`TeacherError`."""
    model, info, tokenizer = _load(folder, AutoModelForSequenceClassification, "as a sequence classifier")
    if info["missing_keys"] or info["mismatched_keys"]:
        lacks = ", ".join(sorted(str(key) for key in info["missing_keys"] or info["mismatched_keys"])[:3])
        raise TeacherError(
            f"the model has no classification head for this task (its weights lack {lacks})",
            place=str(folder),
            remedy="give it one: add `adapt: {how: finetune}` to the teacher",
        )
    if model.config.problem_type not in PROBLEMS[kind]:
        what = str(model.config.problem_type or "no stated kind of classification").replace("_", "-")
        words, remedy = WORDS[kind]
        raise TeacherError(f"the model is one of {what}, and {words}", place=str(folder), remedy=f"{remedy}; or give it a head: `adapt: {{how: finetune}}`")
    return model, tokenizer


def encoder(folder: Path) -> tuple[Any, Any]:
    """Return the model without a head, as :func:`classifier` returns one with it."""
    model, info, tokenizer = _load(folder, AutoModel, "as an encoder")
    lacks = sorted(str(key) for key in (*info["missing_keys"], *info["mismatched_keys"]) if "pooler" not in str(key))  # nobody asks a pooler
    if lacks:
        raise TeacherError(f"the model's weights lack {', '.join(lacks[:3])}", place=str(folder), remedy="is the folder complete?")
    return model, tokenizer


def language_model(folder: Path) -> Any:
    """Return a causal language model (eval mode, no gradients, float32). Raises :class:`TeacherError`."""
    how = "as a causal language model"
    with _errors(folder, how):
        model, info = _model(folder, AutoModelForCausalLM, attention=None)
    lacks = sorted(str(key) for key in (*info["missing_keys"], *info["mismatched_keys"]))
    if lacks:
        words = f"the model's weights lack {', '.join(lacks[:3])}"
        raise TeacherError(words, place=str(folder), remedy=f"is the folder complete, and does it load in transformers {how}?")
    return model.eval().requires_grad_(False)


def config(folder: Path) -> Any:
    """Return a model's configuration. Raises :class:`TeacherError`."""
    with _errors(folder, "as any model"):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def tokenizer(folder: Path) -> Any:
    """Return a model's fast tokenizer. Raises :class:`TeacherError`."""
    with _errors(folder, "with its tokenizer"):
        found = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, use_fast=True)
    if not found.is_fast:
        raise TeacherError("the model has no fast tokenizer", place=str(folder), remedy="add its tokenizer.json to the folder")
    return found


def _model(folder: Path, kind: Any, *, attention: str | None) -> tuple[Any, Any]:
    """Return the model in float32, and what was missing in its files; ``attention`` None: the fastest that it has."""
    model, info = kind.from_pretrained(
        folder, config=config(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True,
        attn_implementation=attention, dtype=torch.float32,
    )  # fmt: skip
    return model, info


@contextmanager
def _errors(folder: Path, how: str) -> Iterator[None]:
    """Keep transformers quiet, and turn its errors into :class:`TeacherError`."""
    try:
        with quiet():
            yield
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        first = str(error).strip().partition("\n")[0]
        raise TeacherError(f"the model can't be loaded: {first}", place=str(folder), remedy=f"does it load in transformers, offline, {how}?") from error


def _load(folder: Path, kind: Any, how: str) -> tuple[Any, Any, Any]:
    """Return the model, what was missing in its files, and its tokenizer."""
    with _errors(folder, how):
        model, info = _model(folder, kind, attention="eager")
    own, own_config = tokenizer(folder), model.config
    if own.pad_token_id is None:
        raise TeacherError("the tokenizer has no padding token", place=str(folder), remedy="set pad_token in its tokenizer_config.json")
    if isinstance(model, GenericForSequenceClassification):
        _pool_last(own_config, own, folder)
    return model.eval().requires_grad_(False), info, own


def _pool_last(config: Any, tokenizer: Any, folder: Path) -> None:
    """Hold model and tokenizer to one padding token, on the right: such a model's head reads the last token that is no padding."""
    tokenizer.padding_side, config.use_cache = "right", False
    if config.pad_token_id not in (None, tokenizer.pad_token_id):
        raise TeacherError(
            f"the model takes token {config.pad_token_id} for padding, its tokenizer pads with {tokenizer.pad_token_id}",
            place=str(folder),
            remedy="make pad_token_id in config.json the tokenizer's: else the wrong token's state is read",
        )
    config.pad_token_id = tokenizer.pad_token_id


def longest(model: Any, tokenizer: Any) -> int:
    """Return the most tokens that the model takes."""
    positions = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length  # some architectures have no limit
    return int(min(positions, tokenizer.model_max_length))


def precision_of(asked: str, device: str) -> str:
    """Return "fp32" or "bf16"; "auto" is bf16 where the processor has it in hardware."""
    if asked != "auto":
        return asked
    native = torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"
