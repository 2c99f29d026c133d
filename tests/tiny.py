"""Tiny models made in the test: random weights, a vocabulary of letters and about a hundred common words: WordPiece, or BPE over bytes."""

from __future__ import annotations

import shutil
import string
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import BertWordPieceTokenizer, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    BertTokenizerFast,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)  # fmt: skip

WORDS = (
    "the a an and or not of to in on at by for with from is are was were be been it this that these those he she we you they i "
    "good bad great poor fine awful best worst love hate like film movie book food service price room staff order pain fever heart "
    "lung blood bone skin eye ear acute chronic disease left right upper lower red green blue black white big small new old first last "
    "one two three four five many few very really quite never always cat dog bird fish tree house car road water sun day night man woman "
    "child time year work play run walk see say go come make"
).split()
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECES = (*string.ascii_lowercase, *string.digits, *".,!?'-:;()")
VOCABULARY = tuple(dict.fromkeys((*SPECIAL, *PIECES, *(f"##{c}" for c in string.ascii_lowercase + string.digits), *WORDS)))


def encoder(folder: Path, *, hidden: int = 32, layers: int = 3, heads: int = 2, seed: int = 0) -> Path:
    """Write a BertModel without a classification head, and its tokenizer, to ``folder``; return the folder."""
    torch.manual_seed(seed)
    BertModel(_config(hidden, layers, heads)).eval().save_pretrained(folder)
    return _tokenizer(folder)


def classifier(folder: Path, labels: Sequence[str] = ("a", "b"), *, hidden: int = 32, layers: int = 3, heads: int = 2, seed: int = 0) -> Path:
    """Write a BertForSequenceClassification with ``labels`` in that order, and its tokenizer, to ``folder``; return the folder."""
    torch.manual_seed(seed)
    config = _config(hidden, layers, heads)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    BertForSequenceClassification(config).eval().save_pretrained(folder)
    return _tokenizer(folder)


def graph(folder: Path, target: Path, *, head: bool = True, probabilities: bool = False) -> Path:
    """Write the model in ``folder`` as ``target``, an ONNX file that gives logits, probabilities or (no ``head``) the last layer's states;
    its tokenizer and its config beside it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    model = (BertForSequenceClassification if head else BertModel).from_pretrained(folder, attn_implementation="eager").eval()
    name = "probabilities" if probabilities else "logits" if head else "last_hidden_state"
    axes = {key: {0: "rows", 1: "length"} for key in ("input_ids", "attention_mask", "token_type_ids")} | {name: {0: "rows"}}
    ids = torch.tensor([[2, 7, 8, 3], [2, 7, 3, 0]])
    inputs = (ids, (ids > 0).long(), torch.zeros_like(ids))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Plain(model, probabilities), inputs, str(target), input_names=list(axes)[:3], output_names=[name], dynamic_axes=axes, opset_version=17, dynamo=False
        )  # fmt: skip
    for file in ("tokenizer.json", "config.json"):
        shutil.copy(folder / file, target.with_name(file))
    return target


class _Plain(torch.nn.Module):
    def __init__(self, model: torch.nn.Module, probabilities: bool) -> None:
        super().__init__()
        self.model, self.probabilities = model, probabilities

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        out = self.model(input_ids=ids, attention_mask=mask, token_type_ids=types)[0]
        return out.softmax(-1) if self.probabilities else out


def masked_lm(folder: Path, texts: Sequence[str], *, steps: int = 60, hidden: int = 32, layers: int = 2, heads: int = 2, seed: int = 0) -> Path:
    """Write a BertForMaskedLM that learnt a little of ``texts``, and its tokenizer, to ``folder``; return the folder."""
    torch.manual_seed(seed)
    model = BertForMaskedLM(_config(hidden, layers, heads))
    tokenizer = BertTokenizerFast.from_pretrained(_tokenizer(folder))
    inputs = tokenizer(list(texts), padding=True, return_tensors="pt")
    words = (inputs["input_ids"] != tokenizer.cls_token_id) & (inputs["input_ids"] != tokenizer.sep_token_id) & inputs["attention_mask"].bool()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        masked = words & (torch.rand(words.shape) < 0.2)
        labels = inputs["input_ids"].masked_fill(~masked, -100)
        given = inputs["input_ids"].masked_fill(masked, tokenizer.mask_token_id)
        optimizer.zero_grad()
        model(input_ids=given, attention_mask=inputs["attention_mask"], labels=labels).loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    return folder


START, END, UNKNOWN = "<|im_start|>", "<|im_end|>", "<|endoftext|>"


def decoder(folder: Path, *, hidden: int = 32, layers: int = 3, heads: int = 4, shared: int = 2, context: int = 128, seed: int = 0) -> Path:
    """Write a LlamaForCausalLM, ``shared`` key heads for its ``heads``, and its tokenizer, to ``folder``; return the folder.

    As language models often have it, its padding token is its end, and the tokenizer adds neither.
    """
    torch.manual_seed(seed)
    tokenizer = byte_pairs()
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=shared,
        intermediate_size=2 * hidden, max_position_embeddings=context, bos_token_id=1, eos_token_id=2, pad_token_id=2, initializer_range=0.3,
        tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).eval().save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=START, eos_token=END, pad_token=END, unk_token=UNKNOWN, model_max_length=128).save_pretrained(
        folder
    )
    return folder


def byte_pairs() -> Tokenizer:
    """Return a BPE tokenizer over bytes whose merges make ``WORDS``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[UNKNOWN, START, END], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([" ".join(WORDS)], trainer)
    return tokenizer


def _config(hidden: int, layers: int, heads: int) -> BertConfig:
    return BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=2 * hidden, max_position_embeddings=128, pad_token_id=0, attn_implementation="eager",
        initializer_range=0.3,  # the usual 0.02 gives all but equal outputs; so decisions differ between texts
    )  # fmt: skip


def _tokenizer(folder: Path) -> Path:
    built = BertWordPieceTokenizer({piece: i for i, piece in enumerate(VOCABULARY)}, lowercase=True)
    BertTokenizerFast(tokenizer_object=built._tokenizer, model_max_length=128).save_pretrained(folder)
    return folder
