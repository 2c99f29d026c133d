"""Batches hold every row once and rows of like length together; the same seed and epoch give the same ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.training.batches import WINDOW, bucketed

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=300)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 40), st.integers(0, 5), st.integers(0, 5))
def test_every_row_once_in_a_constant_number_of_batches(lengths, size, seed, epoch):
    batches = bucketed(lengths, size, seed=seed, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // size)
    assert sorted(map(len, batches), reverse=True)[:-1] == [size] * (len(batches) - 1)
    again = bucketed(lengths, size, seed=seed, epoch=epoch)
    assert all(np.array_equal(one, other) for one, other in zip(batches, again))


def test_rows_of_like_length_meet_and_little_is_padded():
    lengths = np.random.default_rng(0).integers(1, 100, 3 * 32 * WINDOW + 5)
    batches = bucketed(lengths, 32, seed=0, epoch=0)
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded / lengths.sum() < 1.1
    unsorted = sum(32 * lengths[i : i + 32].max() for i in range(0, len(lengths), 32))
    assert unsorted / lengths.sum() > 1.8


def test_order_and_company_change_with_epoch_and_seed():
    lengths = np.random.default_rng(0).integers(1, 100, 400)
    first = bucketed(lengths, 16, seed=0, epoch=0)
    for other in (bucketed(lengths, 16, seed=0, epoch=1), bucketed(lengths, 16, seed=1, epoch=0)):
        assert {tuple(sorted(batch)) for batch in first} != {tuple(sorted(batch)) for batch in other}
    means = [lengths[batch].mean() for batch in first]
    assert means != sorted(means)  # short batches don't come first
