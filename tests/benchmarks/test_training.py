"""The arms that benchmarks of training time are our loop itself, at work."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import relations
import setting as settings


@pytest.mark.slow
def test_an_arm_takes_the_steps_of_the_loop(tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path))
    texts = [f"the {word} of a sentence about {word}" for word in ("cost", "speed", "size", "worth")]
    setting = settings.Setting.of(texts, tmp_path)
    run = settings.ready(setting, setting.student("thin", trimmed=True), settings.LOGITS, batch_size=2)
    assert run.learner.training
    before = [parameter.detach().clone() for parameter in run.student.module.parameters()]
    batches = run.batches(0)
    epoch = [next(batches) for _ in range(2)]
    assert sorted(np.concatenate(epoch)) == [0, 1, 2, 3]
    for batch in epoch:
        run.step(batch)
        run.history.steps += 1
    assert any(not torch.equal(old, new) for old, new in zip(before, run.student.module.parameters()))


def test_all_arms_of_relations_have_objectives_of_the_recipe():
    assert relations.ARMS
    for name in relations.ARMS:
        assert [term.name for term in relations._terms(name, 3)]
