from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from potstill.errors import TeacherError
from potstill.labels import Account, LabelStore, ask
from potstill.labels.through import Through
from potstill.records import Answered, Failed, Head, Refused, Want
from potstill.teachers import build
from potstill.teachers.ensemble import EnsembleTeacher, pool
from tests import tiny
from tests.labels.fakes import LOGPROBS, Fake, examples, logprobs

HEAD = Head("classes", ("a", "b"))


def said(teacher, rows):
    answers = dict(teacher.answer(rows, [LOGPROBS]))
    return np.concatenate([answers[row.id].arrays[LOGPROBS] for row in rows])


def test_the_mean_of_probabilities_weighted():
    rng = np.random.default_rng(0)
    given = np.log(rng.dirichlet(np.ones(5), size=(3, 4)))
    weights = np.array([0.5, 0.3, 0.2])
    expected = (np.exp(given) * weights[:, None, None]).sum(axis=0)
    np.testing.assert_allclose(np.exp(pool(given.astype(np.float32), weights)), expected, rtol=1e-5)
    assert pool(given.astype(np.float32), weights).dtype == np.float32


def test_it_is_stable_where_probabilities_underflow():
    far = np.array([[[0.0, -2000.0]], [[0.0, -3000.0]]])
    mixed = pool(far, np.array([0.5, 0.5]))
    np.testing.assert_allclose(mixed, [[0.0, -2000 - np.log(2)]], rtol=1e-6)
    one = np.array([[[0.0, -np.inf]], [[-np.inf, 0.0]]])
    np.testing.assert_allclose(np.exp(pool(one, np.array([0.25, 0.75]))), [[0.25, 0.75]], rtol=1e-6)


def test_members_weights_and_identity():
    rows = examples(6)
    one, other = Fake(version="1"), Fake(version="2")
    teacher = EnsembleTeacher("e", HEAD, [one, other], [3, 1])
    np.testing.assert_allclose(said(teacher, rows), np.concatenate([logprobs(row) for row in rows]), atol=1e-6)  # both say the same
    assert teacher.weights.tolist() == [0.75, 0.25]
    base = teacher.identity()
    assert EnsembleTeacher("x", HEAD, [other, one], [0.1, 0.3]).identity() == base
    others = [EnsembleTeacher("e", HEAD, [one, other], None), EnsembleTeacher("e", HEAD, [one, Fake(version="3")], [3, 1])]
    assert len({base, *(teacher.identity() for teacher in others)}) == 3
    assert teacher.offers() == {"logprobs"}
    with pytest.raises(TeacherError, match="hidden"):
        list(teacher.answer(rows, [Want("hidden", layer=1)]))


def test_a_member_that_does_not_answer_is_named():
    says = {"text number 0": Refused("no"), "text number 1": Failed("timeout")}
    teacher = EnsembleTeacher("e", HEAD, [Fake(), Fake(version="2", says=says)], None)
    rows = examples(3)
    answers = dict(teacher.answer(rows, [LOGPROBS]))
    assert answers[rows[0].id] == Failed("members[1] (fake) refused: no")
    assert answers[rows[1].id] == Failed("members[1] (fake) failed: timeout")
    assert isinstance(answers[rows[2].id], Answered)


def test_members_with_other_labels_are_refused():
    with pytest.raises(TeacherError, match=r"members\[1\]"):
        EnsembleTeacher("e", HEAD, [Fake(), Fake(("x", "y"))], None)


def test_real_members_of_two_kinds(tmp_path):
    labels = ("a", "b")
    folder = tiny.classifier(tmp_path / "model", labels)
    path = tiny.graph(tiny.classifier(tmp_path / "other", labels[::-1], seed=1), tmp_path / "g" / "teacher.onnx")
    told = {"license": "mit", "output_license": "mit", "usd_per_1000": 1.0, "max_length": 16, "batch_size": 4}
    model = SimpleNamespace(kind="model", model=str(folder), precision="fp32", labels={}, **told)
    graph = SimpleNamespace(kind="onnx", model=str(path), tokenizer=None, labels=None, output="logits", **told)
    teacher = build(SimpleNamespace(kind="ensemble", members=[model, graph], weights=None, name="both"), HEAD)
    rows = examples(5)
    expected = (np.exp(said(build(model, HEAD), rows)) + np.exp(said(build(graph, HEAD), rows))) / 2
    np.testing.assert_allclose(np.exp(said(teacher, rows)), expected, atol=1e-6)
    facts = teacher.facts()
    json.dumps(facts)
    assert facts["parameters"] == sum(member["parameters"] for member in facts["members"])
    assert facts["usd_per_1000"] == 2.0


def test_members_answers_are_kept_under_their_own_identity(tmp_path):
    rows = examples(8)
    members = [Fake(version="1"), Fake(version="2")]
    with LabelStore(tmp_path / "labels") as store:
        through = [Through(member, Account(LabelStore(store.root))) for member in members]
        first = ask(EnsembleTeacher("e", HEAD, through, None), rows, [LOGPROBS], Account(store, run="r"))
        assert [len(member.asked) for member in members] == [8, 8]
        assert first.usage.teacher_calls == 8
        assert store.spent("r").calls == 8  # a call of the ensemble is one call, with the price of all its members
        alone = ask(members[0], rows, [LOGPROBS], Account(store))
        assert (alone.usage.teacher_calls, alone.usage.cached_calls) == (0, 8)
        other = EnsembleTeacher("f", HEAD, through, [2, 1])
        ask(other, rows, [LOGPROBS], Account(store))
        assert [len(member.asked) for member in members] == [8, 8]
        ids = [row.id for row in rows]
        np.testing.assert_allclose(first.array(ids, LOGPROBS), np.concatenate([logprobs(row) for row in rows]), atol=1e-6)


def test_what_the_store_is_told_of_refusals_and_failures(tmp_path):
    rows = examples(3)
    says = {"text number 0": Refused("no"), "text number 1": Failed("timeout")}
    with LabelStore(tmp_path / "labels") as store:
        answers = dict(Through(Fake(says=says), Account(store)).answer(rows, [LOGPROBS]))
    assert [answers[row.id] for row in rows[:2]] == [Refused("no"), Failed("timeout")]
    assert isinstance(answers[rows[2].id], Answered)
