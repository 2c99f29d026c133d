"""A student taught from kept tokens learns what it would have learnt from a teacher asked in every step: the same loop, whichever column."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from potstill.evaluation.generation import KL, TOKENS
from potstill.evaluation.statistics import Score
from potstill.labels import Account, LabelStore, ask
from potstill.labels.tokens import Keep, Levels, fit
from potstill.labels.tokens.coders import HiddenCoder, SampledCoder, SparseCoder
from potstill.records import Example, Want
from potstill.teachers.causal import CausalTeacher
from potstill.teachers.tokens import same_rows
from potstill.training import loop, measures
from potstill.training.columns import AskedAnew, KeptStates, KeptTokens
from tests import tiny
from tests.small import texts
from tests.training.writing import made, rows_of, spec, terms

LENGTH = 24  # of the students that ``made`` makes
GIVEN = [{"prompt": row["text"] + " ", "completion": row["label"] + " it is"} for row in texts(24, 3)]
WAYS = ("anew, hidden", "states", "hidden", "sparse", "sampled")


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """The teacher, and by way a column of its answers to the rows."""
    place = tmp_path_factory.mktemp("lesson")
    teacher = CausalTeacher(tiny.decoder(place / "model", layers=3), max_length=LENGTH)
    rows = [Example.make(dict(row)) for row in GIVEN]
    items, ids = teacher.items(rows), [row.id for row in rows]
    scores = teacher.distribution(teacher.ask(items)).numpy()
    keep = Keep(1.0, 0.0, 1024)
    book = fit(scores, keep, Levels(step=0.02, growth=0.0, widest=0.02))
    coders = {"hidden": HiddenCoder("bf16", teacher.head_digest), "sparse": SparseCoder(keep, book), "sampled": SampledCoder(64, book)}
    with LabelStore(place / "labels") as store:
        columns = {"states": KeptStates(ask(teacher, rows, [Want("states")], Account(store)).arrays(ids, Want("states")), teacher.head)}
        for name, coder in coders.items():
            teacher.teach(coder)
            want = Want("tokens", coded=coder.name)
            values = ask(teacher, rows, [want], Account(store)).arrays(ids, want)
            columns[name] = KeptTokens(values, coder.way, coder.decode, teacher.head if name == "hidden" else None)
        states = lambda batch: teacher.ask([items[i] for i in batch])  # noqa: E731
        columns["anew, hidden"] = AskedAnew(states, teacher.head, len(items))
        columns["anew"] = AskedAnew(states, teacher.head, len(items), teacher.distribution)
        yield teacher, columns


def taught(lesson, way, folder):
    """The weights after a training, and the mean KL from the teacher, before and after."""
    teacher, columns = lesson
    student = made(teacher.folder)
    same_rows(teacher.turns, student.preprocess, GIVEN)
    given, sizes = rows_of(student, columns[way], GIVEN), np.array([student.preprocess.size(row) for row in GIVEN])

    def away() -> float:
        found = measures.measure(student, given.items, sizes, columns["anew"])
        return float(found[:, KL].sum() / found[:, TOKENS].sum())

    before = away()
    loop.train(student, given, terms=terms(), spec=spec(steps=40), evaluate=lambda s: Score(0.0), scratch=folder)
    return student.module.state_dict(), before, away()


@pytest.fixture(scope="module")
def anew(lesson, tmp_path_factory):
    return taught(lesson, "anew", tmp_path_factory.mktemp("anew"))


@pytest.mark.parametrize("way", WAYS)
def test_what_is_learnt_is_the_same_within_the_way_s_error(lesson, anew, tmp_path, way):
    weights, before, after = taught(lesson, way, tmp_path)
    assert before == pytest.approx(anew[1])
    assert after < 0.7 * before
    error = {"anew, hidden": 1e-3, "states": 5e-3, "hidden": 0.02, "sparse": 0.02, "sampled": 0.4}[way]  # drawn once, and learnt from in every epoch
    print(way, before, anew[2], after)
    assert after == pytest.approx(anew[2], rel=error)
    if way == "anew, hidden":
        for name, weight in weights.items():
            torch.testing.assert_close(weight, anew[0][name], atol=2e-3, rtol=0.02)
