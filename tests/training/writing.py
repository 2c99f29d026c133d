"""Students that write, small enough for a test; what a teacher says to them in every shape; and the gradients of one step."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from potstill.objectives.build import build as build_terms
from potstill.objectives.tokens.column import Held
from potstill.objectives.tokens.targets import Full, Hidden, Sampled, Sparse
from potstill.records import Example, Head
from potstill.students import build
from potstill.training import tokens
from potstill.training.records import LoopSpec, TrainingRows

HEAD = Head("tokens", ())
ROWS = [
    {"prompt": "the dog", "completion": " and the cat walk home"},
    {"text": "a good film, and the best book of the year! " * 3},  # several windows
    {"prompt": "pain in the left eye: is it chronic or acute?", "completion": " acute"},
    {"prompt": "a question without an answer"},
    {"prompt": "red", "completion": " green and blue and black and white"},
    {"text": "never again"},
]


def made(source, /, double=False, **more):
    spec = {"kind": "transformer", "layers": 2, "source": "teacher", "max_length": None, "heads": None, "intermediate": None, "hidden": None, **more}
    student = build.build(
        SimpleNamespace(**spec), HEAD, source=source, fields=(), seed=0, max_length=24, rows=[Example(str(n), row) for n, row in enumerate(ROWS)]
    )
    if double:
        student.module.double()
    return student


@torch.inference_mode()
def said(teacher, items):
    """A teacher's states and logits of each item's learnt positions."""
    states = []
    for item in items:
        (inputs, places, *_) = next(tokens.apart(teacher.preprocess, tokens.alone(item), 4096))
        states.append(teacher.states(inputs).flatten(0, 1)[places].clone())
    return states


SHAPES = ("full", "hidden", "sparse", "all of it", "sampled")


def column(teacher, items, shape):
    head, states = teacher.token_head(), said(teacher, items)
    logits = [one @ head.weight.detach().T for one in states]
    if shape == "full":
        return Held([Full(one) for one in logits])
    if shape == "hidden":
        return Held([Hidden(one, head) for one in states])
    if shape == "sampled":
        return Held([_drawn(one) for one in logits])
    found = []
    for n, one in enumerate(logits):
        top = one.log_softmax(-1).topk(one.shape[1] if shape == "all of it" else 5 + n)
        found.append(Sparse(top.indices, top.values, (1 - top.values.exp().sum(-1)).clamp(min=0)))
    return Held(found)


def _drawn(logits):
    p = logits.softmax(-1)
    generator = torch.Generator().manual_seed(0)
    ids = torch.multinomial(p, 6, replacement=True, generator=generator) if len(p) else torch.zeros(0, 6, dtype=torch.long)
    return Sampled(ids, torch.full(ids.shape, 1 / 6), p.log().gather(1, ids))


def terms(**spec):
    return build_terms(
        [{"kind": "tokens", **spec}], head_width=0, student_layers=2, student_width=32, teacher_layers=3, teacher_width=32, seed=0, head_kind="tokens"
    )[0]


def spec(**changes):
    return LoopSpec(**{"steps": 8, "batch_size": 3, "learning_rate": 3e-3, "evaluations": 2, "precision": "fp32", "threads": 1, **changes})


def rows_of(student, told=None, given=ROWS):
    return TrainingRows(student.preprocess.encode(given), np.zeros((len(given), 0)), column=told)


def gradients(student, given, learnt_by, batches, pack=False, most=4096):
    """The gradients of a step that comes in ``batches``."""
    student.module.zero_grad()
    learner = tokens.Learner(student, learnt_by, "fp32")
    wants = frozenset(want for term in learnt_by for want in term.needs)
    parts = [part for batch in batches for part in tokens.parts(student, given, batch, wants, spec(pack=pack, micro_tokens=most))]
    count = sum(learner.counts(part) for part in parts)
    for part in parts:
        (learner(part) / count.clamp(min=1)).sum().backward()
    return {name: p.grad.clone() for name, p in student.module.named_parameters() if p.grad is not None}


def close(one, other, atol=1e-9):
    assert one.keys() == other.keys()
    assert len(one)
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=atol, rtol=1e-6)
