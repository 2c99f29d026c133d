"""Traps 17, 18, 25, 43, 45 and 46 where a language model is judged by the top that a server told of each token."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from potstill.errors import TeacherError
from potstill.evaluation.generation import Tops, beside_top, of_top
from potstill.labels.tokens import Keep
from potstill.labels.tokens.coders import GivenCoder
from potstill.recipe.endpoint import EndpointTeacher
from potstill.recipe.students import TransformerStudent
from potstill.steps.telling import Top
from potstill.steps.writing import Writing
from potstill.teachers.endpoint.tokens import positions
from tests import tiny
from tests.steps.test_coding import run

RNG = np.random.default_rng(1)
VOCABULARY, K = 40, 6
CODER = GivenCoder(Keep(1.0, 0.0, K + 1), VOCABULARY)


def reply(logs, ids):
    """What a server echoes of ``ids``: the K likeliest at each place, and the token that stands there."""
    top = [None, *({f"token_id:{i}": float(row[i]) for i in np.argsort(-row)[:K]} for row in logs)]
    own = [None, *(float(row[id]) for row, id in zip(logs, ids[1:]))]
    return {"choices": [{"index": 0, "logprobs": {"tokens": [f"token_id:{id}" for id in ids], "token_logprobs": own, "top_logprobs": top}}]}


def row(length, *, sure=False):
    """Return a row's ids, the log-probabilities of all tokens behind its first, and its value in the store."""
    ids, scores = RNG.integers(0, VOCABULARY, length + 1).tolist(), RNG.normal(0, 3, (length, VOCABULARY))
    if sure:
        scores[:, (np.array(ids[1:]) + 1) % VOCABULARY] += 60.0
    logs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    item = {"input_ids": np.array(ids), "learnt": np.array([0, *(1 for _ in ids[1:])]), "window": np.zeros(len(ids), int)}
    told = positions(reply(logs, ids), [ids], item, K)
    return np.array(ids[1:]), logs, CODER.given([list(one) for one in told], [list(one.values()) for one in told])


def tops(value) -> Tops:
    return Tops.made(**CODER.decode([value]), vocabulary=VOCABULARY)


def test_trap_17_rows_that_pad_the_student_s_vocabulary_tell_nothing():
    targets, logs, value = row(30)
    padded = np.concatenate([logs, np.full((30, 8), 5.0)], axis=1)
    np.testing.assert_allclose(beside_top(padded, targets, tops(value)), beside_top(logs, targets, tops(value)))


def test_trap_25_a_model_beside_what_it_told_itself_is_no_way_off():
    targets, logs, value = row(50)
    np.testing.assert_allclose(beside_top(logs + 7.0, targets, tops(value))[:, 1], 0, atol=1e-5)
    assert (beside_top(RNG.normal(0, 3, logs.shape), targets, tops(value))[:, 1] > 0).all()


def test_trap_43_each_row_is_judged_by_what_was_told_of_it():
    rows = {name: row(length) for name, length in (("a", 9), ("b", 14), ("c", 9))}
    told = Top(CODER, {name: value for name, (_, _, value) in rows.items()})
    for name in ("c", "a", "b"):
        targets, logs, _ = rows[name]
        np.testing.assert_allclose(told.own(name, targets)[:, 0], -logs[range(len(targets)), targets], atol=1e-5)
        np.testing.assert_allclose(told.beside(name, slice(0, len(targets)), logs, targets)[:, 1], 0, atol=1e-5)


def test_trap_45_a_part_of_a_row_is_judged_where_it_stands():
    targets, _, value = row(20)
    told, other = Top(CODER, {"a": value}), RNG.normal(0, 3, (20, VOCABULARY))
    parts = [told.beside("a", slice(at, at + 8), other[at : at + 8], targets[at : at + 8]) for at in (0, 8, 16)]
    np.testing.assert_allclose(np.concatenate(parts), told.beside("a", slice(0, 20), other, targets))


@pytest.mark.parametrize("sure", [False, True], ids=["spread", "certain of another"])
def test_trap_46_the_token_that_stands_there_is_kept_however_unlikely(sure):
    targets, logs, value = row(60, sure=sure)
    expected = -logs[range(60), targets]
    assert expected.max() > (50 if sure else 8)
    np.testing.assert_allclose(of_top(tops(value), targets)[:, 0], expected, rtol=1e-4)


def test_trap_18_a_student_with_two_ids_swapped_is_refused_before_anything_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "home"))
    folder = tiny.decoder(tmp_path / "model")
    swapped = shutil.copytree(folder, tmp_path / "swapped")
    told = json.loads((swapped / "tokenizer.json").read_text("utf-8"))
    vocabulary = told["model"]["vocab"]
    vocabulary["Ġcat"], vocabulary["Ġdog"] = vocabulary["Ġdog"], vocabulary["Ġcat"]
    (swapped / "tokenizer.json").write_text(json.dumps(told), "utf-8")
    spec = EndpointTeacher(url="http://127.0.0.1:9/v1", model="m", api="completion", tokenizer=str(folder), max_length=64)
    work, data, teaching, _ = run(folder, tmp_path, spec=spec)  # nobody listens there
    for source, refused in ((folder, False), (swapped, True)):
        work.recipe = SimpleNamespace(teacher=spec, threads=1, students=[TransformerStudent(name="s", layers=1, source=str(source))])
        if refused:
            with pytest.raises(TeacherError, match="tokenizer is another one"):
                Writing(work, data).admit(teaching)
        else:
            Writing(work, data).admit(teaching)
