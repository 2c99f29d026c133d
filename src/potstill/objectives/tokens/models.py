"""The head of a language model of ``transformers``: what its configuration puts around a matrix, as :class:`.heads.Head` has it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import UserError
from .heads import Head, cap, scores

PLACE = "token loss, head"
PROBE = 8  # tokens on which a head, and that no token sees those behind it, are tried
NEAR = 1e-3  # of the largest logit: more than rounding


def head_of(model: Any) -> Head:
    """Return the head, its tensors those of the model. Raises :class:`UserError` for a model without one.

    ``logit_scale`` multiplies logits (Cohere), ``logits_scaling`` divides them (Granite), ``final_logit_softcapping`` caps them (Gemma 2).
    """
    last, config = model.get_output_embeddings(), model.config
    if not isinstance(last, nn.Linear):
        raise UserError(f"{type(model).__name__} has no linear head", place=PLACE, remedy="take a causal language model of transformers")
    scaling = getattr(config, "logits_scaling", None)
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(scaling or 1.0)
    return Head(last.weight, last.bias, scale=scale, softcap=getattr(config, "final_logit_softcapping", None))


def states_of(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return what goes into the head *Shape:* (lines, length, width); no logits are made."""
    found: Tensor = model.base_model(**inputs, use_cache=False).last_hidden_state
    return found


def logits(head: Head, states: Tensor) -> Tensor:
    """Return the logits of ``states`` (rows, width) *Shape:* (rows, vocabulary), float32."""
    wide = states.float()
    return cap(head, scores(head, wide, wide.new_empty(len(wide), head.vocabulary)))


@torch.no_grad()
def check(model: Any, *, place: str) -> None:
    """Raise :class:`UserError` unless the head gives the model's own logits of its states, and no token's state depends on those behind it."""
    size, device = int(model.get_input_embeddings().weight.shape[0]), model.get_input_embeddings().weight.device
    ids = (torch.arange(PROBE, device=device) * 7 + 1).remainder(size)[None]
    mask = torch.ones_like(ids)
    states = states_of(model, {"input_ids": ids, "attention_mask": mask})
    told, own = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0].float(), logits(head_of(model), states[0])
    if told.shape != own.shape or not torch.allclose(told, own, rtol=0, atol=NEAR * float(told.abs().max())):
        what = f"{type(model).__name__} makes its logits otherwise than by its head, a scale and a cap"
        raise UserError(what, place=place, remedy="take a model of another architecture: Llama, Qwen, Gemma, Granite, Cohere, GPT-2 and the like")
    some = slice(None, PROBE // 2)
    before = states_of(model, {"input_ids": ids[:, some], "attention_mask": mask[:, some]})
    if not torch.allclose(before, states[:, some], rtol=0, atol=NEAR * float(states.abs().max())):
        raise UserError("the model's tokens see those behind them: it is no causal language model", place=place, remedy="take one that was trained to go on")
