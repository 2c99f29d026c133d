"""A model whose vocabulary is what the data uses: the same folder with fewer rows in its table and fewer tokens in its tokenizer.

Half of a small encoder is its table. Texts whose tokens are all kept are cut as before; others fall apart into smaller pieces, down to
single characters, instead of becoming unknown.
"""

from __future__ import annotations

import json
import shutil
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from .. import storage
from ..errors import UserError
from ..records import Field
from .source import plain, read_config, read_tokenizer

TABLES = (
    "word_embeddings.weight",
    "embed_tokens.weight",
    "lm_head.weight",
    "lm_head.bias",
    "predictions.decoder.weight",
    "predictions.decoder.bias",
    "predictions.bias",
)
COPIED = (".json", ".jinja")  # a chat template may stand in a file of its own
NOT_COPIED = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
Json = dict[str, Any]


def trim(source: Path, target: Path, rows: Sequence[Mapping[str, Field]], fields: Sequence[str], at_most: int | None = None) -> dict[str, int]:
    """Write the model in ``source`` to ``target`` with the tokens that ``rows`` use; return how many there were and are.

    With ``at_most`` tokens, those that the fewest texts use fall apart. The folder is as plain as the source: transformers loads it. Raises
    :class:`UserError` for a tokenizer of another kind, for fewer tokens than it can do with, and where a text whose tokens are all kept would
    be cut otherwise than before.
    """
    own = plain(read_tokenizer(source).backend_tokenizer)
    texts = [str(row[name]) for row in rows for name in fields]
    before = own.encode_batch_fast(texts)
    used = Counter(id for encoding in before for id in set(encoding.ids))
    commonest = sorted(used, key=lambda id: (-used[id], id))
    made, kept = limited(json.loads(own.to_str()), commonest, at_most, place=str(source))
    small = Tokenizer.from_str(json.dumps(made))
    whole = used.keys() & set(kept)
    for text, old, new in zip(texts, before, small.encode_batch_fast(texts)):
        if (at_most is None or whole.issuperset(old.ids)) and [kept[id] for id in new.ids] != old.ids:
            raise UserError(f"the trimmed tokenizer cuts {text[:60]!r} otherwise", place=str(source), remedy="leave vocabulary: all")
    places = {old: new for new, old in enumerate(kept)}
    with storage.disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(source.iterdir()):
            if path.suffix == ".safetensors":
                _slice(path, target / path.name, kept, read_config(source).vocab_size)
            elif path.suffix in COPIED and path.name not in NOT_COPIED:
                shutil.copyfile(path, target / path.name)
    for name in ("config.json", "generation_config.json"):
        if (target / name).is_file():
            _rewrite(target / name, lambda config: _config(config, places))
    if (target / "tokenizer_config.json").is_file():
        _rewrite(target / "tokenizer_config.json", lambda config: _tokenizer_config(config, places))
    storage.write_text(target / "tokenizer.json", json.dumps(made, ensure_ascii=False))
    return {"before": len(own.get_vocab(with_added_tokens=True)), "after": len(kept)}


def kept(source: Path, target: Path) -> list[int]:
    """Return for each token of the model in ``target`` the one that it was in ``source``, whose vocabulary it was cut from."""
    before, after = (plain(read_tokenizer(folder).backend_tokenizer).get_vocab(with_added_tokens=True) for folder in (source, target))
    return [before[token] for token, _ in sorted(after.items(), key=lambda entry: entry[1])]


def limited(tokenizer: Json, commonest: Sequence[int], at_most: int | None, *, place: str = "tokenizer.json") -> tuple[Json, list[int]]:
    """Return a tokenizer with as many of the ``commonest`` tokens, in their order, as ``at_most`` tokens in all leave room for; see :func:`trimmed`.

    Raises :class:`UserError` where even its own characters and added tokens are more.
    """
    made, kept = trimmed(tokenizer, commonest, place=place)
    if at_most is None or len(kept) <= at_most:
        return made, kept
    least = len(trimmed(tokenizer, (), place=place)[1])
    if least > at_most:
        raise UserError(f"vocabulary {at_most} is too small: characters and added tokens alone are {least}", place=place, remedy="give it more, or take `used`")
    # What is kept only grows with the prefix, so the longest that fits is found by halving.
    few = bisect_right(range(len(commonest)), at_most, key=lambda n: len(trimmed(tokenizer, commonest[:n], place=place)[1])) - 1
    return trimmed(tokenizer, commonest[:few], place=place)


def trimmed(tokenizer: Json, used: Collection[int], *, place: str = "tokenizer.json") -> tuple[Json, list[int]]:
    """Return a tokenizer (tokenizer.json's content) with the tokens ``used``, and the old ids of its tokens in their new order.

    Kept as well: added tokens, single characters, and the pieces that a kept token is merged from.
    """
    kind = tokenizer["model"].get("type") or ("BPE" if "merges" in tokenizer["model"] else "WordPiece")
    if kind not in KINDS:
        raise UserError(f"a tokenizer of kind {kind} can't be trimmed", place=place, remedy=f"leave vocabulary: all; known are {', '.join(KINDS)}")
    added = {int(token["id"]) for token in tokenizer.get("added_tokens", ())}
    model, needed = KINDS[kind](tokenizer["model"], set(used) | added)
    kept = sorted(needed | added)
    places = {old: new for new, old in enumerate(kept)}
    made = {**tokenizer, "model": model(places)}
    made["added_tokens"] = [{**token, "id": places[int(token["id"])]} for token in tokenizer.get("added_tokens", ())]
    made["post_processor"] = _processor(tokenizer.get("post_processor"), places)
    if made.get("padding"):
        made["padding"] = {**made["padding"], "pad_id": places[int(made["padding"]["pad_id"])]}
    return made, kept


