"""Traps 28, 29, 34, 42 and 43 where a student that writes is cut, trained, judged and saved."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from potstill.serving.turns import NEXT
from potstill.students import build
from potstill.training import measures, tokens
from tests import tiny
from tests.training.writing import ROWS, close, column, gradients, made, rows_of, spec, terms


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.decoder(tmp_path_factory.mktemp("writing") / "model", layers=3)


def test_trap_28_a_step_of_packs_has_the_gradient_of_rows_apart(source):
    teacher, student = made(source, layers=3), made(source, double=True)
    given = rows_of(student, column(teacher, student.preprocess.encode(ROWS), "full"))
    apart, packed = (gradients(student, given, terms(hard=0.3), [range(6)], pack) for pack in (False, True))
    close(packed, apart)


def test_trap_29_a_text_is_judged_on_the_scale_that_it_is_learnt_on(source):
    student = made(source)
    given = rows_of(student)
    learner = tokens.Learner(student, terms(weight=0, hard=1), "fp32")
    with torch.no_grad():
        learnt = sum(float(learner(part)) for part in tokens.parts(student, given, range(6), frozenset(), spec()))
    judged = measures.measure(student, given.items, np.ones(6))
    assert judged[:, 0].sum() == pytest.approx(learnt, rel=1e-5)


def test_trap_34_no_adapter_is_saved_and_none_is_lost(source, tmp_path):
    student = made(source, lora=SimpleNamespace(rank=2, alpha=4.0))
    with torch.no_grad():
        for name, value in student.module.named_parameters():
            if "lora_B" in name:
                value.normal_()
    student.save(tmp_path / "s")
    plain = made(source)
    plain.save(tmp_path / "plain")
    assert load_file(tmp_path / "s" / "model.safetensors").keys() == load_file(tmp_path / "plain" / "model.safetensors").keys()
    torch.testing.assert_close(said(build.load(tmp_path / "s")), said(student), atol=1e-4, rtol=1e-4)


def test_trap_42_a_narrower_student_is_loaded_as_it_was(source, tmp_path):
    student = made(source, heads=2, hidden=24, intermediate=40)
    student.save(tmp_path / "s")
    given = given_to(student)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "s").eval()
    with torch.inference_mode():
        logits = theirs(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits[given[NEXT] != -100]
    torch.testing.assert_close(logits, said(student))
    assert sum(p.numel() for p in theirs.parameters()) == student.parameters < made(source).parameters


def test_trap_43_each_text_meets_its_own_answers(source):
    teacher, student = made(source, layers=3), made(source, double=True)
    given = rows_of(student, column(teacher, student.preprocess.encode(ROWS), "full"))
    for pack in (False, True):
        close(gradients(student, given, terms(), [[5, 2, 0, 4]], pack), gradients(student, given, terms(), [[0, 2, 4, 5]]))


def given_to(student):
    return {name: torch.from_numpy(array) for name, array in student.preprocess.collate(student.preprocess.encode(ROWS)).items()}


@torch.inference_mode()
def said(student):
    student.module.eval()
    return student.forward(given_to(student)).logits
