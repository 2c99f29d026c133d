"""What students take from a model's folder, and how transformers is kept quiet and torch's generator untouched."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging as transformers_logging

from ..errors import UserError

# How weights are loaded: from this disk, from safetensors (pickle runs code), without code from their folder.
SAFE: Mapping[str, bool] = {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False}


def read_config(source: Path) -> Any:
    """Return the config of the model in ``source``; raises :class:`UserError` where there is none."""
    try:
        return AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"this is no folder of a transformers model: {str(error).splitlines()[0]}", place=str(source),
            remedy="a student begins from a folder with config.json, model.safetensors and tokenizer.json",
        ) from error  # fmt: skip


def read_tokenizer(source: Path) -> Any:
    """Return the folder's fast tokenizer; raises :class:`UserError` for one that only runs in Python."""
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"the tokenizer can't be read: {str(error).splitlines()[0]}", place=str(source), remedy="is tokenizer.json there?") from error
    if not tokenizer.is_fast:
        raise UserError("the tokenizer has no fast form", place=str(source), remedy="a bundle runs without transformers: it needs a tokenizer.json")
    return tokenizer


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """Return a copy that neither pads nor truncates."""
    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_padding()
    own.no_truncation()
    return own


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from ``seed`` inside; outside, torch's global generator is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing to the terminal: fresh heads and progress are ours to tell."""
    level, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()