Remade = tuple[Callable[[Mapping[int, int]], Json], set[int]]


def _wordpiece(model: Json, used: set[int]) -> Remade:
    """The longest piece that is known comes first: over a subset that holds a text's pieces, the same pieces come."""
    prefix = model.get("continuing_subword_prefix") or ""
    names = {id: token for token, id in model["vocab"].items()}
    single = {id for id, token in names.items() if len(token.removeprefix(prefix)) == 1}
    kept = (used & names.keys()) | single | {model["vocab"][model["unk_token"]]}
    return lambda places: {**model, "vocab": {names[id]: places[id] for id in sorted(kept)}}, kept


def _bpe(model: Json, used: set[int]) -> Remade:
    """Merges go by rank: those of a text's own way are all kept, and no other comes between them that wasn't there before."""
    vocabulary: dict[str, int] = model["vocab"]
    names = {id: token for token, id in vocabulary.items()}
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    ways: dict[str, list[tuple[str, ...]]] = {}
    for pair in pairs:
        ways.setdefault("".join(pair), []).append(pair)
    kept = {id for id, token in names.items() if len(token) == 1 or (token.startswith("<0x") and token.endswith(">"))}
    kept |= {vocabulary[model["unk_token"]]} if model.get("unk_token") in vocabulary else set()
    todo = [names[id] for id in used if id in names]
    while todo:
        token = todo.pop()
        if vocabulary[token] not in kept or len(token) == 1:
            kept.add(vocabulary[token])
            todo += [part for pair in ways.get(token, ()) for part in pair if vocabulary[part] not in kept]
    merges = [list(pair) for pair in pairs if all(vocabulary.get(part) in kept for part in (*pair, "".join(pair)))]
    return lambda places: {**model, "vocab": {names[id]: places[id] for id in sorted(kept)}, "merges": merges}, kept


def _unigram(model: Json, used: set[int]) -> Remade:
    """The likeliest cut comes first: over a subset that holds it, it stays the likeliest."""
    pieces = model["vocab"]
    kept = {id for id in used if id < len(pieces)} | {id for id, (piece, _) in enumerate(pieces) if len(piece) == 1}
    kept |= {id for id, (piece, _) in enumerate(pieces) if piece.startswith("<0x") and piece.endswith(">")}
    if model.get("unk_id") is not None:
        kept.add(model["unk_id"])

    def remade(places: Mapping[int, int]) -> Json:
        unknown = None if model.get("unk_id") is None else places[model["unk_id"]]
        return {**model, "vocab": [pieces[id] for id in sorted(kept)], "unk_id": unknown}

    return remade, kept


KINDS: Mapping[str, Callable[[Json, set[int]], Remade]] = {"WordPiece": _wordpiece, "BPE": _bpe, "Unigram": _unigram}


def _processor(found: Any, places: Mapping[int, int]) -> Any:
    """Return a post-processor with new ids, wherever it names a token by its id."""
    if not isinstance(found, dict):
        return found
    made = dict(found)
    if isinstance(made.get("special_tokens"), dict):
        named = made["special_tokens"]
        made["special_tokens"] = {name: {**token, "ids": [places[int(id)] for id in token["ids"]]} for name, token in named.items()}
    for end in ("sep", "cls"):
        if isinstance(made.get(end), list):
            made[end] = [made[end][0], places[int(made[end][1])]]
    if isinstance(made.get("processors"), list):
        made["processors"] = [_processor(one, places) for one in made["processors"]]
    return made


def _slice(source: Path, target: Path, kept: Sequence[int], size: int) -> None:
    """Write a file of weights with the kept rows of every table of tokens."""
    tensors = load_file(source)
    rows = [id for id in kept if id < size]
    small = {name: tensor[rows].contiguous() if name.endswith(TABLES) and len(tensor) == size else tensor for name, tensor in tensors.items()}
    save_file(small, target, metadata={"format": "pt"})


def _config(config: Json, places: Mapping[int, int]) -> Json:
    """Return a model's config with the new size, and new ids for the tokens that it names."""
    return {
        name: len(places) if name == "vocab_size" else _moved(value, places) if name.endswith("_token_id") else value for name, value in config.items()
    }  # fmt: skip


def _moved(value: Any, places: Mapping[int, int]) -> Any:
    if isinstance(value, list):
        return [places[id] for id in value if id in places]
    return places.get(value) if isinstance(value, int) else value


def _tokenizer_config(config: Json, places: Mapping[int, int]) -> Json:
    decoder = config.get("added_tokens_decoder")
    if not isinstance(decoder, dict):
        return config
    return {**config, "added_tokens_decoder": {str(places[int(id)]): token for id, token in decoder.items() if int(id) in places}}


def _rewrite(path: Path, change: Callable[[Json], Json]) -> None:
    storage.write_json(path, change(storage.read_json(path)))
