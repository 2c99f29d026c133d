"""The fit of trees: its gradients are the objectives', it keeps the best round, stops in time, and goes on where it was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from potstill.errors import UserError
from potstill.evaluation.statistics import Score
from potstill.objectives.build import LOGPROBS
from potstill.objectives.build import build as objectives
from potstill.records import Head
from potstill.runlog import RunLog
from potstill.students.protocol import Output
from potstill.training import boosting
from potstill.training.gradients import Goal, log_softmax
from potstill.training.records import TrainingRows
from tests.training.boosted import DATA, GOLD, TERMS, agreement, fitted, fresh, rows, spec


# ---------------------------------------------------------------------------------------------------------- gradients
@pytest.mark.parametrize(
    "terms",
    [
        [{"kind": "logits", "weight": 1.0, "kd_temperature": t}] for t in (0.5, 1.0, 2.0, 8.0)
    ]
    + [[{"kind": "logits", "weight": 0.7, "loss": "mse"}], [{"kind": "hard", "weight": 2.0}], TERMS],
)  # fmt: skip
def test_gradients_and_losses_are_those_of_the_objectives(terms):
    """The loop's loss of one batch of all rows, by autograd."""
    student = fresh()
    given = rows(student)
    scores = np.random.default_rng(3).normal(size=(300, 3)) * 3
    goal = Goal.of(given, terms, 3)
    losses, gradient, curvature = goal(scores)
    built, _ = objectives(terms, head_width=3, student_layers=0, student_width=0, teacher_layers=0, teacher_width=0, seed=0)
    logits = torch.tensor(scores, requires_grad=True)
    answers = {LOGPROBS: torch.from_numpy(np.concatenate(given.teacher[LOGPROBS])).double()}
    parts = [term(Output(logits), answers, torch.from_numpy(given.gold)) for term in built]
    loss = sum(term.weight * total / count for term, (total, count) in zip(built, parts))
    loss.backward()
    assert goal.total(losses) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert losses == pytest.approx({term.name: float((total / count).detach()) for term, (total, count) in zip(built, parts)}, rel=1e-5)
    np.testing.assert_allclose(gradient, 300 * logits.grad.numpy(), atol=1e-5)
    assert (curvature > 0).all()


@pytest.mark.parametrize("loss", ["kl", "mse"])
def test_curvatures_are_second_derivatives(loss):
    student = fresh()
    goal = Goal.of(rows(student), [{"kind": "logits", "weight": 1.0, "kd_temperature": 2.0, "loss": loss}], 3)
    scores, step = np.random.default_rng(0).normal(size=(300, 3)), 1e-5
    wide = 1.5 if loss == "kl" else 1.0  # classes / (classes - 1) on a softmax's
    for k in range(3):
        more, less = (goal(scores + sign * step * np.eye(3)[k])[1][:, k] for sign in (1, -1))
        np.testing.assert_allclose(goal(scores)[2][:, k], wide * (more - less) / (2 * step), rtol=1e-4)


def test_a_class_that_the_teacher_rules_out_is_learnt_by_kl_and_refused_by_mse():
    student = fresh()
    given = rows(student)
    given.teacher[LOGPROBS][0][0, 1] = -np.inf
    losses, gradient, _ = Goal.of(given, [{"kind": "logits", "weight": 1.0}], 3)(np.zeros((300, 3)))
    assert np.isfinite([*losses.values(), *gradient.ravel()]).all()
    with pytest.raises(UserError, match="probability 0"):
        Goal.of(given, [{"kind": "logits", "weight": 1.0, "loss": "mse"}], 3)


def test_what_trees_can_not_learn_by_is_named():
    student = fresh()
    with pytest.raises(UserError, match="hidden"):
        fitted(student=student, terms=[{"kind": "hidden", "weight": 1.0}])
    with pytest.raises(UserError, match="no row has one"):
        fitted(student=student, given=rows(student, gold=0.0), terms=[{"kind": "hard", "weight": 1.0}])
    with pytest.raises(UserError, match="label with it first"):
        fitted(student=student, given=TrainingRows(student.preprocess.encode(DATA[:300]), GOLD[:300]))
    with pytest.raises(UserError, match="rounds"):
        spec(rounds=0)
    with pytest.raises(UserError, match="learning_rate"):
        spec(learning_rate=1.5)


# ---------------------------------------------------------------------------------------------------------- the fit
def test_it_learns_and_keeps_the_fewest_rounds_that_are_best(tmp_path):
    student, history = fitted(tmp_path, rounds=40)
    scores = [score for _, _, score in history.evaluations]
    assert history.kept_score == max(scores) > 0.6
    assert history.kept_step == 1 + scores.index(max(scores))
    assert student.model.count("\nTree=") == 3 * history.kept_step
    assert agreement(log_softmax(student.scores(student.preprocess.encode(DATA[300:])))).value == history.kept_score
    assert set(history.terms) == {"logits", "hard"}
    assert history.terms["logits"][-1] < 0.6 * history.terms["logits"][0]
    json.dumps(history.as_json(), allow_nan=False)


