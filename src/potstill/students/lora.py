"""Low-rank adapters around a language model, by ``peft`` (Hu et al. 2021, LoRA, arXiv:2106.09685): they alone learn, and are merged before it is saved."""

from __future__ import annotations

import copy
import warnings
from typing import Any

from ..lookup import load

MARK = "lora_"  # in the names of what is added


def adapted(model: Any, *, rank: int, alpha: float) -> Any:
    """Return ``model`` with adapters of ``rank`` on all linear maps of its layers, scaled by ``alpha`` / ``rank``; all else is frozen.

    Changes ``model`` in place; it says what it said before, for the adapters begin at nothing.
    """
    options = load("peft:LoraConfig")(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", bias="none", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that is to go
        return load("peft:get_peft_model")(model, options)


def inner(module: Any) -> Any:
    """Return the model within, ``module`` itself where nothing is around it."""
    return module.get_base_model() if _around(module) else module


def merged(module: Any) -> Any:
    """Return a plain model whose weights hold what the adapters learnt, ``module`` itself where it has none; ``module`` stays as it is."""
    if not _around(module):
        return module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return copy.deepcopy(module).merge_and_unload()


def added(name: str) -> bool:
    """Return whether a parameter is an adapter's."""
    return MARK in name


def _around(module: Any) -> bool:
    return type(module).__module__.partition(".")[0] == "peft"
