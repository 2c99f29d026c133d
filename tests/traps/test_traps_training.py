"""TRAPS.md A and B, where the training loop can fall into it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open
from scipy.special import log_softmax, rel_entr

from potstill.evaluation.statistics import Score
from potstill.objectives.build import LOGPROBS
from potstill.records import Want
from potstill.training import loop
from potstill.training.records import TrainingRows
from tests.training import toy
from tests.training.ranks import run


def train(scratch, *, student=None, given=None, learnt=None, evaluate=lambda student: Score(0.0), **changes):
    student = student or toy.Toy()
    history = loop.train(
        student, given or toy.rows(), terms=learnt or toy.terms(), spec=toy.spec(**{"patience": 99, **changes}), evaluate=evaluate,
        scratch=scratch,
    )  # fmt: skip
    return student, history


def gradients(scratch, monkeypatch, **changes):
    """Return the gradients of every step of a float64 training, as the optimizer meets them."""
    found = []
    real = torch.optim.AdamW.step

    def record(self, *args, **kwargs):
        found.append([p.grad.clone() for group in self.param_groups for p in group["params"]])
        return real(self, *args, **kwargs)

    learnt = toy.terms()
    for term in learnt:
        term.module.double()
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", record)
        train(scratch, student=toy.Toy(double=True), learnt=learnt, given=toy.rows(gold=0.4), clip=1e9, **changes)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_trap_13_micro_batches_change_no_gradient(tmp_path, monkeypatch, size):
    """Rows have 1 to 12 tokens and gold only now and then, so parts weigh differently in every term."""
    whole, parts = gradients(tmp_path / "whole", monkeypatch), gradients(tmp_path / "parts", monkeypatch, micro_batch=size)
    assert len(whole) == len(parts) == 12
    for one, other in zip(whole, parts):
        for expected, found in zip(one, other):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_trap_09_a_step_without_gold_leaves_the_student_whole(tmp_path):
    given = toy.rows()
    gold = np.full(len(given), -1)
    gold[0] = 1
    student, history = train(tmp_path, given=TrainingRows(given.items, gold), learnt=toy.terms({"kind": "hard", "weight": 1.0}))
    assert all(torch.isfinite(value).all() for value in student.module.state_dict().values())
    assert np.isfinite([loss for _, loss, _ in history.evaluations]).all()


def test_trap_29_validation_and_training_loss_have_one_scale(tmp_path):
    given = toy.rows(gold=0.5)
    student = toy.Toy()
    logprobs, teacher = loop.predict(student, given.items).astype(np.float64), np.concatenate(given.teacher[LOGPROBS]).astype(np.float64)
    specs = ({"kind": "hard", "weight": 0.3}, {"kind": "logits", "weight": 2.0, "kd_temperature": 1.0})
    history = train(tmp_path, student=student, given=given, learnt=toy.terms(*specs), learning_rate=0, batch_size=len(given))[1]
    known = given.gold >= 0
    hard = -logprobs[known, given.gold[known]].mean()
    soft = rel_entr(np.exp(log_softmax(teacher, -1)), np.exp(logprobs)).sum(-1).mean()
    assert [history.terms[name] for name in ("hard", "logits")] == [pytest.approx([value] * 3, rel=1e-4) for value in (hard, soft)]
    assert [loss for _, loss, _ in history.evaluations] == pytest.approx([0.3 * hard + 2 * soft] * 3, rel=1e-4)


def test_trap_34_projections_stay_out_of_the_student(tmp_path):
    student, _ = train(tmp_path)
    assert student.module.state_dict().keys() == toy.Toy().module.state_dict().keys()
    (folder,) = tmp_path.glob("checkpoint-*")
    for name in ("student", "best"):
        with safe_open(folder / f"{name}.safetensors", "pt") as file:
            assert set(file.keys()) == set(student.module.state_dict())
    with safe_open(folder / "rest.safetensors", "pt") as file:
        assert "beside.1.maps.0.weight" in file.keys()


@pytest.mark.slow
def test_trap_37_two_processes_give_the_gradients_of_one(tmp_path):
    options = {"steps": 3, "evaluations": 1}
    one, two = run(tmp_path / "one", 1, **options), run(tmp_path / "two", 2, **options)
    assert one["gradients"].keys() == two["gradients"].keys()
    for name, gradient in one["gradients"].items():
        torch.testing.assert_close(two["gradients"][name], gradient, rtol=1e-9, atol=1e-12)


def test_trap_39_every_training_batch_is_in_train_mode_and_no_validation_batch(tmp_path):
    student = toy.Toy(dropout=0.1)
    while_training, while_judged, judged = [], [], []
    student.module.register_forward_hook(lambda module, given, made: (while_judged if judged else while_training).append(module.training))

    def judge(student):
        judged.append(True)
        student.forward({"ids": torch.ones(1, 1, dtype=torch.int64)})
        loop.predict(student, toy.rows().items)
        judged.clear()
        return Score(0.0)

    steps = 2 * -(-len(toy.rows()) // 8)
    train(tmp_path, student=student, evaluate=judge, steps=steps, evaluations=4)
    assert while_training == [True] * steps
    assert len(while_judged) >= 4
    assert not any(while_judged)


def test_trap_43_each_row_meets_its_own_answers(tmp_path):
    given = toy.rows(60)
    want = Want("hidden", layer=2)
    marked = {want: [np.full((len(item["ids"]), 4), item["ids"].sum(), np.float32) for item in given.items]}
    marked[LOGPROBS] = [np.full((1, 3), item["ids"].sum(), np.float32) for item in given.items]
    seen = []

    class Watched(toy.Toy):
        def forward(self, batch, hidden=False):
            seen.append(batch["ids"])
            return super().forward(batch, hidden)

    learnt = toy.terms({"kind": "logits", "weight": 1.0}, {"kind": "hidden", "weight": 1.0, "layers": [[2, 1]]})
    real = loop.Learner.forward

    def check(self, part):
        sums = part.inputs["ids"].sum(1)
        lengths = (part.inputs["ids"] > 0).sum(1)
        assert torch.equal(part.answers[LOGPROBS], sums[:, None].expand(-1, 3).float())
        assert torch.equal(part.answers[want], sums.repeat_interleave(lengths)[:, None].expand(-1, 4).float())
        assert torch.equal(part.gold, sums % 3)
        return real(self, part)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Learner, "forward", check)
        train(tmp_path, student=Watched(), given=TrainingRows(given.items, given.gold, marked), learnt=learnt, steps=16)
    assert len(seen) == 16
