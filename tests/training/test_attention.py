"""Queries, keys and values through the loop: real students and teachers of several architectures, micro-batches, hooks, two processes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForSequenceClassification

from potstill.errors import TeacherError, UserError
from potstill.evaluation.statistics import Score
from potstill.objectives.build import build as build_terms
from potstill.records import Answered, Example, Head, Want
from potstill.students.attention import PROJECTIONS, heads, watched
from potstill.students.build import build as build_student
from potstill.students.build import load as load_student
from potstill.teachers.build import build as build_teacher
from potstill.training import general, loop
from potstill.training.learner import Learner, gather
from potstill.training.records import LoopSpec, TrainingRows
from tests import small, tiny

HEAD = Head("classes", tuple(sorted(small.CUES)))
ROWS = [Example.make({"text": row["text"]}, gold=row["label"]) for row in small.texts(24, 0)]
LOGITS, ATTENTION, RELATIONS = ({"kind": kind, "weight": weight} for kind, weight in (("logits", 1.0), ("attention", 0.1), ("relations", 2.0)))


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return tiny.classifier(tmp_path_factory.mktemp("wide") / "model", HEAD.labels, hidden=32, layers=3, heads=4)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    return tiny.classifier(tmp_path_factory.mktemp("narrow") / "model", HEAD.labels, hidden=24, layers=2, heads=3)


def lesson(teacher, source, *, layers=2, specs=(LOGITS, ATTENTION, RELATIONS), max_length=32):
    asked = SimpleNamespace(kind="model", model=str(teacher), max_length=32, batch_size=4, precision="fp32", labels={}, adapt=None, license="unknown",
                            output_license="unknown", usd_per_1000=0)  # fmt: skip
    knows = build_teacher(asked, HEAD, threads=1)
    spec = SimpleNamespace(kind="transformer", layers=layers, max_length=None)
    student = build_student(spec, HEAD, source=source, fields=("text",), seed=0, max_length=max_length)
    for module in student.module.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    facts = knows.facts()
    terms, left_out = build_terms(specs, head_width=3, student_layers=student.hidden_layers, student_width=student.width, teacher_layers=facts["layers"],
                                  teacher_width=facts["width"], seed=0, student_heads=heads(student.module), teacher_heads=facts["heads"])  # fmt: skip
    assert left_out == []
    wants = sorted({want for term in terms for want in term.needs}, key=lambda want: want.key)
    said = dict(knows.answer(ROWS, wants))
    assert all(isinstance(answer, Answered) for answer in said.values())
    answers = {want: [said[row.id].arrays[want] for row in ROWS] for want in wants}
    items = student.preprocess.encode([row.fields for row in ROWS])
    return student, terms, TrainingRows(items, np.array([HEAD.labels.index(row.gold) for row in ROWS]), answers)


def spec(**changes):
    return LoopSpec(**{"steps": 20, "batch_size": 8, "learning_rate": 3e-3, "evaluations": 4, "patience": 9, "precision": "fp32", "threads": 1, **changes})


def test_a_student_of_all_layers_has_its_teacher_s_relations(wide, tmp_path):
    """Rows of unequal length, shuffled: vectors beside the wrong row could not give 0 (float16 answers: nearly)."""
    student, terms, rows = lesson(wide, wide, layers=3)
    history = loop.train(student, rows, terms=terms, spec=spec(steps=3, evaluations=1, learning_rate=0.0), evaluate=lambda s: Score(0.0), scratch=tmp_path)
    assert history.terms["relations"][0] < 1e-5
    assert history.terms["attention"][0] < 1e-3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_narrower_student_with_other_heads_learns_them(wide, narrow, tmp_path, precision):
    student, terms, rows = lesson(wide, narrow)
    history = loop.train(student, rows, terms=terms, spec=spec(precision=precision), evaluate=lambda s: Score(0.0), scratch=tmp_path)
    for kind in ("attention", "relations"):
        assert history.terms[kind][-1] < 0.9 * history.terms[kind][0]


def test_trap_34_no_hook_and_no_vector_stays_with_the_student(wide, narrow, tmp_path):
    student, terms, rows = lesson(wide, narrow)
    before = sum(len(module._forward_hooks) for module in student.module.modules())
    loop.train(student, rows, terms=terms, spec=spec(steps=2, evaluations=1), evaluate=lambda s: Score(0.0), scratch=tmp_path / "scratch")
    assert sum(len(module._forward_hooks) for module in student.module.modules()) == before == 0
    student.save(tmp_path / "saved")
    config = AutoConfig.from_pretrained(tmp_path / "saved")
    with safe_open(tmp_path / "saved" / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(AutoModelForSequenceClassification.from_config(config).state_dict())
    assert load_student(tmp_path / "saved").hidden_layers == 2


def test_hooks_go_even_where_the_forward_pass_fails(wide):
    model = AutoModelForSequenceClassification.from_pretrained(wide)
    with pytest.raises(ValueError), watched(model, [1, 3]):
        model(nonsense=1)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("size", [1, 3, 8])
def test_trap_13_micro_batches_change_no_gradient_of_relations_and_maps(wide, narrow, size):
    student, terms, rows = lesson(wide, narrow)
    student.module.double()
    learner = Learner(student, terms, "fp32").train()
    wants, batch = frozenset(rows.teacher), np.array([3, 1, 7, 9, 20, 14, 2, 11])
    weights = torch.tensor([term.weight for term in terms])
    found = []
    for cut in (len(batch), size):
        parts = [gather(student, rows, batch[i : i + cut], wants) for i in range(0, len(batch), cut)]
        counts = torch.stack([learner.counts(part) for part in parts]).sum(0)
        student.module.zero_grad()
        for part in parts:
            (learner(part) / counts * weights).sum().backward()
        found.append([p.grad.clone() for p in student.module.parameters() if p.grad is not None])
    for whole, cut in zip(*found):
        torch.testing.assert_close(cut, whole, rtol=1e-6, atol=1e-10)


def test_other_tokens_are_refused(wide, tmp_path):
    student, terms, rows = lesson(wide, wide, max_length=6)
    with pytest.raises(UserError, match="same max_length"):
        loop.train(student, rows, terms=terms, spec=spec(), evaluate=lambda s: Score(0.0), scratch=tmp_path)


SHAPES = {
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 16},
    **{kind: {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16} for kind in PROJECTIONS if kind != "distilbert"},
    "electra": {"hidden_size": 16, "embedding_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16},
}


@pytest.mark.parametrize("kind", SHAPES)
def test_the_table_names_the_vectors_that_make_the_attention_map(kind):
    """The softmax of query times key is the map that the model itself reports, for all that add nothing to it."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=40, max_position_embeddings=40, initializer_range=0.5, **SHAPES[kind])
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    ids = torch.randint(5, 40, (2, 7))
    with watched(model, [1, 2]) as seen, torch.no_grad():
        out = model(ids, attention_mask=torch.ones_like(ids), output_attentions=True)
    assert heads(model) == 2
    for layer in (1, 2):
        query, key, value = seen[layer]
        assert query.shape == key.shape == value.shape == (2, 7, 16)
        one, other = (side.view(2, 7, 2, 8).transpose(1, 2) for side in (query, key))
        made = (one @ other.transpose(2, 3) / 8**0.5).softmax(-1)
        if kind != "mpnet":  # adds a bias for relative positions
            torch.testing.assert_close(made, out.attentions[layer - 1], rtol=1e-4, atol=1e-5)


