"""What language models of ``transformers`` have in common: where their layers stand, and what makes logits of their states."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..objectives.tokens import heads

LAYER = "model.layers.{}."  # how a layer's parameters begin, {} its number, in all that is known


def head_of_model(model: Any) -> heads.Head:
    """Return what makes logits of a language model's states, its bias, scale and soft-capping with it."""
    last, config = model.get_output_embeddings(), model.config
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)  # Cohere's, Granite's
    return heads.Head(last.weight, getattr(last, "bias", None), scale=scale, softcap=getattr(config, "final_logit_softcapping", None))


def logits_of(head: heads.Head, states: Tensor) -> Tensor:
    """Return the logits *Shape:* (positions, vocabulary) of states (positions, width), with gradients."""
    out = nn.functional.linear(states, head.weight, head.bias) * head.scale
    return out if head.softcap is None else head.softcap * torch.tanh(out / head.softcap)


def check_layers(model: Any, place: str) -> None:
    if not any(name.startswith(LAYER.format(0)) for name, _ in model.named_parameters()):
        words = f"a model of type '{model.config.model_type}' does not keep its layers where those of language models are looked for"
        raise UserError(words, place=place, remedy="take one of the llama kind: llama, mistral, qwen, smollm, gemma, granite")


@torch.inference_mode()
def check_head(model: Any, place: str) -> None:
    """Raise :class:`UserError` where the model makes logits in another way than its head is known to: a silent one would be learnt around."""
    ids = torch.arange(min(8, model.config.vocab_size))[None]
    was_training = model.training
    model.eval()
    own = model(input_ids=ids, use_cache=False).logits[0].float()
    ours = logits_of(head_of_model(model), model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0])
    model.train(was_training)
    if not torch.allclose(own, ours, atol=1e-3, rtol=1e-3):
        words = f"a model of type '{model.config.model_type}' makes logits of its states in a way that is not known"
        raise UserError(words, place=place, remedy="known: a matrix, its bias, a scale and soft-capping")


def checkpointed(model: Any) -> None:
    """Make ``model`` keep what goes into its layers alone, and compute the rest again on the way back (Chen et al. 2016, arXiv:1604.06174)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the name by which all of transformers 5 has it
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
