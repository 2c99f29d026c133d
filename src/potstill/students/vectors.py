"""One vector for each token of a model: what students without transformer layers begin with.

For students whose layers read a text in order, the model's own input embeddings, their principal components. For a static
student, as model2vec does (Tulkens and van Dongen 2024, "Model2Vec"): each token alone between the special tokens through the encoder, the
mean of the last states, principal components, then weights by rank as Zipf's law has it (SIF: Arora et al. 2017, "A
simple but tough-to-beat baseline for sentence embeddings", eq. 1).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel

from .. import storage
from ..errors import UserError
from .source import SAFE, plain, quiet, read_tokenizer

VERSION = 1  # of what is kept in the cache
BATCH = 512  # tokens at once
SIF = 1e-4  # model2vec's default


def token_vectors(source: Path, dimensions: int) -> np.ndarray:
    """Return the vectors *Shape:* (vocabulary, min(dimensions, the model's width)) float32, of unit mean square.

    They take half a minute for 30,000 tokens of MiniLM on one thread (measured), so they are kept under
    ``$POTSTILL_HOME/vectors``, by the digest of the folder.
    """
    path = storage.home() / "vectors" / f"{storage.digest(VERSION, storage.sha256_folder(source), dimensions)[:32]}.npy"
    if not path.is_file():
        vectors = weighted(principal(contextual(source), dimensions))
        buffer = io.BytesIO()
        np.save(buffer, vectors, allow_pickle=False)
        storage.write_bytes(path, buffer.getvalue(), point="vectors")
    kept: np.ndarray = np.load(path, allow_pickle=False)
    return kept


def input_vectors(source: Path, dimensions: int) -> np.ndarray:
    """Return the model's own input embeddings *Shape:* (vocabulary, min(dimensions, the model's width)) float32, of unit mean square.

    On 9,500 ICD-10-CM texts a convolutional student that began with them reached 0.743 on validation, with :func:`contextual`
    vectors 0.725, with :func:`token_vectors`, weighed by rank, 0.717 (means of two seeds), and with random ones 0.596 (one seed).
    """
    tokenizer = read_tokenizer(source)
    with quiet():
        model = AutoModel.from_pretrained(source, dtype=torch.float32, **SAFE)
    table = model.get_input_embeddings().weight.detach().numpy()[: vocabulary(tokenizer, source)]
    return _unit(principal(table, dimensions))


@torch.inference_mode()
def contextual(source: Path) -> np.ndarray:
    """Return the encoder's answer to each token alone, meaned over its tokens *Shape:* (vocabulary, width) float32."""
    tokenizer = read_tokenizer(source)
    with quiet():
        model = AutoModel.from_pretrained(source, dtype=torch.float32, attn_implementation="sdpa", **SAFE).eval()
    count = vocabulary(tokenizer, source)
    before, after = _frame(tokenizer)
    found = []
    for first in range(0, count, BATCH):
        middle = torch.arange(first, min(first + BATCH, count))[:, None]
        rows = len(middle)
        ids = torch.cat([torch.tensor([before] * rows).long(), middle, torch.tensor([after] * rows).long()], 1)
        found.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(1))
    return torch.cat(found).numpy()


def vocabulary(tokenizer: Any, source: Path) -> int:
    """Return the number of tokens; raises :class:`UserError` where ids have gaps, since a row of the table is an id."""
    ids = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=True).values()
    if max(ids) + 1 != len(set(ids)):
        raise UserError("the ids of its tokenizer have gaps", place=str(source), remedy="start the student `from` another model")
    return len(set(ids))


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the special tokens that stand before and after a text."""
    own = plain(tokenizer.backend_tokenizer)
    bare = own.encode("a", add_special_tokens=False).ids
    whole = own.encode("a").ids
    start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return whole[:start], whole[start + len(bare) :]


def principal(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    """Return the scores on the first principal components, each component's largest score positive; float64 inside."""
    centered = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    _, components = np.linalg.eigh(centered.T @ centered)  # ascending
    scores = centered @ components[:, ::-1][:, :dimensions]
    signs = np.sign(scores[np.abs(scores).argmax(0), np.arange(scores.shape[1])])
    return np.asarray(scores * np.where(signs == 0, 1, signs))


def weighted(vectors: np.ndarray) -> np.ndarray:
    """Weigh rows by their rank, a / (a + p) with p from Zipf's law, as vocabularies are sorted by use; then scale to unit mean square."""
    inverse_rank = 1 / np.arange(2, len(vectors) + 2)
    share = inverse_rank / inverse_rank.sum()
    return _unit(vectors * (SIF / (SIF + share))[:, None])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / max(np.sqrt(np.square(vectors).mean()), 1e-12), np.float32)
