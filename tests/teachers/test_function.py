from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from potstill import functions
from potstill.errors import TeacherError
from potstill.labels import LabelStore
from potstill.labels.account import Account
from potstill.labels.ask import ask
from potstill.records import Answered, Example, Failed, Head, Want
from potstill.teachers import build

LOGPROBS = Want("logprobs")
HEAD = Head("classes", ("neg", "pos"))
SOURCE = """
import numpy as np
calls = []

def by_label(rows):
    calls.append(len(rows))
    return [{"pos": 0.75, "neg": 0.25} if "good" in row["text"] else {"neg": 1.0} for row in rows]

def by_list(rows):
    return np.array([[0.9, 0.1] for row in rows], np.float32)

def hard(rows):
    return ["pos" if "good" in row["text"] else "neg" for row in rows]

def fussy(rows):
    calls.append(len(rows))
    if any("bad" in row["text"] for row in rows):
        raise ValueError("I mind this word\\nand say more")
    return hard(rows)

def odd(rows):
    by_text = {"nan": {"pos": float("nan"), "neg": 1.0}, "minus": {"pos": -0.5, "neg": 1.5}, "half": {"pos": 0.3, "neg": 0.2},
               "none": None, "other": "perhaps", "good": "pos", "words": {"pos": "much"}}
    return [by_text[row["text"]] for row in rows]

def short(rows):
    return ["pos"] * (len(rows) - 1 if len(rows) > 1 else 2)

def nothing(rows):
    return None
"""


@pytest.fixture(autouse=True)
def _modules(monkeypatch):
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]
    sys.path[:] = path
    functions._loaded.clear()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "answers_of_mine.py").write_text(SOURCE)
    return tmp_path


def spec(folder, name="by_label", **options):
    defaults = {
        "kind": "callable", "function": f"answers_of_mine:{name}", "version": "1", "folder": str(folder), "name": "mine", "labels": None, "batch_size": 3,
        "license": "mit", "output_license": "mit", "usd_per_1000": 0.0,
    }  # fmt: skip
    return SimpleNamespace(**{**defaults, **options})


def rows(*texts):
    return [Example.make({"text": text}) for text in texts]


def answers(teacher, *texts):
    said = dict(teacher.answer(rows(*texts), [LOGPROBS]))
    return [said[row.id] for row in rows(*texts)]


def probabilities(answer):
    return np.exp(answer.arrays[LOGPROBS][0])


def test_mappings_lists_and_labels(folder):
    good, bad = answers(build(spec(folder), HEAD), "good", "so so")
    np.testing.assert_allclose(probabilities(good), [0.25, 0.75], rtol=1e-6)
    np.testing.assert_allclose(probabilities(bad), [1, 0], atol=2e-6)
    assert good.arrays[LOGPROBS].dtype == np.float32
    (one,) = answers(build(spec(folder, "by_list", labels=["pos", "neg"]), HEAD), "x")
    np.testing.assert_allclose(probabilities(one), [0.1, 0.9], rtol=1e-5)
    (one,) = answers(build(spec(folder, "hard"), HEAD), "good")
    np.testing.assert_allclose(probabilities(one), [0, 1], atol=2e-6)


def test_a_bare_list_without_names_fails_and_says_so(folder):
    (one,) = answers(build(spec(folder, "by_list"), HEAD), "x")
    assert isinstance(one, Failed)
    assert "teacher.labels" in one.reason


def test_it_is_called_in_batches_of_fields(folder):
    teacher = build(spec(folder), HEAD)
    answers(teacher, *(f"text {i}" for i in range(7)))
    assert sys.modules["answers_of_mine"].calls == [3, 3, 1]


def test_one_bad_row_does_not_fail_its_neighbors(folder):
    said = answers(build(spec(folder, "fussy"), HEAD), "good", "bad", "fair", "fine", "so")
    assert [type(answer) for answer in said] == [Answered, Failed, Answered, Answered, Answered]
    assert said[1].reason == "ValueError: I mind this word"
    assert sys.modules["answers_of_mine"].calls == [3, 1, 1, 1, 2]


