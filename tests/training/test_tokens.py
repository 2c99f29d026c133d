"""A student that writes learns from every shape of answer, in any batch, side by side or apart, and goes on where it was killed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from potstill.errors import UserError
from potstill.evaluation.generation import AGREED, BYTES, KL, NATS, RIGHT, TOKENS, measured
from potstill.evaluation.statistics import Score
from potstill.objectives.build import build as build_terms
from potstill.objectives.tokens.column import Held, Trimmed, joined
from potstill.objectives.tokens.loss import token_loss
from potstill.objectives.tokens.targets import Full, Sparse
from potstill.serving.turns import NEXT, learnt
from potstill.training import loop, measures, tokens
from tests import tiny
from tests.training.writing import ROWS, SHAPES, close, column, gradients, made, rows_of, said, spec, terms


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.decoder(tmp_path_factory.mktemp("teacher") / "model", layers=3)


# ------------------------------------------------------------------------------------------------------------- what is learnt
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jsd", "skew_kl"])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(source, shape, divergence):
    if shape == "sampled" and divergence != "forward_kl":
        pytest.skip("refused, see below")
    student = made(source, layers=3)
    given = rows_of(student, column(student, student.preprocess.encode(ROWS), shape))
    far = gradients(made(source, layers=1), given, terms(divergence=divergence), [range(6)])
    near = gradients(student, given, terms(divergence=divergence), [range(6)])
    assert max(float(g.abs().max()) for g in far.values()) > 1e-3
    assert max(float(g.abs().max()) for g in near.values()) < 1e-5


def test_full_hidden_and_a_top_of_everything_are_one_loss(source):
    teacher, student = made(source, layers=3), made(source)
    items = student.preprocess.encode(ROWS)
    found = [gradients(student, rows_of(student, column(teacher, items, shape)), terms(hard=0.5), [range(6)]) for shape in ("full", "hidden", "all of it")]
    close(found[0], found[1], atol=1e-6)
    close(found[0], found[2], atol=1e-5)


def test_hard_labels_are_the_loss_of_transformers(source):
    """Another's way to the same: labels at their own places, shifted within the model."""
    student = made(source)
    (item,) = student.preprocess.encode([ROWS[0]])
    model = AutoModelForCausalLM.from_pretrained(source)
    model.model.layers = torch.nn.ModuleList([model.model.layers[0], model.model.layers[2]])
    ids, wanted = (torch.from_numpy(item[name])[None] for name in ("input_ids", "learnt"))
    loss = model(input_ids=ids, labels=torch.where(wanted > 0, ids, -100), use_cache=False).loss
    loss.backward()
    own = gradients(student, rows_of(student), terms(weight=0, hard=1), [[0]])
    learner = tokens.Learner(student, terms(weight=0, hard=1), "fp32")
    (part,) = tokens.parts(student, rows_of(student), [0], frozenset(), spec())
    torch.testing.assert_close((learner(part) / learner.counts(part)).sum().float(), loss.detach())
    theirs = {name: p.grad for name, p in model.named_parameters()}
    assert own.keys() == theirs.keys()
    for name in own:
        torch.testing.assert_close(own[name], theirs[name], atol=1e-6, rtol=1e-4)


def test_a_term_weighs_its_parts(source):
    teacher, student = made(source, layers=3), made(source, double=True)
    given = rows_of(student, column(teacher, student.preprocess.encode(ROWS), "full"))
    soft, hard, both = (gradients(student, given, terms(**w), [range(6)]) for w in ({}, {"weight": 0, "hard": 1}, {"weight": 2, "hard": 0.5}))
    close(both, {name: 2 * soft[name] + 0.5 * hard[name] for name in soft}, atol=1e-6)  # norms compute in float32


def test_only_those_objectives_that_it_can_use(source):
    shape = {"head_width": 0, "student_layers": 2, "student_width": 32, "teacher_layers": 3, "teacher_width": 32, "seed": 0}
    found, left_out = build_terms([{"kind": "hidden", "weight": 1.0}, {"kind": "tokens"}], **shape, head_kind="tokens")
    assert ([term.name for term in found], left_out) == (["tokens"], ["hidden"])
    with pytest.raises(UserError, match="can use none of its objectives: tokens"):
        build_terms([{"kind": "tokens"}], **{**shape, "head_width": 3})
    assert {want.kind for want in found[0].needs} == {"states"}
    assert terms(weight=0, hard=1)[0].gold


