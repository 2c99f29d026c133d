"""What substitution takes from a model's folder: its tokenizer, its table of input embeddings, its masked-LM head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from ...errors import UserError
from ...teachers.loading import longest, quiet
from .masked import Masked
from .neighbours import Neighbours
from .vocabulary import Vocabulary

NO_HEAD = "name a folder that has one (`from: path`), or use `kind: neighbours`, which works with any embedding table"
_BROKEN = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError)


def open_neighbours(folder: Path, *, top_k: int, multi_piece: str) -> Neighbours:
    """Return the neighbours by the table of the model in ``folder``. Raises :class:`UserError` where it can't be read."""
    model, _ = _load(AutoModel, folder, "name the folder of another transformers model: `from: path`")
    table = model.get_input_embeddings().weight.detach().numpy()
    return Neighbours(Vocabulary(_tokenizer(folder), multi_piece=multi_piece == "mean"), table, top_k)


def open_masked(folder: Path, *, top_k: int, multi_piece: str, threads: int | None = None) -> Masked:
    """Return the masked language model in ``folder``. Raises :class:`UserError` for one without a head, or without a mask token."""
    if threads is not None:
        torch.set_num_threads(threads)
    model, missing = _load(AutoModelForMaskedLM, folder, NO_HEAD)
    if missing:
        lacks = ", ".join(sorted(missing)[:3])
        raise UserError(f"the model has no masked-LM head (its weights lack {lacks})", place=str(folder), remedy=NO_HEAD)
    tokenizer = _tokenizer(folder)
    if tokenizer.mask_token_id is None:
        raise UserError("the model's tokenizer has no mask token", place=str(folder), remedy=NO_HEAD)
    vocabulary = Vocabulary(tokenizer, multi_piece=multi_piece == "mean", longest=longest(model, tokenizer))
    table = model.get_input_embeddings().weight.detach().numpy()
    return Masked(model, vocabulary, mask=int(tokenizer.mask_token_id), pad=int(tokenizer.pad_token_id or 0), top_k=top_k, table=table)


def _load(kind: Any, folder: Path, remedy: str) -> tuple[Any, list[str]]:
    """Return the model (float32, eval mode, no gradients) and the names of the weights that its folder lacks; poolers don't count."""
    try:
        with quiet():
            model, told = kind.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True, dtype=torch.float32
            )
    except _BROKEN as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"the model can't be loaded: {first}", place=str(folder), remedy=remedy) from error
    missing = [str(key) for key in (*told["missing_keys"], *told["mismatched_keys"]) if "pooler" not in str(key)]
    return model.eval().requires_grad_(False), missing


def _tokenizer(folder: Path) -> Any:
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, use_fast=True)
    except _BROKEN as error:
        raise UserError(f"the tokenizer can't be read: {str(error).splitlines()[0]}", place=str(folder), remedy="is tokenizer.json there?") from error
    if not tokenizer.is_fast:
        raise UserError("the model has no fast tokenizer", place=str(folder), remedy="add its tokenizer.json to the folder")
    return tokenizer
