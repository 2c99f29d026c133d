"""What is allocated, by reading every operation's results: nothing of positions x vocabulary, nothing for masked positions."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from potstill.objectives.tokens import divergences, fused
from potstill.objectives.tokens.heads import Adapter, Head
from potstill.objectives.tokens.loss import token_loss
from potstill.objectives.tokens.targets import Full, Hidden, Sampled, Sparse

N, V, H, K = 512, 4096, 8, 4
CHUNK, TILE = 32 * V * 4 * 2, 4 * V * 4


class Allocations(TorchDispatchMode):
    """Bytes of storages as they come and go: the largest one, and the most that were alive at a time."""

    def __init__(self):
        super().__init__()
        self.seen, self.alive, self.peak, self.largest = {}, 0, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage()._cdata not in before | self.seen.keys():
                self.add(leaf.untyped_storage())
        return out

    def add(self, storage):
        key, size = storage._cdata, storage.nbytes()
        self.seen[key] = size
        self.alive += size
        self.peak, self.largest = max(self.peak, self.alive), max(self.largest, size)
        weakref.finalize(storage, self.drop, key)

    def drop(self, key):
        self.alive -= self.seen.pop(key, 0)


def allocated(kind, name, share, *, dtype=torch.float32, positions=N, **options):
    random = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(rows, H, generator=random).to(dtype).requires_grad_(True) for rows in (positions, V))
    adapter = Adapter(torch.randn(2, H).to(dtype).requires_grad_(True), torch.randn(V, 2).to(dtype).requires_grad_(True))
    head = Head(weight, torch.zeros(V, dtype=dtype, requires_grad=True), adapter, 1.5, 30.0)
    ids = torch.randint(V, (positions, K), generator=random)
    target = {
        "full": lambda: Full(torch.randn(positions, V, generator=random).to(dtype)),
        "hidden": lambda: Hidden(torch.randn(positions, 3, generator=random).to(dtype), Head(torch.randn(V, 3, generator=random).to(dtype))),
        "sparse": lambda: Sparse(ids, torch.full((positions, K), -2.0), torch.full((positions,), 0.4)),
        "sampled": lambda: Sampled(ids, torch.full((positions, K), 0.25), torch.full((positions, K), -2.0)),
    }[kind]()  # fmt: skip
    mask = torch.arange(positions) < share * positions
    with pytest.MonkeyPatch.context() as patch, Allocations() as seen:
        patch.setitem(fused.TILE_BYTES, "cpu", TILE)
        token_loss(
            hidden, head, target, divergence=divergences.NAMES[name](), labels=torch.zeros(positions, dtype=torch.long), mask=mask, chunk_bytes=CHUNK
        ).total.backward()  # fmt: skip
    return seen


@pytest.mark.parametrize("kind", ["full", "hidden", "sparse", "sampled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_tensor_of_positions_by_vocabulary_is_ever_made(kind, dtype):
    for name in divergences.NAMES if kind != "sampled" else ("forward_kl",):
        seen = allocated(kind, name, 1.0, dtype=dtype)
        assert seen.largest <= CHUNK < N * V * 4 / 7
        gradients = V * (H + 1 + 2) * 4 * (1 if dtype == torch.float32 else 1.5)
        widened = fused.heads.BLOCK_BYTES if dtype != torch.float32 else 0  # at most: these weights are smaller
        assert seen.peak <= gradients + CHUNK * (1.5 if dtype != torch.float32 else 1) + 12 * TILE + widened + 64 * N * H


@pytest.mark.parametrize("kind", ["full", "hidden", "sparse", "sampled"])
def test_memory_does_not_grow_with_masked_positions(kind):
    name = "forward_kl"
    few, among_many = allocated(kind, name, 1.0, positions=64), allocated(kind, name, 1 / 8, positions=512)
    assert among_many.peak <= 1.05 * few.peak + 8 * N * H * 4  # what grows: the states' own gradient


def test_memory_does_not_grow_with_positions_beyond_their_states():
    assert allocated("hidden", "jsd", 1.0, positions=1024).peak <= allocated("hidden", "jsd", 1.0, positions=128).peak + 1024 * H * 4 * 8