# ------------------------------------------------------------------------------------------------------------------ batches
@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("shape", ["full", "sparse"])
def test_micro_batches_and_packing_change_no_gradient(source, shape, pack):
    teacher, student = made(source, layers=3), made(source, double=True)
    given = rows_of(student, column(teacher, student.preprocess.encode(ROWS), shape))
    learnt_by = terms(hard=0.3, kd_temperature=2.0)
    whole = gradients(student, given, learnt_by, [range(6)])
    for batches in ([[0], [1], [2], [3], [4], [5]], [[0, 1, 2], [3, 4, 5]], [[5, 3], [1, 4, 0, 2]]):
        close(gradients(student, given, learnt_by, batches, pack), whole)
    for most in (1, 60, 100):  # a text of several windows is cut between them
        close(gradients(student, given, learnt_by, [range(6)], pack, most), whole)


def test_a_packed_batch_has_less_padding_and_the_same_tokens(source):
    student = made(source)
    items = student.preprocess.encode(ROWS)
    windows = [window for item in items for window in tokens.alone(item)]
    (apart, _, told, _), (packed, _, packed_told, _) = (next(way(student.preprocess, windows, 4096)) for way in (tokens.apart, tokens.packed))
    assert torch.equal(told, packed_told)
    assert packed["input_ids"].numel() < apart["input_ids"].numel()
    assert len(told) == sum(learnt(item) for item in items)


def test_rows_without_an_answer_teach_nothing(source):
    student = made(source)
    given = rows_of(student, column(student, student.preprocess.encode(ROWS), "sparse"))
    found = gradients(student, given, terms(), [[3]])
    assert all(not bool(g.any()) for g in found.values())


# ------------------------------------------------------------------------------------------------------------------ the loop
def train(scratch, student, given, learnt_by=None, progress=lambda *_: None, **changes):
    items, sizes = given.items, np.ones(len(given))

    def judge(trained):
        measure = measures.measure(trained, items, sizes, given.column)
        return Score(-np.nansum(measure[:, NATS]) / measure[:, TOKENS].sum(), 0.0)

    return loop.train(student, given, terms=learnt_by or terms(), spec=spec(**changes), evaluate=judge, scratch=scratch, progress=progress)


@pytest.mark.parametrize("changes", [{}, {"pack": True}, {"pack": True, "precision": "bf16"}, {"micro_batch": 1}])
def test_it_learns_what_its_teacher_says(source, tmp_path, changes):
    teacher, student = made(source, layers=3), made(source, layers=1)
    given = rows_of(student, column(teacher, student.preprocess.encode(ROWS), "hidden"))
    before = np.nansum(measures.measure(student, given.items, np.ones(6), given.column)[:, KL])
    history = train(tmp_path, student, given, steps=60, learning_rate=1e-2, **changes)
    after = np.nansum(measures.measure(student, given.items, np.ones(6), given.column)[:, KL])
    assert after < 0.5 * before
    assert history.terms["tokens"][-1] < history.terms["tokens"][0]
    assert not student.module.training


def test_a_control_learns_without_a_teacher(source, tmp_path):
    student = made(source)
    given = rows_of(student)
    before = measures.measure(student, given.items, np.ones(6))
    train(tmp_path, student, given, terms(weight=0, hard=1), steps=30, learning_rate=1e-2)
    after = measures.measure(student, given.items, np.ones(6))
    assert after[:, NATS].sum() < 0.7 * before[:, NATS].sum()
    assert np.isnan(after[:, [KL, AGREED]]).all()


@pytest.mark.parametrize("changes", [{}, {"lora": SimpleNamespace(rank=2, alpha=4.0)}, {"checkpointing": True}])
def test_it_goes_on_where_it_was_killed_to_the_same_bits(source, tmp_path, changes):
    teacher = made(source, layers=3)

    def run(scratch, stop=None):
        student = made(source, **changes)
        given = rows_of(student, column(teacher, student.preprocess.encode(ROWS), "sparse"))

        def progress(step, steps, words):
            if step == stop:
                raise KeyboardInterrupt

        return student, train(scratch, student, given, terms(hard=0.5), progress)

    whole, history = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", stop=6)
    cut, again = run(tmp_path / "cut")
    assert [look[1:] for look in again.evaluations] == [look[1:] for look in history.evaluations]
    for one, other in zip(whole.module.parameters(), cut.module.parameters()):
        assert torch.equal(one, other)
    plain = dict(made(source, **changes).module.named_parameters())
    moved = {name for name, p in cut.module.named_parameters() if not torch.equal(p, plain[name])}
    assert moved == {name for name, p in cut.module.named_parameters() if p.requires_grad}


# --------------------------------------------------------------------------------------------------------- what does not fit
def test_what_was_not_asked_for_is_missed_at_the_start(source, tmp_path):
    student = made(source)
    with pytest.raises(UserError, match="'tokens' needs what the teacher says"):
        train(tmp_path, student, rows_of(student))
    with pytest.raises(UserError, match="no row has a token that is to be learnt"):
        train(tmp_path, student, rows_of(student, given=[ROWS[3]]), terms(weight=0, hard=1))


