"""The predictor answers in order, calibrated, and says what is wrong with a folder that it can't open."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill import storage
from potstill.errors import BundleError, DataError, UserError
from potstill.serving.predictor import Predictor, log_softmax
from tests.serving import graphs
from tests.serving.graphs import LABELS, artifact, expected

TEXTS = ["one two three four", "", "five", "six " * 50, "ß Ελληνικά 中文", "seven eight"]
ROWS = [{"text": text} for text in TEXTS]


@pytest.fixture
def folder(tmp_path):
    return artifact(tmp_path / "artifact")


def test_it_answers_in_the_order_of_the_rows(folder):
    predictor = Predictor.open(folder)
    assert (predictor.labels, predictor.fields) == (LABELS, ("text",))
    for batch_size in (1, 2, 32):
        np.testing.assert_allclose(predictor.predict(ROWS, batch_size=batch_size), expected(TEXTS), atol=1e-5, rtol=1e-5)
    assert predictor.predict(ROWS).dtype == np.float32
    assert predictor.decide(predictor.predict(ROWS)) == [LABELS[i] for i in expected(TEXTS).argmax(1)]


def test_the_temperature_softens_and_decides_nothing(tmp_path):
    cold, warm = (Predictor.open(artifact(tmp_path / str(t), temperature=t)) for t in (1.0, 4.0))
    np.testing.assert_allclose(warm.predict(ROWS), expected(TEXTS, 4.0), atol=1e-5)
    assert warm.decide(warm.predict(ROWS)) == cold.decide(cold.predict(ROWS))
    np.testing.assert_array_equal(warm.logits(ROWS), cold.logits(ROWS))


def test_no_rows_no_answers(folder):
    assert Predictor.open(folder).predict([]).shape == (0, 3)


def test_a_small_model_answers_batches_beside_each_other_to_the_last_digit(folder):
    one, three = Predictor.open(folder, threads=1), Predictor.open(folder, threads=3)
    assert (one.beside, three.beside) == (1, 3)
    assert three.session.get_session_options().intra_op_num_threads == 1
    rows = ROWS * 20
    np.testing.assert_array_equal(three.predict(rows, batch_size=7), one.predict(rows, batch_size=7))


def test_a_large_model_shares_its_products_among_threads(folder, monkeypatch):
    monkeypatch.setattr("potstill.serving.predictor.SMALL", 0)
    predictor = Predictor.open(folder, threads=3)
    assert (predictor.beside, predictor.session.get_session_options().intra_op_num_threads) == (1, 3)


def test_several_threads_may_ask_at_once(folder):
    predictor = Predictor.open(folder, threads=2)
    said: list[np.ndarray] = []
    workers = [threading.Thread(target=lambda: said.append(predictor.predict(ROWS))) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(said) == 8
    assert all(np.array_equal(answer, said[0]) for answer in said)


@pytest.mark.parametrize("rows", [[{"txt": "a"}], [{"text": 3}], [{"text": None}], [{}], ["a"], "a", {"text": "a"}])
def test_wrong_rows_name_what_is_read(folder, rows):
    with pytest.raises(DataError, match=r"this model reads.*text"):
        Predictor.open(folder).predict(rows)


def test_other_fields_are_ignored(folder):
    np.testing.assert_allclose(Predictor.open(folder).predict([{"text": "five", "id": 7}]), expected(["five"]), atol=1e-5)


def test_a_batch_has_a_row_at_least(folder):
    with pytest.raises(UserError, match="batch"):
        Predictor.open(folder).predict(ROWS, batch_size=0)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("sized", [True, False])
def test_a_truncated_model_is_named(folder, share, sized):
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[: int(model.stat().st_size * share)])
    if not sized:  # an artifact that does not say how big its model is
        storage.write_json(folder / "artifact.json", {**storage.read_json(folder / "artifact.json"), "files": {}})
    with pytest.raises(BundleError, match=r"model\.onnx") as caught:
        Predictor.open(folder).predict(ROWS)
    assert "write the bundle again" in caught.value.remedy


def test_bytes_that_are_no_model_are_named(folder):
    (folder / "model.onnx").write_bytes(b"x" * (folder / "model.onnx").stat().st_size)
    with pytest.raises(BundleError, match=r"model\.onnx: the model can't be opened"):
        Predictor.open(folder)


def test_a_model_that_fails_while_it_answers_is_named(folder):
    small = graphs.TABLE[:10]  # ids go up to 64
    artifact(folder, table=small)
    with pytest.raises(BundleError, match="can't answer"):
        Predictor.open(folder).predict(ROWS)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"schema": 5}, "newer potstill"),
        ({"model": "../model.onnx"}, "must lie in this folder"),
        ({"model": "other.onnx"}, r"other\.onnx: the model is missing"),
        ({"temperature": 0}, "temperature of 0"),
        ({"temperature": -1.5}, "temperature of -1.5"),
        ({"head": {"kind": "classes", "labels": ["a", "b"]}}, "3 scores for 2 labels"),
        ({"preprocess": {"kind": "image"}}, "image"),
        ({"preprocess": {"kind": "tokenizer", "file": "tokenizer.json", "max_length": 8, "inputs": ["input_ids"], "fields": ["text"]}}, "tokenizer"),
    ],
)
def test_a_description_that_can_t_be_is_refused(folder, change, match):
    storage.write_json(folder / "artifact.json", {**storage.read_json(folder / "artifact.json"), **change})
    with pytest.raises(BundleError, match=match):
        Predictor.open(folder)


def test_a_model_of_other_inputs_is_refused(folder):
    model = graphs.onnx_of(folder)
    model.graph.input[0].name = model.graph.node[0].input[1] = "tokens"
    storage.write_bytes(folder / "model.onnx", model.SerializeToString())
    storage.write_json(folder / "artifact.json", {**storage.read_json(folder / "artifact.json"), "files": {}})
    with pytest.raises(BundleError, match="the model reads tokens, weights, the description says ids, weights"):
        Predictor.open(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"schema": 1}', "\x00"])
def test_a_damaged_description_is_named(folder, text):
    (folder / "artifact.json").write_text(text)
    with pytest.raises(BundleError, match=r"artifact\.json"):
        Predictor.open(folder)


def test_no_artifact_says_where_one_is(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BundleError, match="no artifact here"):
            Predictor.open(place)


@given(scores=st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1, max_size=4))
def test_log_softmax_is_finite_and_normalized(scores):
    said = log_softmax(np.array(scores, np.float32))
    assert said.dtype == np.float32
    assert np.isfinite(said).all()
    np.testing.assert_allclose(np.exp(said.astype(np.float64)).sum(1), 1, atol=1e-5)


BLOCKED = ("torch", "transformers", "accelerate", "sklearn", "pyarrow", "onnx", "scipy", "safetensors")


def test_predict_and_verify_need_no_training_package(folder, tmp_path):
    program = (
        "import sys, json\nfrom pathlib import Path\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {BLOCKED!r}: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from potstill.serving.predictor import Predictor\n"
        "from potstill.serving.stream import predict_lines\n"
        "from potstill.bundle.write import write\nfrom potstill.bundle.verify import verify\n"
        "from potstill.records import Artifact\n"
        "source, bundle = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "p = Predictor.open(source)\n"
        "facts = dict(name='n', task='text-classification', fields=p.fields, summary='', loader=None, figures=[], checks=[], provenance=[],\n"
        "             licenses={}, limits=[], command='c')\n"
        "write(bundle, Artifact(source, 'fp32', 1, 'x'), facts=facts, calibration={}, rows=[{'text': 'five'}], fields=p.fields, labels=p.labels,\n"
        "      predict=p.predict, decide=p.decide)\n"
        "assert verify(bundle, Predictor.open) == []\n"
        "print(json.dumps([a['label'] for a in predict_lines(Predictor.open(bundle), ['five', ''])]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, folder, tmp_path / "bundle"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == [LABELS[i] for i in expected(["five", ""]).argmax(1)]