def test_what_validation_is_asked_about_is_what_the_trees_say(tmp_path):
    seen = []

    def judge(logprobs):
        seen.append(logprobs)
        return Score(len(seen) / 100)  # the last is the best

    student, history = fitted(tmp_path, evaluate=judge, rounds=5)
    assert history.kept_step == 5
    np.testing.assert_allclose(seen[-1], log_softmax(student.scores(student.preprocess.encode(DATA[300:])).astype(np.float64)), atol=1e-6)


@pytest.mark.parametrize(("patience", "stop"), [(1, 3), (4, 6), (99, 12)])
def test_patience_ends_a_fit_that_gains_nothing(tmp_path, patience, stop):
    looks = iter([0.2, 0.5] + 20 * [0.5])
    student, history = fitted(tmp_path, evaluate=lambda logprobs: Score(next(looks)), patience=patience)
    assert (history.steps, history.kept_step, history.stopped_early) == (stop, 2, stop < 12)
    assert student.model.count("\nTree=") == 3 * 2


def test_the_same_trees_whatever_the_threads_and_the_run(tmp_path):
    one, again, two = (fitted(tmp_path / str(i), threads=threads)[0].model for i, threads in enumerate((1, 1, 2)))
    assert one == again == two


def test_progress_tells_every_round_and_nothing_else_is_said(tmp_path, capfd):
    said = []
    fitted(tmp_path, progress=lambda *what: said.append(what))
    assert [done for done, _, _ in said] == list(range(1, 13))
    assert all(total == 12 and detail.startswith("loss ") and "validation" in detail for _, total, detail in said)
    assert capfd.readouterr() == ("", "")


def test_two_classes_can_be_learnt_too(tmp_path):
    student = fresh(Head("classes", ("a", "b")))
    given = TrainingRows(student.preprocess.encode(DATA[:300]), GOLD[:300] % 2)
    history = fitted(
        tmp_path / "two",
        student=student,
        given=given,
        terms=[{"kind": "hard", "weight": 1.0}],
        evaluate=lambda said: Score(float((said.argmax(1) == GOLD[300:] % 2).mean())),
    )[1]
    assert history.kept_score > 0.6


def test_too_few_rows_to_split_are_refused(tmp_path, capfd):
    student = fresh()
    given = TrainingRows(student.preprocess.encode(DATA[:30]), GOLD[:30])
    with pytest.raises(UserError, match="30 rows are too few for trees"):
        fitted(tmp_path, student=student, given=given, terms=[{"kind": "hard", "weight": 1.0}])
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------------------------------------------------- resuming
@pytest.mark.parametrize("at", [3, 10, 17, 25])
def test_interrupted_it_goes_on_to_the_same_trees(tmp_path, at):
    whole, told = fitted(tmp_path / "whole", rounds=25)
    calls = []

    def dies(logprobs):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return agreement(logprobs)

    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "cut", rounds=25, evaluate=dies)
    said = []
    again, history = fitted(tmp_path / "cut", rounds=25, log=RunLog(listeners=[said.append]), progress=lambda *what: said.append(what))
    resumed = [event for event in said if isinstance(event, dict) and event["event"] == "train.resume"]
    assert [event["step"] for event in resumed] == ([(at - 1) // 10 * 10] if at > 10 else [])
    assert again.model == whole.model
    assert (history.evaluations, history.kept_step, history.terms) == (told.evaluations, told.kept_step, told.terms)


def test_a_finished_fit_is_not_fitted_again(tmp_path):
    whole, told = fitted(tmp_path)
    again, history = fitted(tmp_path, evaluate=lambda logprobs: pytest.fail("asked again"))
    assert again.model == whole.model
    assert history.as_json() == told.as_json() | {"seconds": history.seconds}


def test_another_fit_does_not_go_on_from_this_one(tmp_path):
    fitted(tmp_path)
    for change in ({"learning_rate": 0.2}, {"given": rows(fresh(), seed=1)}, {"terms": TERMS[:1]}):
        said = []
        fitted(tmp_path, log=RunLog(listeners=[said.append]), **change)
        assert not [event for event in said if event["event"] == "train.resume"]


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_trees(tmp_path):
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.training.boosted import agreement, fitted\n"
        "def slow(logprobs):\n"
        "    time.sleep(0.02)\n"
        "    return agreement(logprobs)\n"
        "fitted(Path(sys.argv[1]), rounds=100, patience=100, evaluate=slow)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "cut")])
    while not (tmp_path / "cut" / boosting.CHECKPOINT).is_file():
        assert child.poll() is None
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    again, history = fitted(tmp_path / "cut", rounds=100, patience=100)
    whole, told = fitted(tmp_path / "whole", rounds=100, patience=100)
    assert again.model == whole.model
    assert history.evaluations == told.evaluations