def test_answers_to_other_positions_are_refused(source, tmp_path):
    student = made(source)
    items = student.preprocess.encode(ROWS)
    told = column(student, items, "full").targets
    with pytest.raises(UserError, match="the teacher's answers to rows 0 are"):
        train(tmp_path, student, rows_of(student, Held([told[0].__class__(told[0].logits[1:]), *told[1:]])))


def test_reverse_kl_can_not_be_had_from_draws(source, tmp_path):
    student = made(source)
    given = rows_of(student, column(student, student.preprocess.encode(ROWS), "sampled"))
    with pytest.raises(UserError, match="no reverse_kl from sampled"):
        train(tmp_path, student, given, terms(divergence="reverse_kl"))


def test_targets_of_one_shape_stand_end_to_end():
    one, two = (
        Sparse(torch.tensor([[3]]), torch.tensor([[-0.5]]), torch.tensor([0.4])),
        Sparse(torch.zeros(0, 2, dtype=torch.long), torch.zeros(0, 2), torch.zeros(0)),
    )
    made_of = joined([one, two])
    assert made_of.ids.tolist() == [[3, 0]]
    assert made_of.logprobs.tolist() == [[-0.5, -np.inf]]
    with pytest.raises(UserError, match="Full, Sparse can't stand end to end"):
        joined([one, Full(torch.zeros(1, 3))])


# ------------------------------------------------------------------------------------------------------------------ measures
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tile", [1 << 20, 4 * 520 * 3])
def test_measures_are_those_of_whole_logits(source, shape, tile, monkeypatch):
    monkeypatch.setattr(measures, "TILE_BYTES", tile)
    teacher, student = made(source, layers=3), made(source)
    items = student.preprocess.encode(ROWS)
    told = column(teacher, items, shape)
    sizes = np.array([student.preprocess.size(row) for row in ROWS])
    student.module.train()
    found = measures.measure(student, items, sizes, told, batch_size=4)
    assert student.module.training
    student.module.eval()
    for row, (item, full) in enumerate(zip(items, column(teacher, items, "full").targets)):
        given = {name: torch.from_numpy(array) for name, array in student.preprocess.collate([item]).items()}
        with torch.inference_mode():
            own = student.forward(given).logits.numpy()
        ahead = given[NEXT][given[NEXT] != -100].numpy()
        by_hand = measured(own, ahead, full.logits.numpy()) if len(own) else np.zeros((0, 4))
        assert found[row, TOKENS] == len(ahead) == learnt(item)
        assert found[row, BYTES] == sizes[row]
        np.testing.assert_allclose(found[row, [NATS, RIGHT]], by_hand[:, [0, 3]].sum(0), rtol=1e-5)
        if shape == "sampled":
            assert np.isnan(found[row, AGREED]) or not len(ahead)
        else:
            assert found[row, AGREED] == by_hand[:, 2].sum()
        if shape in ("full", "hidden", "all of it"):
            np.testing.assert_allclose(found[row, KL], by_hand[:, 1].sum(), rtol=1e-4, atol=1e-5)
        if shape == "sparse":
            assert 0 <= found[row, KL] <= by_hand[:, 1].sum() * (1 + 1e-6)


def test_a_model_against_itself_differs_in_nothing(source):
    student = made(source)
    items = student.preprocess.encode(ROWS)
    found = measures.measure(student, items, np.ones(6), column(student, items, "hidden"))
    assert (found[:, KL] < 1e-5).all()
    assert np.array_equal(found[:, AGREED], found[:, TOKENS])


# ---------------------------------------------------------------------------------------------------------------- vocabulary
@pytest.mark.parametrize("shape", SHAPES)
def test_to_fewer_tokens_a_teacher_says_what_it_says_among_them(source, shape):
    student = made(source, layers=3)
    items = student.preprocess.encode(ROWS)
    kept = torch.from_numpy(np.random.default_rng(0).permutation(520)[:500].copy())
    rows = [0, 2, 5]
    whole, told = column(student, items, shape), Trimmed(column(student, items, shape), kept).gather(rows)
    head, states = student.token_head(), torch.cat([said(student, items)[row] for row in rows])
    small = replace(head, weight=head.weight[kept])
    with torch.no_grad():
        among, ignorant = token_loss(states, small, told), token_loss(states * 0, small, told)
    assert told.rows == whole.gather(rows).rows == len(states)
    if shape in ("full", "hidden", "all of it"):
        assert float(among.total) < 1e-4
    elif shape == "sparse":  # of the tail's the student lacks some, and nobody knows how many
        assert float(among.total) < 0.05 * float(ignorant.total)
    else:
        assert (told.ids < 500).all()
        assert torch.all((told.weights.sum(1) - 1).abs() < 1e-5)
