"""The floor learns what words tell, is the same for the same seed, and says what it can't learn from."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from potstill.baselines import floor as module
from potstill.baselines.floor import floor
from potstill.errors import DataError
from tests import small

ROWS = small.texts(240, 0, noise=0.05)
NAMES = sorted({row["label"] for row in ROWS})
TEXTS, GOLD = [row["text"] for row in ROWS], np.array([NAMES.index(row["label"]) for row in ROWS])
TRAIN, HELD = slice(0, 160), slice(160, None)


@pytest.fixture(scope="module")
def fitted():
    return floor(TEXTS[TRAIN], GOLD[TRAIN], classes=3, seed=0)


def test_it_learns_what_words_tell(fitted):
    logprobs = fitted.predict_logprobs(TEXTS[HELD])
    assert (logprobs.argmax(1) == GOLD[HELD]).mean() >= 0.8
    assert logprobs.dtype == np.float32
    np.testing.assert_allclose(np.exp(logprobs).sum(1), 1, atol=1e-5)
    assert fitted.strictness in module.GRID
    assert fitted.fit_seconds > 0


def test_size_counts_weights_and_words(fitted):
    words = fitted.vectorizer.vocabulary_
    assert fitted.size_bytes == 3 * len(words) * 4 + sum(len(word) + 8 for word in words)


def test_the_same_seed_gives_the_same_floor(fitted):
    again = floor(TEXTS[TRAIN], GOLD[TRAIN], classes=3, seed=0)
    np.testing.assert_array_equal(again.predict_logprobs(TEXTS[HELD]), fitted.predict_logprobs(TEXTS[HELD]))


def test_rows_without_gold_change_nothing(fitted):
    more, gold = [*TEXTS[TRAIN], *TEXTS[HELD]], np.concatenate([GOLD[TRAIN], np.full(80, -1)])
    again = floor(more, gold, classes=3, seed=0)
    np.testing.assert_array_equal(again.predict_logprobs(TEXTS[HELD]), fitted.predict_logprobs(TEXTS[HELD]))


def test_a_class_without_rows_keeps_a_finite_logprob():
    two = GOLD[TRAIN] < 2
    made = floor([text for text, keep in zip(TEXTS[TRAIN], two) if keep], GOLD[TRAIN][two], classes=4, seed=0)
    logprobs = made.predict_logprobs(["love pain", "", "русский"])
    assert np.isfinite(logprobs).all()
    assert (logprobs[:, 2:] < -10).all()


def test_too_few_rows_to_choose_are_fitted_all_the_same():
    made = floor(["good dog", "bad cat", "good day"], np.array([0, 1, 0]), classes=2, seed=0)
    assert made.strictness == module.USUAL
    assert made.predict_logprobs(["good", "bad"]).argmax(1).tolist() == [0, 1]
    assert made.predict_logprobs([]).shape == (0, 2)


def test_strictness_is_chosen_by_the_held_out_folds(monkeypatch):
    fits = []

    class Spy(LogisticRegression):
        def score(self, x, y):
            fits.append(self.C)
            return {4.0: 0.5, 16.0: 0.9, 64.0: 0.7}[self.C]

    monkeypatch.setattr(module, "LogisticRegression", Spy)
    assert floor(TEXTS[:60], GOLD[:60], classes=3, seed=0).strictness == 16.0
    assert sorted(fits) == sorted(module.GRID * module.FOLDS)


@pytest.mark.parametrize(("texts", "gold", "words"), [(["a b", "c d"], [1, 1], "fewer than two classes"), (["", "  "], [0, 1], "no words")])
def test_what_nothing_can_be_learnt_from_is_refused(texts, gold, words):
    with pytest.raises(DataError, match=words):
        floor(texts, np.array(gold), classes=2, seed=0)
