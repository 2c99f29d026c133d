"""Trained, exported and served are three implementations of one model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.export import int8
from potstill.export.parity import ODD
from potstill.serving.predictor import Predictor, log_softmax
from tests.export.students import KINDS, ROWS, exported, logits, student

EVERY = [*ROWS, *({"text": text} for text in ODD)]


@pytest.fixture(scope="module", params=KINDS)
def trio(request, tmp_path_factory):
    """(student, its fp32 predictor, its int8 predictor)"""
    made = student(request.param)
    opened = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "MIN_ROWS", 64)  # the tiny vocabulary has 202
        for precision in ("fp32", "int8"):
            folder = tmp_path_factory.mktemp(request.param) / precision
            artifact, _ = exported(made, folder, precision)
            assert artifact.precision == precision
            opened.append(Predictor.open(folder))
    return made, *opened


def test_fp32_is_what_was_trained(trio):
    made, fp32, _ = trio
    trained = logits(made, EVERY)
    np.testing.assert_allclose(fp32.logits(EVERY), trained, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(fp32.predict(EVERY), log_softmax(trained), atol=1e-4, rtol=1e-4)


def test_int8_is_near_and_not_the_same(trio):
    made, _, small = trio
    trained, small = logits(made, EVERY), small.logits(EVERY)
    assert 0 < np.abs(small - trained).max() < 0.05 * np.abs(trained).max()
    assert np.corrcoef(small.ravel(), trained.ravel())[0, 1] > 0.999


def test_a_row_s_answer_does_not_depend_on_its_neighbors(trio):
    _, *predictors = trio
    for predictor in predictors:
        alone = np.concatenate([predictor.logits([row]) for row in EVERY])
        for batch_size in (2, 5, len(EVERY)):
            np.testing.assert_allclose(predictor.logits(EVERY, batch_size=batch_size), alone, atol=1e-4, rtol=1e-4)
        backwards = predictor.logits(EVERY[::-1], batch_size=4)[::-1]
        np.testing.assert_allclose(backwards, alone, atol=1e-4, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=5))
def test_any_text_gets_the_trained_answer(trio, texts):
    made, fp32, _ = trio
    rows = [{"text": text} for text in texts]
    np.testing.assert_allclose(fp32.logits(rows), logits(made, rows), atol=1e-4, rtol=1e-4)


def test_pairs_too(tmp_path):
    made = student("transformer", fields=("text", "text_pair"))
    exported(made, tmp_path, rows=[{"text": "good film", "text_pair": "bad film"}])
    rows = [{"text": "good film", "text_pair": "bad"}, {"text": "", "text_pair": "the"}, {"text": "very " * 80, "text_pair": "cat " * 80}]
    predictor = Predictor.open(tmp_path)
    assert predictor.fields == ("text", "text_pair")
    np.testing.assert_allclose(predictor.logits(rows), logits(made, rows), atol=1e-4)
    turned = [{"text": row["text_pair"], "text_pair": row["text"]} for row in rows]
    assert np.abs(predictor.logits(turned) - predictor.logits(rows)).max() > 1e-3  # the order of a pair matters
