"""Trees fitted to the small job's texts: what the tests of their fit, their graph and their export share."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace

import numpy as np

from potstill.evaluation.statistics import Score
from potstill.objectives.build import LOGPROBS
from potstill.records import Head
from potstill.students import build
from potstill.training import boosting
from potstill.training.records import TrainingRows
from tests.small import texts

LABELS = ("praise", "blame", "illness")
HEAD = Head("classes", LABELS)
FEATURES = SimpleNamespace(kind="trees", buckets=256, word_ngrams=[1], char_ngrams=None)
TERMS = [{"kind": "logits", "weight": 1.0, "kd_temperature": 2.0, "loss": "kl"}, {"kind": "hard", "weight": 0.5}]
DATA = texts(400, 0)
GOLD = np.array([LABELS.index(row["label"]) for row in DATA])


def spec(**changes):
    return boosting.BoostSpec(**{"rounds": 12, "leaves": 7, "learning_rate": 0.3, "patience": 30, **changes})


def fresh(head=HEAD, fields=("text",)):
    return build.build(FEATURES, head, source=None, fields=fields, seed=0, max_length=0)


def rows(student, *, gold: float = 0.5, seed: int = 0):
    """300 rows to learn from, a share ``gold`` of them with a gold label; a teacher that is surer of the right label than of others."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=(300, 3)) + 2 * np.eye(3)[GOLD[:300]]
    logprobs = (scores - np.log(np.exp(scores).sum(1, keepdims=True))).astype(np.float32)
    known = np.where(draw.random(300) < gold, GOLD[:300], -1)
    return TrainingRows(student.preprocess.encode(DATA[:300]), known, {LOGPROBS: list(logprobs[:, None])})


def agreement(logprobs):
    return Score(float((logprobs.argmax(1) == GOLD[300:]).mean()), 0.05)


def fitted(scratch: Path | None = None, *, student=None, given=None, terms=TERMS, evaluate=agreement, progress=lambda *_: None, log=None, **changes):
    """Return (student, history)."""
    student = student or fresh()
    history = boosting.fit(
        student, given or rows(student), terms=terms, spec=spec(**changes), validation=student.preprocess.encode(DATA[300:]), evaluate=evaluate,
        scratch=scratch or Path(mkdtemp()), progress=progress, log=log,
    )  # fmt: skip
    return student, history
