"""A student taught from the label store learns what it would have learnt from a teacher asked in every step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from potstill.evaluation.statistics import Score
from potstill.labels.account import Account
from potstill.labels.ask import ask
from potstill.labels.store import LabelStore
from potstill.training import loop
from potstill.training.batches import bucketed
from potstill.training.learner import Learner, gather
from tests import tiny
from tests.training.test_transformer import HEAD, ROWS, lesson, spec


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.classifier(tmp_path_factory.mktemp("teacher") / "model", HEAD.labels, hidden=16, layers=4)


@pytest.fixture
def stored(source, tmp_path):
    """The teacher, a lesson as it was told, and the same with the answers as the store gives them back."""
    student, terms, told, teacher = lesson(source, 2, with_teacher=True)
    with LabelStore(tmp_path / "labels") as store:
        answers = ask(teacher, ROWS, list(told.teacher), Account(store))
        yield teacher, student, terms, told, replace(told, teacher={want: answers.arrays([row.id for row in ROWS], want) for want in told.teacher})


def test_the_store_changes_no_bit_of_what_is_learnt(stored, source, tmp_path):
    _, student, terms, told, kept = stored
    for want, arrays in told.teacher.items():
        for said, back in zip(arrays, kept.teacher[want], strict=True):
            assert (said.dtype, said.shape, said.tobytes()) == (back.dtype, back.shape, back.tobytes())
    twin, others, _ = lesson(source, 2)
    for name, (learner, objectives, rows) in {"told": (student, terms, told), "kept": (twin, others, kept)}.items():
        loop.train(learner, rows, terms=objectives, spec=spec(steps=8, evaluations=1), evaluate=lambda s: Score(0.0), scratch=tmp_path / name)
    assert all(torch.equal(a, b) for a, b in zip(student.module.state_dict().values(), twin.module.state_dict().values(), strict=True))


def test_asked_anew_in_each_step_the_loss_is_that_of_the_store(stored):
    """In a step's company the teacher's padding, and so its rounding, is another: through the same codec the loss stays within 1e-6."""
    teacher, student, terms, told, kept = stored
    learner = Learner(student, terms, "fp32").eval()
    wants = frozenset(told.teacher)
    for batch in bucketed([student.preprocess.length(item) for item in told.items], 12, seed=0, epoch=0):
        anew = dict(teacher.answer([ROWS[i] for i in batch], sorted(wants, key=lambda want: want.key)))
        answers = {want: [anew[row.id].arrays[want] if row.id in anew else told.teacher[want][i] for i, row in enumerate(ROWS)] for want in wants}
        parts = [gather(student, rows, batch, wants) for rows in (kept, replace(told, teacher=answers))]
        with torch.no_grad():
            losses = [(learner(part).double() / learner.counts(part)).numpy() for part in parts]
        np.testing.assert_allclose(*losses, rtol=0, atol=1e-6)
