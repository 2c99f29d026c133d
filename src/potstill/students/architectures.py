"""Where the parts of a sequence classifier stand, by architecture: data, with one loop over it.

A student's parameter has the name of its source's but for the layer's number, so a map of names is a map of numbers; the
table says where the number stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import UserError
from ..lookup import did_you_mean


@dataclass(frozen=True)
class Architecture:
    """``layer``: how a layer's parameters begin, {} its number; ``classifier``: the last linear map; ``top``: all above the layers."""

    layer: str
    classifier: str
    top: tuple[str, ...]  # with the classifier: what `head` trains over a frozen body; it reads one token's last state
    count: str = "num_hidden_layers"  # the config's name for the number of layers
    width: str = "hidden_size"
    heads: str = "num_attention_heads"
    inner: str = "intermediate_size"
    reserved: int = 0  # positions that no token can take, before the first one
    relu: bool = False  # between the parts of ``top``, where no part has its own
    decoder: bool = False  # a token sees those before it: the state that is read is the last token's, not the first's


_DECODER = Architecture("model.layers.{}.", "score", ("score",), decoder=True)
_ROBERTA = Architecture("roberta.encoder.layer.{}.", "classifier.out_proj", ("classifier",), reserved=2)
ARCHITECTURES: Mapping[str, Architecture] = {
    "bert": Architecture("bert.encoder.layer.{}.", "classifier", ("bert.pooler", "classifier")),
    "distilbert": Architecture(
        "distilbert.transformer.layer.{}.",
        "classifier",
        ("pre_classifier", "classifier"),
        count="n_layers",
        width="dim",
        heads="n_heads",
        inner="hidden_dim",
        relu=True,
    ),
    "electra": Architecture("electra.encoder.layer.{}.", "classifier.out_proj", ("classifier",)),
    "mpnet": Architecture("mpnet.encoder.layer.{}.", "classifier.out_proj", ("classifier",), reserved=2),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "llama": _DECODER,
    "mistral": _DECODER,
    "qwen2": _DECODER,
}


def architecture(model_type: str, place: str = "") -> Architecture:
    """Return the row of ``model_type``; raises :class:`UserError` naming those that are known."""
    if model_type not in ARCHITECTURES:
        raise UserError(f"no student can be cut from a model of type '{model_type}'", place=place, remedy=did_you_mean(model_type, ARCHITECTURES))
    return ARCHITECTURES[model_type]


def learning_rate(width: int) -> float:
    """Return AdamW's rate for training all layers of a model this wide.

    2e-4 at width 384, where it was measured to work (MiniLM on ICD-10-CM chapters, teacher and half of it), falling with the
    square to the usual 5e-5 of BERT base (Devlin et al. 2019, appendix A.3), and no lower than 1e-5: between, assumed.
    """
    return min(2e-4, max(1e-5, 2e-4 * (384 / width) ** 2))


def choose(layers: int | Sequence[int], available: int, place: str = "students.layers") -> tuple[int, ...]:
    """Return the numbers of the source's layers to keep, rising.

    A number n spreads n layers evenly from the first to the last (3 of 6: 0, 2, 5, as in DistilBERT's halving; the midpoint
    rounds to even); one layer is the first. A list is taken as it is. Raises :class:`UserError` for a layer that is not there.
    """
    remedy = f"the model has layers 0 to {available - 1}: give a number from 1 to {available}, or a rising list of layers"
    if isinstance(layers, int):
        if not 1 <= layers <= available:
            raise UserError(f"{layers} layers of {available}", place=place, remedy=remedy)
        return tuple(round(i * (available - 1) / (layers - 1)) for i in range(layers)) if layers > 1 else (0,)
    chosen = tuple(layers)
    if not chosen or list(chosen) != sorted(set(chosen)) or chosen[0] < 0 or chosen[-1] >= available:
        raise UserError(f"layers {list(chosen)}", place=place, remedy=remedy)
    return chosen


def renamed(name: str, layer: str, numbers: Mapping[int, int]) -> str | None:
    """Return ``name`` with its layer's number replaced by ``numbers``; None for a layer that is not among them.

    Reversible: the inverse of ``numbers`` gives the name back.
    """
    before, after = layer.split("{}")
    match = re.match(f"{re.escape(before)}(\\d+){re.escape(after)}", name)
    if match is None:
        return name
    number = numbers.get(int(match[1]))
    return None if number is None else layer.format(number) + name[match.end() :]
