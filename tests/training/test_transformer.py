"""A transformer cut from its teacher learns from the teacher's own answers, hidden states included."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from potstill.errors import UserError
from potstill.evaluation.statistics import Score
from potstill.objectives.build import LOGPROBS
from potstill.objectives.build import build as build_terms
from potstill.records import Answered, Example, Head
from potstill.students.build import build as build_student
from potstill.teachers.build import build as build_teacher
from potstill.training import loop
from potstill.training.records import LoopSpec, TrainingRows
from tests import small, tiny

HEAD = Head("classes", tuple(sorted(small.CUES)))
ROWS = [Example.make({"text": row["text"]}, gold=row["label"]) for row in small.texts(48, 0)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.classifier(tmp_path_factory.mktemp("teacher") / "model", HEAD.labels, hidden=16, layers=4)


def lesson(source, layers, *, max_length=32, specs=({"kind": "logits", "weight": 1.0}, {"kind": "hidden", "weight": 1.0}), with_teacher=False):
    asked = SimpleNamespace(kind="model", model=str(source), max_length=32, batch_size=16, precision="fp32", labels={}, adapt=None,
                            license="unknown", output_license="unknown", usd_per_1000=0)  # fmt: skip
    teacher = build_teacher(asked, HEAD, threads=1)
    student = build_student(SimpleNamespace(kind="transformer", layers=layers, max_length=None), HEAD, source=source, fields=("text",), seed=0,
                             max_length=max_length)  # fmt: skip
    for module in student.module.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    facts = teacher.facts()
    terms, _ = build_terms(specs, head_width=3, student_layers=student.hidden_layers, student_width=student.width,
                           teacher_layers=facts["layers"], teacher_width=facts["width"], seed=0)  # fmt: skip
    wants = sorted({LOGPROBS, *(want for term in terms for want in term.needs)}, key=lambda want: want.key)
    said = dict(teacher.answer(ROWS, wants))
    assert all(isinstance(answer, Answered) for answer in said.values())
    answers = {want: [said[row.id].arrays[want] for row in ROWS] for want in wants}
    items = student.preprocess.encode([row.fields for row in ROWS])
    made = student, terms, TrainingRows(items, np.array([HEAD.labels.index(row.gold) for row in ROWS]), answers)
    return (*made, teacher) if with_teacher else made


def spec(**changes):
    return LoopSpec(**{"steps": 60, "batch_size": 12, "learning_rate": 3e-3, "evaluations": 6, "patience": 9, "precision": "fp32", "threads": 1, **changes})


def test_a_student_of_all_layers_meets_its_teacher_token_by_token(source, tmp_path):
    """Rows of unequal length, shuffled: a hidden state beside the wrong token could not give 0 (float16 answers: nearly)."""
    student, terms, rows = lesson(source, 4)
    history = loop.train(student, rows, terms=terms, spec=spec(steps=4, evaluations=1, learning_rate=0.0), evaluate=lambda s: Score(0.0), scratch=tmp_path)
    assert history.terms["hidden"][0] < 1e-5


def test_half_a_teacher_learns_to_agree_with_it(source, tmp_path):
    student, terms, rows = lesson(source, 2)
    told = np.concatenate(rows.teacher[LOGPROBS]).argmax(1)

    def agreement(student):
        return Score(float((loop.predict(student, rows.items).argmax(1) == told).mean()))

    history = loop.train(student, rows, terms=terms, spec=spec(), evaluate=agreement, scratch=tmp_path)
    assert history.kept_score >= 0.9
    assert history.terms["hidden"][-1] < 0.7 * history.terms["hidden"][0]


def test_a_student_that_reads_less_than_its_teacher_can_not_learn_its_states(source, tmp_path):
    student, terms, rows = lesson(source, 2, max_length=6)
    with pytest.raises(UserError, match="same max_length"):
        loop.train(student, rows, terms=terms, spec=spec(), evaluate=lambda s: Score(0.0), scratch=tmp_path)
