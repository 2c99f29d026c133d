"""How a run keeps tokens: chosen on rows to learn from, once, said each time, and read back as what a student learns from."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from potstill.cache import Stage
from potstill.errors import TeacherError, UserError
from potstill.objectives.tokens.targets import Hidden, Sampled, Sparse
from potstill.recipe.endpoint import EndpointTeacher
from potstill.recipe.language import Chat, Tokens
from potstill.recipe.teacher import ModelTeacher
from potstill.records import Example, Head, SealedSplit, Split, Want
from potstill.runlog import RunLog
from potstill.steps.coding import coding, compare, online
from potstill.steps.data import Data
from potstill.steps.ready import ready
from potstill.steps.teach import Teaching
from potstill.workspace import Workspace
from tests import tiny
from tests.small import texts
from tests.teachers.endpoint.serving import server
from tests.teachers.test_causal import TEMPLATE

HEAD = Head("tokens", ())


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.decoder(tmp_path_factory.mktemp("coding") / "model")


def rows(count=40, seed=3) -> list[Example]:
    found = [{"prompt": row["text"], "completion": row["label"] + " it is"} for row in texts(count, seed)]
    return [Example.make(row, gold="answer", place=f"train.jsonl:{n + 1}") for n, row in enumerate(found)]


def run(folder, place, train=None, spec=None, **tokens):
    """Return a run's data and its teacher, ready, and what was said."""
    spec = spec or ModelTeacher(model=str(folder), max_length=64, chat=Chat(template=TEMPLATE), tokens=Tokens(**tokens))
    said: list[dict] = []
    recipe = SimpleNamespace(teacher=spec, requirement=None, threads=1)
    work = Workspace(recipe, None, place, RunLog(listeners=[said.append]), None, "run")
    some = tuple(rows() if train is None else train)
    sealed = SealedSplit("", 0, lambda: ())
    data = Data(
        Stage("data", "f", place), Split("train", some), Split("validation", some[:4]), Split("calibration", ()), Split("unlabeled", ()), sealed, HEAD,
        {"has_gold": {"test": True}},
    )  # fmt: skip
    return work, data, Teaching(work, data, ready(work, data, spec)), said


def words(said) -> str:
    return " ".join(str(event.get("text", "")) for event in said)


@pytest.mark.parametrize(("way", "kind"), [("sparse", Sparse), ("sampled", Sampled), ("hidden", Hidden)])
def test_a_way_by_name_is_kept_and_read_back(folder, tmp_path, way, kind):
    work, data, teaching, said = run(folder, tmp_path, way=way, k_max=600, mass=1.0, floor=1e-6)
    kept = coding(work, data, teaching)
    assert kept.coder.way == way
    assert f"kept as {way}" in words(said)
    assert "as teacher.tokens.way says" in words(said)
    assert "bytes and" in words(said)
    answers = kept.ask(data.train.examples)
    ids, items = [row.id for row in data.train], teaching.teacher.items(data.train.examples)
    column = kept.column(answers, ids, items)
    target, batch = column.gather([7, 2]), [7, 2]
    assert isinstance(target, kind)
    exact = online(teaching, data.train.examples, full=True).gather(batch).logits.log_softmax(-1)
    assert target.rows == len(exact)
    if kind is Hidden:
        own = teaching.teacher.distribution(target.states).log_softmax(-1)
        assert float((own.exp() * (own - exact)).sum(-1).mean()) < 0.01
        assert isinstance(online(teaching, data.train.examples).gather(batch), Hidden)
    else:
        there = torch.isfinite(target.logprobs)
        assert float((exact.gather(1, target.ids) - target.logprobs)[there].abs().max()) < 1.5
    with pytest.raises(UserError, match="the teacher answers at"):
        kept.column(answers, ids, [{**item, "learnt": item["learnt"] * 0} for item in items])
    before = work.usage.teacher_calls
    kept.ask(data.train.examples)
    assert work.usage.teacher_calls == before


