"""Several processes learn what one learns: the same gradients, one history, and an exact resume."""

from __future__ import annotations

import pytest
import torch

from tests import tiny
from tests.training.ranks import run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("options", [{}, {"count": 11, "micro_batch": 2}], ids=["uneven", "a process without rows"])
def test_two_processes_give_the_gradients_of_one(tmp_path, options):
    one, two = run(tmp_path / "one", 1, **options), run(tmp_path / "two", 2, **options)
    assert one["gradients"].keys() == two["gradients"].keys()
    for name, gradient in one["gradients"].items():
        torch.testing.assert_close(two["gradients"][name], gradient, rtol=1e-9, atol=1e-12)
    for name, weight in one["weights"][0].items():
        if name != "calls":
            torch.testing.assert_close(two["weights"][0][name], weight, rtol=1e-9, atol=1e-12)
            assert torch.equal(two["weights"][0][name], two["weights"][1][name])
    losses = [[loss for _, loss, _ in run_["history"]["evaluations"]] for run_ in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_two_processes_go_on_from_a_checkpoint_to_the_same_bits(tmp_path):
    whole = run(tmp_path / "whole", 2, dropout=0.3)
    run(tmp_path / "cut", 2, dropout=0.3, stop_at=4, expect=9)
    again = run(tmp_path / "cut", 2, dropout=0.3)
    for rank in (0, 1):
        assert all(torch.equal(again["weights"][rank][name], weight) for name, weight in whole["weights"][rank].items())


def test_two_processes_give_the_gradients_of_one_where_texts_are_learnt(tmp_path):
    source = str(tiny.decoder(tmp_path / "model", layers=3))
    options = {"steps": 3, "evaluations": 1, "writing": source, "batch_size": 4, "pack": True}
    one, two = run(tmp_path / "one", 1, **options), run(tmp_path / "two", 2, **options)
    assert one["gradients"].keys() == two["gradients"].keys()
    for name, gradient in one["gradients"].items():
        torch.testing.assert_close(two["gradients"][name], gradient, rtol=1e-4, atol=1e-7)  # norms compute in float32
