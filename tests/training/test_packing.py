"""Rows that share a pack are what they are alone; nothing is lost, and little of a pack is padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from potstill.errors import UserError
from potstill.training.packing import packed, plan
from tests import tiny


@given(lengths=st.lists(st.integers(1, 50), max_size=80), size=st.integers(50, 120))
def test_each_row_stands_in_one_pack_and_none_is_too_long(lengths, size):
    found = plan(lengths, size)
    assert sorted(row for pack in found.packs for row in pack) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in pack) <= size for pack in found.packs)
    assert sum(lengths) == pytest.approx((1 - found.padding) * size * len(found.packs))
    assert plan(lengths, size) == found
    half = [pack for pack in found.packs if 2 * sum(lengths[row] for row in pack) <= size]
    assert len(half) <= 1  # two that are half empty would have been one


def test_real_lengths_leave_little_padding():
    lengths = np.random.default_rng(0).lognormal(4.5, 0.8, 2000).clip(1, 512).astype(int).tolist()
    assert plan(lengths, 512).padding < 0.03


def test_a_row_that_is_longer_than_a_pack_is_refused():
    with pytest.raises(UserError, match="row 1 has 9 tokens, a pack takes 8"):
        plan([3, 9], 8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return AutoModelForCausalLM.from_pretrained(tiny.decoder(tmp_path_factory.mktemp("decoder"))).eval()


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(2, 20), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_the_loss_of_packed_rows_is_that_of_each_alone(model, lengths, seed):
    rng = np.random.default_rng(seed)
    rows = [(rng.integers(3, model.config.vocab_size, n).astype(np.int32), rng.random(n) < 0.6) for n in lengths]
    given = packed(rows, plan(lengths, 48).packs, pad=2)
    with torch.no_grad():
        logits = model(input_ids=given.ids, position_ids=given.positions, attention_mask=given.mask).logits
        losses = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), given.labels[:, 1:].flatten(), ignore_index=-100, reduction="none")
        own = given.rows[:, 1:].flatten()
        for n, (ids, learnt) in enumerate(rows):
            alone = model(input_ids=torch.from_numpy(ids[None].astype(np.int64))).logits[0, :-1]
            expected = torch.nn.functional.cross_entropy(alone, torch.from_numpy(ids[1:].astype(np.int64)), reduction="none")
            assert losses[own == n].sum() == pytest.approx(float(expected[torch.from_numpy(learnt[1:])].sum()), abs=1e-4)
    count = sum(int(learnt[1:].sum()) for _, learnt in rows)
    assert int((given.labels[:, 1:] != -100).sum()) == count