def test_left_to_us_it_is_the_smallest_within_the_limit_and_chosen_once(folder, tmp_path):
    for limit in (5.0, 1e-3):
        work, data, teaching, said = run(folder, tmp_path, limit=limit)
        kept = coding(work, data, teaching)
        exact = [way for way in kept.found["ways"] if not way["unbiased"] and way["kl"] <= limit]
        assert kept.found["bytes"] == min(way["bytes"] for way in exact)
        assert f"the smallest within {limit:g} nats of error a token" in words(said)
        work, data, again, said = run(folder, tmp_path, limit=limit)
        second = coding(work, data, again)
        assert (second.coder.name, second.fingerprint) == (kept.coder.name, kept.fingerprint)
        assert "the smallest within" in words(said)  # said in every run
        assert "teacher" not in vars(again)  # and nothing opened for it
        assert work.usage.teacher_calls == 0
    assert kept.want == Want("tokens", coded=kept.coder.name)
    assert kept.coder.way == "hidden"


def test_the_settings_change_the_values_and_not_the_teacher(folder, tmp_path):
    found = [run(folder, tmp_path, way="sparse", k_max=k) for k in (8, 16)]
    assert found[0][2].fingerprint == found[1][2].fingerprint
    kept = [coding(work, data, teaching) for work, data, teaching, _ in found]
    assert kept[0].want != kept[1].want
    assert kept[0].fingerprint != kept[1].fingerprint
    assert found[1][0].usage.teacher_calls == 0  # the probe's states are of the store


def test_one_row_is_probe_enough_and_none_is_said(folder, tmp_path):
    work, data, teaching, _ = run(folder, tmp_path, train=rows(1), way="sparse")
    kept = coding(work, data, teaching)
    assert kept.ask(data.train.examples).counts["answered"] == 1
    asked = [Example.make({"prompt": "only a question"}, gold="answer", place="train.jsonl:1")]
    work, data, teaching, _ = run(folder, tmp_path, train=asked)
    with pytest.raises(TeacherError, match="says nothing of the rows"):
        coding(work, data, teaching)


def test_rows_of_no_answer_are_no_part_of_the_probe(folder, tmp_path):
    some = [*rows(3), Example.make({"prompt": "only a question"}, place="train.jsonl:9")]
    work, data, teaching, _ = run(folder, tmp_path, train=some, way="hidden")
    kept = coding(work, data, teaching)
    assert work.usage.teacher_calls == 3
    assert np.isfinite(kept.found["kl"])


def test_teacher_and_student_are_compared_before_training(folder, tmp_path):
    _, data, teaching, _ = run(folder, tmp_path)
    compare(teaching, teaching.teacher.turns, data.train.examples)
    other = replace(teaching.teacher.turns, max_length=20)
    with pytest.raises(TeacherError, match="max_length"):
        compare(teaching, other, data.train.examples)


def test_a_server_s_tokens_are_kept_as_they_come(folder, tmp_path):
    with server(folder) as url:
        spec = EndpointTeacher(url=url, model="smollm2", api="completion", tokenizer=str(folder), max_length=64, chat=Chat(template=TEMPLATE), top_k=8)
        work, data, teaching, said = run(folder, tmp_path, train=rows(6), spec=spec)
        kept = coding(work, data, teaching)
        answers = kept.ask(data.train.examples)
    assert "the 8 likeliest tokens" in words(said)
    assert work.usage.teacher_calls == 6
    _, _, local, _ = run(folder, tmp_path, train=rows(6))
    items = local.teacher.items(data.train.examples)
    compare(teaching, local.teacher.turns, data.train.examples)
    target = kept.column(answers, [row.id for row in data.train], items).gather([4, 1])
    exact = online(local, data.train.examples, full=True).gather([4, 1]).logits.log_softmax(-1)
    assert target.ids.shape[1] in (8, 9)
    assert float((exact.gather(1, target.ids) - target.logprobs)[torch.isfinite(target.logprobs)].abs().max()) < 1e-3
