"""What a student loses against kept answers is what it loses against a teacher that is asked in every step, each way within its error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from potstill.errors import StoreError, UserError
from potstill.labels import Account, LabelStore, ask
from potstill.labels.tokens import Keep, Levels, fit
from potstill.labels.tokens.coders import HiddenCoder, SampledCoder, SparseCoder, positions
from potstill.objectives.tokens import models
from potstill.objectives.tokens.divergences import forward_kl, jsd, reverse_kl
from potstill.objectives.tokens.loss import token_loss
from potstill.records import Want
from potstill.serving.turns import IGNORED, NEXT
from potstill.training.columns import AskedAnew, KeptStates, KeptTokens, check
from tests import tiny
from tests.teachers.test_causal import opened, rows

STATES = Want("states")
BATCHES = ([3, 0, 2], [5, 1], [4, 0])  # in an order of their own; row 4 has nothing to learn
EXACT = Keep(1.0, 0.0, 1024)
FINE = Levels(step=0.01, growth=0.0, widest=0.01)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return opened(tiny.decoder(tmp_path_factory.mktemp("columns") / "teacher"))


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = tiny.decoder(tmp_path_factory.mktemp("columns") / "student", hidden=16, layers=1, seed=1)
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def online(teacher):
    items = teacher.items(rows())
    return AskedAnew(lambda batch: teacher.ask([items[i] for i in batch]), teacher.head, len(items), teacher.distribution)


@pytest.fixture(scope="module")
def book(teacher):
    whole = teacher.distribution(teacher.ask(teacher.items(rows()))).numpy()
    return fit(whole, EXACT, FINE)


@pytest.fixture
def kept(teacher, tmp_path):
    """From a coder to the column of what the store keeps by it."""
    with LabelStore(tmp_path / "labels") as store:

        def column(coder):
            teacher.teach(coder)
            want, ids = Want("tokens", coded=coder.name), [row.id for row in rows()]
            values = ask(teacher, rows(), [want], Account(store)).arrays(ids, want)
            check(positions([value[0].data for value in values]), teacher.items(rows()), want)
            return KeptTokens(values, coder.way, coder.decode, teacher.head if coder.way == "hidden" else None)

        yield column


def loss(student, teacher, column, batch, divergence=None, double=False):
    """The mean loss a position, and the gradient of the student's table."""
    items = teacher.items(rows())
    arrays = {name: torch.from_numpy(array) for name, array in teacher.turns.collate([items[i] for i in batch]).items()}
    student.zero_grad()
    states = models.states_of(student, {name: arrays[name] for name in teacher.turns.inputs})
    found = token_loss(states, models.head_of(student), column.gather(batch), divergence=divergence or forward_kl(), mask=arrays[NEXT] != IGNORED)
    found.mean.backward()
    return float(found.mean.detach()), student.get_input_embeddings().weight.grad.clone()


def near(one, other) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("divergence", [forward_kl(), reverse_kl(), jsd(0.3)], ids=lambda d: d.name)
def test_states_and_hidden_rows_lose_what_the_teacher_would_say(student, teacher, online, kept, divergence, tmp_path):
    with LabelStore(tmp_path / "states") as store:
        arrays = ask(teacher, rows(), [STATES], Account(store)).arrays([row.id for row in rows()], STATES)
        columns = [
            (KeptStates(arrays, teacher.head), 1e-3), (kept(HiddenCoder("bf16", teacher.head_digest)), 1e-2),
            (kept(HiddenCoder("int8", teacher.head_digest)), 2e-2), (AskedAnew(online.states, teacher.head, len(online)), 1e-5),
        ]  # fmt: skip
        for batch in BATCHES:
            told, gradient = loss(student, teacher, online, batch, divergence)
            for column, error in columns:
                found, own = loss(student, teacher, column, batch, divergence)
                assert found == pytest.approx(told, rel=error)
                assert near(own, gradient) < 3 * error
                assert len(column) == len(rows())


@pytest.mark.parametrize("divergence", [forward_kl(), reverse_kl(), jsd(0.3)], ids=lambda d: d.name)
def test_sparse_rows_of_the_whole_vocabulary_lose_the_same_but_for_their_grid(student, teacher, online, kept, book, divergence):
    column = kept(SparseCoder(EXACT, book))
    for batch in BATCHES:
        told, gradient = loss(student, teacher, online, batch, divergence)
        found, own = loss(student, teacher, column, batch, divergence)
        assert found == pytest.approx(told, rel=0.01)  # half a step of the grid is 0.005 nats
        assert near(own, gradient) < 0.01


def test_sparse_rows_lose_no_more_than_all_and_nearly_that(student, teacher, online, kept, book):
    for keep, share in ((Keep(0.999, 0.0, 512), 0.9), (Keep(0.9, 1e-2, 64), 0.4)):
        column = kept(SparseCoder(keep, book))
        for batch in BATCHES:
            told, found = (loss(student, teacher, one, batch)[0] for one in (online, column))
            assert share * told < found < told * 1.01


def test_drawn_rows_lose_in_the_mean_what_all_would(student, teacher, online, kept, book):
    batch = BATCHES[0]
    told, gradient = loss(student, teacher, online, batch)
    drawn = [loss(student, teacher, kept(SampledCoder(12, book, seed)), batch) for seed in range(40)]
    values = np.array([one[0] for one in drawn])
    assert abs(values.mean() - told) < 4 * values.std() / len(values) ** 0.5 + 0.02 * told  # drawn log-probabilities are rounded
    one, mean = near(drawn[0][1], gradient), near(torch.stack([one[1] for one in drawn]).mean(0), gradient)
    assert mean < one / 3


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_kept_states(teacher, kept):
    twin = teacher._model
    for weight in twin.parameters():
        weight.requires_grad_(True)
    try:
        items = teacher.items(rows())
        arrays = {name: torch.from_numpy(array) for name, array in teacher.turns.collate(items).items()}
        states = models.states_of(twin, {name: arrays[name] for name in teacher.turns.inputs})
        column = AskedAnew(lambda batch: teacher.ask([items[i] for i in batch]), teacher.head, len(items))
        found = token_loss(states, models.head_of(twin), column.gather(range(len(items))), mask=arrays[NEXT] != IGNORED)
        found.mean.backward()
        assert float(found.mean.detach()) < 1e-6
        assert max(float(weight.grad.abs().max()) for weight in twin.parameters()) < 1e-5
    finally:
        twin.requires_grad_(False)
        twin.zero_grad(set_to_none=True)


def test_answers_of_other_positions_are_refused(teacher):
    items, want = teacher.items(rows()), Want("tokens", coded="x")
    told = [int(item["learnt"].sum()) for item in items]
    check(told, items, want)
    with pytest.raises(UserError, match="row 2: the teacher answers at"):
        check([*told[:2], told[2] - 1, *told[3:]], items, want)
    with pytest.raises(UserError, match="5 answers to 6 rows"):
        check(told[:-1], items, want)
    with pytest.raises(StoreError, match="no header"):
        positions([b"something else, and long enough for one"])


def test_a_way_that_is_none_is_refused(teacher):
    with pytest.raises(UserError, match="known: sparse"):
        KeptTokens([], "dense", lambda values: {})
    with pytest.raises(UserError, match="without a head"):
        KeptTokens([], "hidden", lambda values: {})
