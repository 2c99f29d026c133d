"""The loop learns, keeps the best, stops in time, goes on where it was killed, and leaves torch as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from potstill import storage
from potstill.errors import UserError
from potstill.evaluation.statistics import Score
from potstill.objectives.build import LOGPROBS
from potstill.records import Want
from potstill.runlog import RunLog
from potstill.training import loop
from potstill.training.records import TrainingRows
from tests.training.toy import CLASSES, Toy, rows, spec, terms

ROWS = rows()


def train(scratch, *, student=None, evaluate=None, given=ROWS, learnt=None, **changes):
    student, judge = student or Toy(), evaluate or agreement
    progress, log = changes.pop("progress", lambda *_: None), changes.pop("log", None)
    history = loop.train(
        student, given, terms=learnt or terms(), spec=spec(**changes), evaluate=lambda trained: Score(*np.atleast_1d(judge(trained)).tolist()), scratch=scratch,
        progress=progress, log=log,
    )  # fmt: skip
    return student, history


def agreement(student):
    return float((loop.predict(student, ROWS.items).argmax(1) == ROWS.gold).mean())


def weights(student):
    return {name: value.clone() for name, value in student.module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns(tmp_path):
    before = agreement(Toy())
    student, history = train(tmp_path, steps=200, learning_rate=3e-2, patience=8, evaluations=8)
    assert agreement(student) == history.kept_score >= before + 0.3
    assert history.terms["logits"][-1] < 0.7 * history.terms["logits"][0]
    assert set(history.terms) == {"logits", "hidden", "hard"}
    assert all(len(means) == len(history.evaluations) for means in history.terms.values())
    by_hand = [sum(w * means[k] for w, means in zip((1, 0.5, 0.25), history.terms.values())) for k in range(len(history.evaluations))]
    assert [loss for _, loss, _ in history.evaluations] == pytest.approx(by_hand)
    assert not student.module.training
    json.dumps(history.as_json(), allow_nan=False)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path):
    one, same_seed, other = (weights(train(tmp_path / str(i), student=Toy(dropout=0.2), seed=s)[0]) for i, s in enumerate((1, 1, 2)))
    assert same(one, same_seed)
    assert not same(one, other)


def test_the_best_weights_are_kept_and_nothing_after_them(tmp_path):
    seen = []

    def judge(student):
        seen.append(weights(student))
        return [0.1, 0.9, 0.3][len(seen) - 1]

    student, history = train(tmp_path, evaluate=judge)
    assert history.kept_step == 8
    assert same(weights(student), seen[1])
    assert not same(seen[1], seen[2])


@pytest.mark.parametrize(("error", "kept"), [(0.0, 4), (0.04, 4), (0.06, 12), (0.7, 12)])
def test_of_weights_that_validation_can_not_tell_apart_the_latest_are_kept(tmp_path, error, kept):
    looks = iter([(0.9, error), (0.3, 0.0), (0.85, 0.0)])
    history = train(tmp_path, evaluate=lambda student: next(looks))[1]
    assert (history.kept_step, history.best_score, history.best_error) == (kept, 0.9, error)
    assert history.kept_score == (0.9 if kept == 4 else 0.85)


def test_the_last_of_equals_is_kept(tmp_path):
    assert train(tmp_path, evaluate=lambda student: 0.5)[1].kept_step == 12


@pytest.mark.parametrize(("patience", "stop"), [(1, 8), (2, 12), (9, 40)])
def test_patience_ends_a_training_that_gets_worse(tmp_path, patience, stop):
    looks = iter([0.5] + 9 * [0.4])
    history = train(tmp_path, steps=40, evaluations=10, patience=patience, evaluate=lambda student: next(looks))[1]
    assert (history.steps, history.kept_step, history.stopped_early) == (stop, 4, stop < 40)


@pytest.mark.parametrize(("steps", "evaluations"), [(12, 3), (10, 8), (15, 8), (3, 8), (1, 1), (100, 7)])
def test_validation_is_looked_at_as_often_as_asked_and_at_the_end(tmp_path, steps, evaluations):
    looks = sorted(spec(steps=steps, evaluations=evaluations).looks)
    assert len(looks) == min(steps, evaluations)
    assert looks[-1] == steps
    if steps <= 15:
        history = train(tmp_path, steps=steps, evaluations=evaluations, patience=99)[1]
        assert [step for step, *_ in history.evaluations] == looks


def test_progress_tells_every_step_and_the_loss(tmp_path):
    said = []
    train(tmp_path, steps=50, evaluations=1, progress=lambda *what: said.append(what))
    assert [done for done, _, _ in said] == list(range(1, 51))
    assert said[25][2].startswith("loss ")
    assert "validation" in said[-1][2]


def test_torch_is_left_as_it_was(tmp_path):
    torch.manual_seed(7)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    for bad in (False, True):
        try:
            train(tmp_path / str(bad), student=Toy(dropout=0.2), threads=threads + 1, steps=1, evaluations=1, evaluate=(lambda student: 1 / 0) if bad else None)
        except ZeroDivisionError:
            assert bad
        assert torch.equal(before, torch.get_rng_state())
        assert torch.get_num_threads() == threads


def test_only_what_terms_need_is_read(tmp_path):
    class Guarded(dict):
        def __getitem__(self, want):
            assert want == LOGPROBS, "an answer that no term needs was read"
            return super().__getitem__(want)

    given = TrainingRows(ROWS.items, ROWS.gold, Guarded(ROWS.teacher))
    train(tmp_path, given=given, learnt=terms({"kind": "logits", "weight": 1.0}))


def test_weights_decay_but_vectors_do_not(tmp_path):
    student = Toy()
    learner = loop.Learner(student, terms(), "fp32")
    matrices, vectors = loop._groups(learner, 0.1)
    names = {id(p): name for name, p in learner.named_parameters()}
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert {names[id(p)] for p in vectors["params"]} == {name for name in names.values() if name.endswith("bias") or "norm" in name}
    assert "beside.1.maps.0.weight" in {names[id(p)] for p in matrices["params"]}
    assert len(matrices["params"]) + len(vectors["params"]) == len(names)


def test_gradients_are_clipped_projections_included(tmp_path, monkeypatch):
    norms = []
    real = torch.optim.AdamW.step

    def record(self, *args, **kwargs):
        norms.append(torch.cat([p.grad.flatten() for group in self.param_groups for p in group["params"]]).norm().item())
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    train(tmp_path, clip=1e-3)
    assert norms == pytest.approx([1e-3] * 12, rel=1e-2)


def test_low_precision_computes_low_and_learns_the_same(tmp_path):
    kinds = []
    student = Toy()
    student.module.out.register_forward_hook(lambda module, given, made: kinds.append(made.dtype) if module.training else None)
    low = train(tmp_path / "low", student=student, precision="bf16", evaluate=lambda student: 0.0)[1]
    high = train(tmp_path / "high", precision="fp32", evaluate=lambda student: 0.0)[1]  # accelerate would refuse a second precision
    assert set(kinds) == {torch.bfloat16}
    assert (low.precision, high.precision) == ("bf16", "fp32")
    assert low.evaluations[-1][1] == pytest.approx(high.evaluations[-1][1], rel=2e-2)
    assert student.module.out.weight.dtype == torch.float32


# ------------------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("change", "words"),
    [({"learning_rate": 1e30, "clip": 1e30}, "diverged"), ({"evaluate": lambda student: float("nan")}, "diverged by step 4")],
)
def test_a_training_that_diverges_says_so(tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        train(tmp_path, **change)


def test_hidden_answers_of_other_tokens_name_the_row_and_both_counts(tmp_path):
    want = Want("hidden", layer=2)
    cut = [array if row != 5 else array[:-1] for row, array in enumerate(ROWS.teacher[want])]
    own = len(ROWS.items[5]["ids"])
    with pytest.raises(UserError, match=rf"row 5: the teacher's hidden:layer=2 has {own - 1} tokens, the student reads {own}"):
        train(tmp_path, given=TrainingRows(ROWS.items, ROWS.gold, {**ROWS.teacher, want: cut}))


def test_rows_that_lack_what_a_term_needs_are_refused(tmp_path):
    with pytest.raises(UserError, match="'logits' needs the teacher's logprobs"):
        train(tmp_path, given=TrainingRows(ROWS.items, ROWS.gold))
    with pytest.raises(UserError, match="'hard' learns from gold labels, and no row has one"):
        train(tmp_path, given=TrainingRows(ROWS.items, np.full(len(ROWS), -1), ROWS.teacher))
    with pytest.raises(UserError, match="differ in number"):
        TrainingRows(ROWS.items, ROWS.gold[:-1])
    with pytest.raises(UserError, match="no rows to learn from"):
        TrainingRows([], np.zeros(0, np.int64))


def test_mse_refuses_a_teacher_that_rules_classes_out(tmp_path):
    sure = [np.array([[0.0, -np.inf, -np.inf]], np.float32)] * len(ROWS)
    given = TrainingRows(ROWS.items, ROWS.gold, {LOGPROBS: sure})
    with pytest.raises(UserError, match="row 0: the teacher gives a class the probability 0"):
        train(tmp_path, given=given, learnt=terms({"kind": "logits", "weight": 1.0, "loss": "mse"}))
    history = train(tmp_path, given=given, learnt=terms({"kind": "logits", "weight": 1.0}))[1]
    assert np.isfinite([loss for _, loss, _ in history.evaluations]).all()


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch_size": 0}, {"clip": 0}, {"learning_rate": float("nan")}, {"precision": "fp8"}, {"optimizer": "adam"}])
def test_a_spec_that_cannot_be_run_is_refused(wrong):
    with pytest.raises(UserError, match=str(next(iter(wrong)))):
        spec(**wrong)


# --------------------------------------------------------------------------------------------------------------- resume
class Stop(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("at", [1, 4, 6, 8, 11, 12])
def test_interrupted_anywhere_it_ends_with_the_same_bits(tmp_path, at, optimizer):
    def stop(done, total, detail):
        if done == at:
            raise Stop

    judged = [0.1, 0.9, 0.3]
    looks = iter(judged)
    whole, expected = train(tmp_path / "whole", student=Toy(dropout=0.2), evaluate=lambda student: next(looks), micro_batch=3, optimizer=optimizer)
    looks = iter(judged)
    with pytest.raises(Stop):
        train(tmp_path / "cut", student=Toy(dropout=0.2), evaluate=lambda student: next(looks), micro_batch=3, optimizer=optimizer, progress=stop)
    looks = iter(judged[at // 4 :])
    student, history = train(tmp_path / "cut", student=Toy(dropout=0.2, seed=5) if at >= 4 else Toy(dropout=0.2), evaluate=lambda s: next(looks),
                             micro_batch=3, optimizer=optimizer)  # fmt: skip
    assert same(weights(student), weights(whole))
    assert {**history.as_json(), "seconds": 0} == {**expected.as_json(), "seconds": 0}


def test_a_finished_training_is_not_done_again(tmp_path):
    whole, expected = train(tmp_path)
    student, history = train(tmp_path, student=Toy(seed=3), evaluate=lambda student: 1 / 0)
    assert same(weights(student), weights(whole))
    assert history == expected


def test_a_checkpoint_of_another_training_is_not_used(tmp_path):
    train(tmp_path, seed=1)
    assert train(tmp_path, seed=2)[1].evaluations == train(tmp_path / "fresh", seed=2)[1].evaluations


def test_a_damaged_checkpoint_is_named_and_not_used(tmp_path):
    whole, _ = train(tmp_path)
    (folder,) = tmp_path.glob("checkpoint-*")
    file = folder / "rest.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    heard = []
    student, _ = train(tmp_path, log=RunLog(listeners=[heard.append]))
    assert "is damaged" in heard[0]["text"]
    assert same(weights(student), weights(whole))


def test_checkpoints_hold_no_pickle_and_only_the_last_stays(tmp_path):
    train(tmp_path)
    (folder,) = tmp_path.glob("checkpoint-*")
    assert folder.name == "checkpoint-00000012"
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "student.safetensors", "best.safetensors", "rest.safetensors"}
    assert storage.read_manifest(folder)["state"]["steps"] == 12


PROGRAM = """
import sys
from pathlib import Path
from safetensors.torch import save_file
from tests.training.test_loop import train, weights
from tests.training.toy import Toy
student, _ = train(Path(sys.argv[1]), student=Toy(dropout=0.2))
save_file(weights(student), sys.argv[2])
"""


def child(scratch, out, **environment):
    command = [sys.executable, "-c", PROGRAM, str(scratch), str(out)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["checkpoint.manifest.before:1", "checkpoint.before:2", "checkpoint.after:2", "checkpoint.manifest.after:3"])
def test_killed_at_a_write_point_it_ends_with_the_same_bytes(tmp_path, point):
    assert child(tmp_path / "whole", tmp_path / "whole.safetensors").returncode == 0
    killed = child(tmp_path / "cut", tmp_path / "none", POTSTILL_KILL_AT=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = child(tmp_path / "cut", tmp_path / "cut.safetensors")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "cut.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_a_full_disk_is_named_and_the_training_goes_on_after(tmp_path, monkeypatch):
    whole, _ = train(tmp_path / "whole")
    monkeypatch.setenv("POTSTILL_FULL_AT", f"checkpoint.before:{storage._counts.get('checkpoint.before', 0) + 2}")
    with pytest.raises(UserError, match="No space left"):
        train(tmp_path / "cut")
    monkeypatch.delenv("POTSTILL_FULL_AT")
    student, _ = train(tmp_path / "cut")
    assert same(weights(student), weights(whole))


def test_predict_keeps_row_order_and_mode():
    student = Toy(dropout=0.5)
    together = loop.predict(student, ROWS.items, batch_size=7)
    alone = np.concatenate([loop.predict(student, [item]) for item in ROWS.items])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert together.shape == (len(ROWS), CLASSES)
    assert student.module.training
    assert loop.predict(student, []).shape == (0, CLASSES)


def test_the_device_is_the_one_it_was(tmp_path):
    assert Accelerator().device.type in ("cpu", "cuda")
    student, _ = train(tmp_path)
    assert next(student.module.parameters()).device.type == "cpu"
