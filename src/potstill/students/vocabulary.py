"""A smaller vocabulary: of a tokenizer.json only the tokens that are used, in such a way that texts of them are tokenized as before.

WordPiece takes the longest piece that matches, so taking others away changes nothing where the one it took stays. BPE needs the merges
that lead to a token, and their parts; none that is left comes before one that was taken. The best segmentation of a Unigram model stays the
best of fewer. Single characters and bytes stay, so that unseen words fall apart instead of becoming unknown.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from ..errors import UserError
from ..records import Example
from ..serving.preprocess import Tokenized
from .source import quiet

Document = Mapping[str, Any]  # a tokenizer.json
CONFIG_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id", "decoder_start_token_id")
WHOLE = 2**20  # tokens: no text is longer
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def used(tokenizer: Tokenizer, rows: Iterable[Example], fields: Sequence[str], most: int | None = None) -> list[int]:
    """Return the ids in the rows' texts, rising; of the ``most`` frequent, the lower of two that are equally frequent.

    Texts are read whole, also what is cut off at the maximal length: a word that straddles the cut must not become unknown.
    """
    whole = Tokenized.make({"fields": fields, "inputs": ["input_ids"], "max_length": WHOLE}, tokenizer)
    counts: Counter[int] = Counter()
    for item in whole.encode([row.fields for row in rows]):
        counts.update(item["input_ids"].tolist())
    ordered = sorted(counts, key=lambda token: (-counts[token], token))
    return sorted(ordered[:most])


def trim(document: Document, wanted: Collection[int]) -> tuple[dict[str, Any], list[int]]:
    """Return the tokenizer.json of ``wanted`` ids and all that they need, and the old ids of its tokens, rising: new id n was old id kept[n].

    Added and special tokens, what the post-processor and padding name, single characters and bytes always stay. Raises
    :class:`UserError` for a kind of tokenizer that can't do without its words.
    """
    made = copy.deepcopy(dict(document))
    model = made["model"]
    kind = model.get("type") or ("Unigram" if isinstance(model["vocab"], list) else "BPE" if "merges" in model else "WordPiece")
    if kind not in KINDS:
        raise UserError(f"a tokenizer of kind {kind} can't be trimmed", place="students.vocabulary", remedy=f"vocabulary: all; known: {', '.join(KINDS)}")
    vocab = {piece: i for i, (piece, _) in enumerate(model["vocab"])} if kind == "Unigram" else dict(model["vocab"])
    always = {token["id"] for token in made["added_tokens"]} | _named(made.get("post_processor"), vocab)
    always |= {vocab[token] for token in (model.get("unk_token"), (made.get("padding") or {}).get("pad_token")) if token in vocab}
    always |= {i for piece, i in vocab.items() if _single(piece, model)}
    kept = KINDS[kind](model, vocab, set(wanted) | always)
    new = {old: place for place, old in enumerate(kept)}
    for token in made["added_tokens"]:
        token["id"] = new[token["id"]]
    _processor(made.get("post_processor"), new)
    if made.get("padding"):
        made["padding"]["pad_id"] = new.get(made["padding"]["pad_id"], 0)
    _verify(made, {piece: new[i] for piece, i in vocab.items() if i in new} | {token["content"]: token["id"] for token in made["added_tokens"]})
    return made, kept


def _verify(document: Document, expected: Mapping[str, int]) -> None:
    found = Tokenizer.from_str(json.dumps(document)).get_vocab(with_added_tokens=True)
    if found != expected:
        odd = sorted(found.items() ^ expected.items())[:3]
        raise UserError(f"the trimmed tokenizer would number its tokens otherwise: {odd}", place="students.vocabulary", remedy="vocabulary: all")


def _single(piece: str, model: Document) -> bool:
    bare = piece.removeprefix(model.get("continuing_subword_prefix") or "").removesuffix(model.get("end_of_word_suffix") or "")
    return len(piece) == 1 or len(bare) == 1 or _BYTE.fullmatch(piece) is not None


# ------------------------------------------------------------------------------------------------------- by kind of model
def _wordpiece(model: dict[str, Any], vocab: Mapping[str, int], wanted: set[int]) -> list[int]:
    return _numbered(model, vocab, wanted)


def _bpe(model: dict[str, Any], vocab: Mapping[str, int], wanted: set[int]) -> list[int]:
    """Keep, with a token, every merge that makes it, and the merge's parts, down to characters."""
    prefix = model.get("continuing_subword_prefix") or ""
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    made = [left + right.removeprefix(prefix) for left, right in pairs]
    parts: dict[str, list[str]] = {}
    for pair, result in zip(pairs, made):
        parts.setdefault(result, []).extend(pair)
    names = {i: piece for piece, i in vocab.items()}
    todo, kept = [names[i] for i in wanted if i in names], set(wanted)
    while todo:
        for part in parts.get(todo.pop(), ()):
            if vocab[part] not in kept:
                kept.add(vocab[part])
                todo.append(part)
    model["merges"] = [merge for merge, result in zip(model["merges"], made) if vocab[result] in kept]
    return _numbered(model, vocab, kept)