def test_rows_asked_about_again_alone_are_booked_too(folder, tmp_path):
    teacher = build(spec(folder, "fussy"), HEAD)
    with LabelStore(tmp_path / "labels") as store:
        found = ask(teacher, rows("good", "bad", "fair", "fine", "so"), [LOGPROBS], Account(store))
        assert found.usage.teacher_calls == store.spent("").calls == sum(sys.modules["answers_of_mine"].calls) == 8


def test_answers_that_do_not_add_up_fail_with_the_reason(folder):
    texts = ("nan", "minus", "half", "none", "other", "words", "good")
    said = dict(zip(texts, answers(build(spec(folder, "odd"), HEAD), *texts)))
    assert isinstance(said["good"], Answered)
    for text, words in {
        "nan": "NaN",
        "minus": "below 0",
        "half": "sum to 0.5",
        "none": "no answer",
        "other": "'perhaps' is none",
        "words": "no number",
    }.items():
        assert isinstance(said[text], Failed)
        assert words in said[text].reason


@pytest.mark.parametrize(("name", "words"), [("short", "2 answers to 1 rows"), ("nothing", "NoneType, not a list")])
def test_a_function_that_returns_something_else(folder, name, words):
    said = answers(build(spec(folder, name), HEAD), "a", "b")
    assert all(isinstance(answer, Failed) and words in answer.reason for answer in said)


def test_identity_is_the_function_its_version_and_its_file(folder, tmp_path):
    base = build(spec(folder), HEAD).identity()
    assert build(spec(folder, batch_size=9, license="x"), Head("classes", ("pos", "neg"))).identity() == base
    others = [build(spec(folder, "hard"), HEAD), build(spec(folder, version="2"), HEAD), build(spec(folder, labels=["neg", "pos"]), HEAD)]
    (folder / "answers_of_mine.py").write_text(SOURCE + "\n# changed\n")
    others.append(build(spec(folder), HEAD))
    assert len({base, *(teacher.identity() for teacher in others)}) == 5


def test_a_module_that_changed_is_loaded_anew(folder):
    assert probabilities(answers(build(spec(folder, "hard"), HEAD), "good")[0])[1] > 0.9
    (folder / "answers_of_mine.py").write_text('def hard(rows):\n    return ["neg" for row in rows]\n')
    assert probabilities(answers(build(spec(folder, "hard"), HEAD), "good")[0])[1] < 0.1


def test_packages_and_pythonpath(tmp_path, monkeypatch):
    package = tmp_path / "lib" / "my_teachers"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text('LABEL = "pos"\n')
    (package / "answers.py").write_text("from .helper import LABEL\n\ndef give(rows):\n    return [LABEL] * len(rows)\n")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    teacher = build(spec(None, function="my_teachers.answers:give"), HEAD)
    assert probabilities(answers(teacher, "x")[0])[1] > 0.9


def test_what_is_missing_is_named(folder):
    with pytest.raises(TeacherError, match=r"no module 'gone'(?s:.*)put gone.py into"):
        build(spec(folder, function="gone:f"), HEAD)
    with pytest.raises(TeacherError, match=r"no function 'by_lable'(?s:.*)did you mean 'by_label'"):
        build(spec(folder, "by_lable"), HEAD)
    (folder / "breaks.py").write_text("raise RuntimeError('not today')")
    with pytest.raises(TeacherError, match="RuntimeError: not today"):
        build(spec(folder, function="breaks:f"), HEAD)
    (folder / "json.py").write_text("def f(rows): ...")
    with pytest.raises(TeacherError, match="another module is called 'json'"):
        build(spec(folder, function="json:f"), HEAD)
    with pytest.raises(TeacherError, match="the teacher has"):
        build(spec(folder, labels=["a", "b"]), HEAD)


def test_facts_say_what_can_not_be_known(folder):
    facts = build(spec(folder), HEAD).facts()
    json.dumps(facts)
    assert (facts["parameters"], facts["size_bytes"]) == (None, None)
    assert set(facts["unknown"]) >= {"parameters", "size_bytes"}
    assert build(spec(folder), HEAD).offers() == {"logprobs"}