def test_the_loss_on_held_out_text_is_that_of_training(wide, narrow, tmp_path):
    """Trap 29, of the general stage: with a rate of 0 and all rows in one batch both are one number."""
    student, _, rows = lesson(wide, narrow)
    terms, _ = build_terms([ATTENTION, RELATIONS], head_width=0, student_layers=2, student_width=24, teacher_layers=3, teacher_width=32, seed=0,
                           student_heads=3, teacher_heads=4)  # fmt: skip
    judged = general.judge(rows, terms, "fp32", batch_size=5)
    history = loop.train(student, rows, terms=terms, spec=spec(steps=1, evaluations=1, batch_size=24, learning_rate=0.0), evaluate=judged, scratch=tmp_path)
    assert -history.kept_score == pytest.approx(history.evaluations[0][1], rel=1e-5)


def test_rows_are_held_out_by_their_content():
    learnt, held = general.held_out(ROWS)
    again, same = general.held_out(ROWS[::-1])
    assert (len(learnt), len(held)) == (23, 1)
    assert {row.id for row in held} == {row.id for row in same}
    assert {row.id for row in learnt} == {row.id for row in again}
    assert general.held_out(ROWS[:1]) == (ROWS[:1], ROWS[:1])


def test_a_teacher_gives_no_layer_of_embeddings(wide):
    asked = SimpleNamespace(
        kind="model", model=str(wide), max_length=32, batch_size=4, precision="fp32", labels={}, license="", output_license="", usd_per_1000=0
    )
    for layer in (0, 4, None):
        with pytest.raises(TeacherError, match="has no layer"):
            list(build_teacher(asked, HEAD).answer(ROWS[:1], [Want("qkv", layer=layer)]))