def _unigram(model: dict[str, Any], vocab: Mapping[str, int], wanted: set[int]) -> list[int]:
    """Keep also the least likely piece: an unknown character costs a fixed sum more than it."""
    pieces = model["vocab"]
    kept = wanted | {min(range(len(pieces)), key=lambda i: (pieces[i][1], i))}
    if model.get("unk_id") is not None:
        kept.add(model["unk_id"])
    order = sorted(kept)
    model["vocab"] = [pieces[i] for i in order if i < len(pieces)]
    if model.get("unk_id") is not None:
        model["unk_id"] = order.index(model["unk_id"])
    return order


def _numbered(model: dict[str, Any], vocab: Mapping[str, int], kept: set[int]) -> list[int]:
    order = sorted(kept)
    new = {old: place for place, old in enumerate(order)}
    model["vocab"] = {piece: new[i] for piece, i in sorted(vocab.items(), key=lambda pair: pair[1]) if i in new}
    return order


KINDS: Mapping[str, Callable[[dict[str, Any], Mapping[str, int], set[int]], list[int]]] = {"WordPiece": _wordpiece, "BPE": _bpe, "Unigram": _unigram}


# ------------------------------------------------------------------------------------------------------- what stands after
def _named(processor: Any, vocab: Mapping[str, int]) -> set[int]:
    """Return the ids that a post-processor puts in: of Bert and Roberta two pairs, of a template a mapping, of a sequence all of its parts'."""
    if not processor:
        return set()
    found = {processor[name][1] for name in ("sep", "cls") if name in processor}
    found |= {i for token in (processor.get("special_tokens") or {}).values() for i in token["ids"]}
    return found.union(*(_named(part, vocab) for part in processor.get("processors", ())))


def _processor(processor: Any, new: Mapping[int, int]) -> None:
    if not processor:
        return
    for name in ("sep", "cls"):
        if name in processor:
            processor[name][1] = new[processor[name][1]]
    for token in (processor.get("special_tokens") or {}).values():
        token["ids"] = [new[i] for i in token["ids"]]
    for part in processor.get("processors", ()):
        _processor(part, new)


# --------------------------------------------------------------------------------------------------- in transformers' terms
def trimmed(tokenizer: Any, wanted: Collection[int]) -> tuple[Any, list[int]]:
    """Return a tokenizer of transformers with the vocabulary of :func:`trim`, and the old ids of its tokens."""
    document, kept = trim(json.loads(tokenizer.backend_tokenizer.to_str()), wanted)
    new = {old: place for place, old in enumerate(kept)}
    with TemporaryDirectory() as place, quiet():
        folder = Path(place)
        tokenizer.save_pretrained(folder)
        for file in folder.iterdir():
            if file.name not in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
                file.unlink()  # vocab.txt and the like hold the old numbers
        (folder / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), "utf-8")
        path = folder / "tokenizer_config.json"
        config = json.loads(path.read_text("utf-8"))
        if "added_tokens_decoder" in config:
            config["added_tokens_decoder"] = {str(new[int(i)]): token for i, token in config["added_tokens_decoder"].items() if int(i) in new}
        path.write_text(json.dumps(config, ensure_ascii=False), "utf-8")
        return AutoTokenizer.from_pretrained(folder, local_files_only=True), kept


def renumber(config: Any, kept: Sequence[int]) -> None:
    """Write into a model's config the size of the vocabulary and the new ids of its special tokens."""
    new = {old: place for place, old in enumerate(kept)}
    config.vocab_size = len(kept)
    for name in CONFIG_IDS:
        if (old := getattr(config, name, None)) is not None:
            setattr(config, name, [new.get(i) for i in old] if isinstance(old, list) else new.get(old))
