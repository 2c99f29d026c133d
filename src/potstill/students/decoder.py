"""How a decoder reads a text that it is to classify: the text, then an end; the end's last state is what the head reads.

A decoder's token sees those before it alone, so the last one has seen all. Without an end of its own that is whatever word a text
happens to end with, and an empty text has none. Sequence classifiers of ``transformers`` find the last token as the last that is no
padding: a padding token that is the end too, as many language models have it, hides the end from them (TRAPS.md 20).
"""

from __future__ import annotations

from typing import Any

from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from ..errors import UserError
from .source import plain

HEADED = "ForSequenceClassification"


def rendered(tokenizer: Any, config: Any, *, place: str) -> Any:
    """Return the tokenizer that a classifier with ``config`` reads with, and make ``config`` agree with it: padding, no cache.

    A language model's becomes [start] text end, or [start] text end text_pair end; the start where the tokenizer has it already.
    One that comes with a classifier is kept as it is: that is how its head was trained. Raises :class:`UserError` for a
    tokenizer without an end, or without a second special token to pad with.
    """
    config.use_cache = False
    tokenizer.padding_side = "right"
    made = tokenizer if any(name.endswith(HEADED) for name in config.architectures or ()) else _ended(tokenizer, place)
    if made.pad_token_id is None:
        raise UserError("the classifier's tokenizer has no padding token", place=place, remedy="set pad_token in its tokenizer_config.json")
    if made is tokenizer and config.pad_token_id not in (None, made.pad_token_id):
        raise UserError(
            f"the model takes token {config.pad_token_id} for padding, its tokenizer pads with {made.pad_token_id}", place=place,
            remedy="make pad_token_id in config.json the tokenizer's: else the wrong token's state is read",
        )  # fmt: skip
    config.pad_token_id = made.pad_token_id
    return made


def _ended(tokenizer: Any, place: str) -> Any:
    end = tokenizer.eos_token
    if end is None:
        raise UserError("the tokenizer has no end token", place=place, remedy="set eos_token in its tokenizer_config.json")
    start = [tokenizer.bos_token] if tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id] else []
    own = plain(tokenizer.backend_tokenizer)
    own.post_processor = TemplateProcessing(
        single=[*start, "$A:0", end], pair=[*start, "$A:0", end, "$B:0", end],
        special_tokens=[(token, tokenizer.convert_tokens_to_ids(token)) for token in dict.fromkeys([*start, end])],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=own, eos_token=end, pad_token=_padding(tokenizer, place), bos_token=tokenizer.bos_token, unk_token=tokenizer.unk_token,
        model_max_length=tokenizer.model_max_length, padding_side="right", model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def _padding(tokenizer: Any, place: str) -> str:
    """Return a special token that is not the end: the padding's own, else one that texts don't hold."""
    others = (tokenizer.pad_token, tokenizer.unk_token, *tokenizer.all_special_tokens, *(str(token) for token in tokenizer.added_tokens_decoder.values()))
    found = next((str(token) for token in others if token is not None and token not in (tokenizer.eos_token, tokenizer.bos_token)), None)
    if found is None:
        raise UserError("the tokenizer has no token to pad with but its end", place=place, remedy="add a pad_token to the tokenizer and save it again")
    return found
