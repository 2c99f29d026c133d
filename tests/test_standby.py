"""The teacher in a process of its own: what names it, what it answers, what it says of what fails."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from potstill.errors import UserError
from potstill.records import Head
from potstill.standby import Asked, run, told

FUNCTION = """
from pathlib import Path
CALLS = Path(__file__).with_name("calls")
def answer(rows):
    with CALLS.open("a") as file: file.write("x" * len(rows))
    if any(row["text"] == "broken" for row in rows): raise RuntimeError("a private text")
    return [{"a": 0.9, "b": 0.1} if "a" in row["text"] else {"a": 0.2, "b": 0.8} for row in rows]
"""


@pytest.fixture
def teacher(tmp_path):
    (tmp_path / "standby_of_tests.py").write_text(FUNCTION)
    (tmp_path / "teacher.yaml").write_text("{kind: callable, function: 'standby_of_tests:answer', version: '1'}")
    return tmp_path / "teacher.yaml"


def test_it_answers_in_the_order_of_the_labels_and_asks_once(teacher, tmp_path):
    asked = Asked(teacher, Head("classes", ("b", "a")), 1)
    rows = [{"text": "a"}, {"text": "x"}, {"text": "a"}]
    scores = asked.scores(rows)
    np.testing.assert_allclose(np.exp(scores), [[0.1, 0.9], [0.8, 0.2], [0.1, 0.9]], rtol=1e-5)
    assert asked.scores(rows) == scores
    assert (tmp_path / "calls").read_text() == "xx"


def test_without_pyarrow_it_answers_all_the_same(teacher, monkeypatch):
    rows = [{"text": "a"}, {"text": "x"}, {"text": "a"}]
    kept = Asked(teacher, Head("classes", ("a", "b")), 1).scores(rows)
    monkeypatch.setattr("potstill.standby.importlib.util.find_spec", lambda name: None)
    bare = Asked(teacher, Head("classes", ("a", "b")), 1)
    assert bare.store is None
    assert bare.scores(rows) == kept


def test_a_question_that_fails_ends_nothing_and_tells_no_input(teacher, capsys):
    asked = Asked(teacher, Head("classes", ("a", "b")), 1)
    lines = [json.dumps({"id": i, "rows": [{"text": text}]}) for i, text in enumerate(("a", "broken", "x"))]
    out = io.StringIO()
    run(asked, io.StringIO("\n".join(lines) + "\n"), out)
    said = [json.loads(line) for line in out.getvalue().splitlines()]
    assert said[0] == {"ready": True}
    assert [one["id"] for one in said[1:]] == [0, 1, 2]
    assert said[2].get("scores", [None]) == [None]
    assert "private" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"), [("[1]", "holds no teacher"), ("{kind: model, model: m, adapt: {how: finetune}}", "adapted first"), ("a: [", "can't be read")]
)
def test_what_names_no_teacher_is_said(tmp_path, text, words):
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(UserError, match=words):
        told(tmp_path / "t.yaml")


def test_paths_are_taken_from_the_file(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "t.yaml").write_text("teacher: {kind: ensemble, members: [{kind: model, model: m}, {kind: callable, function: 'a:b', version: '1'}]}")
    found = told(tmp_path / "t.yaml")
    assert found["teacher"]["members"][0]["model"] == str((tmp_path / "m").resolve())
    assert [member["teacher"].get("folder") for member in found["members"]] == [None, str(tmp_path.resolve())]
