"""What language models of ``transformers`` have in common: where their layers stand, and what makes logits of their states."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..objectives.tokens import heads

LAYER = "model.layers.{}."  # how a layer's parameters begin, {} its number, in all that is known


def logits_of(head: heads.Head, states: Tensor) -> Tensor:
    """Return the logits *Shape:* (positions, vocabulary) of states (positions, width), with gradients."""
    out = nn.functional.linear(states, head.weight, head.bias) * head.scale
    return out if head.softcap is None else head.softcap * torch.tanh(out / head.softcap)


def check_layers(model: Any, place: str) -> None:
    if not any(name.startswith(LAYER.format(0)) for name, _ in model.named_parameters()):
        words = f"a model of type '{model.config.model_type}' does not keep its layers where those of language models are looked for"
        raise UserError(words, place=place, remedy="take one of the llama kind: llama, mistral, qwen, smollm, gemma, granite")


def checkpointed(model: Any) -> None:
    """Make ``model`` keep what goes into its layers alone, and compute the rest again on the way back (Chen et al. 2016, arXiv:1604.06174)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the name by which all of transformers 5 has it
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
