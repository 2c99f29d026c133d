"""A policy and a teacher in the server: who answers what, and what is said when the teacher can't be asked."""

from __future__ import annotations

import json

import pytest

from potstill.bundle.read import digest, manifest
from potstill.cascade.policy import write
from potstill.cascading import Asked, fit
from potstill.serving.predictor import Predictor
from tests.cascade.small import bundle, jsonl, labelled
from tests.serving.live import bundles, refused, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bundles(tmp_path_factory.mktemp("served"))


TEACHER = """
import json, os, time
from pathlib import Path

def answer(rows):
    if Path(os.environ["MOOD"]).read_text() == "slow":
        time.sleep(6)
    if Path(os.environ["MOOD"]).read_text() == "dies":
        os._exit(1)
    Path(os.environ["CALLS"]).open("a").write("".join(json.dumps(row) + chr(10) for row in rows))
    return ["maybe" for row in rows]
"""


@pytest.fixture
def cascade(folder, tmp_path, monkeypatch):
    """A policy that keeps some, a teacher that always says maybe, and the environment that it looks at."""
    rows = jsonl(tmp_path / "rows.jsonl", labelled(folder / "tickets", 2500))

    def made(**limits):
        policy = fit(folder / "tickets", Asked(risk=0.05, limits=limits), data=rows)
        assert 0.1 < policy.rule.passed_on < 0.95
        assert policy.bundle == digest(manifest(folder / "tickets"))
        write(tmp_path / "policy.json", policy)
        (tmp_path / "oracle_of_tests.py").write_text(TEACHER)
        (tmp_path / "teacher.yaml").write_text("teacher: {kind: callable, function: 'oracle_of_tests:answer', version: '1'}\n")
        (tmp_path / "mood").write_text("well")
        (tmp_path / "calls").write_text("")
        env = {"MOOD": str(tmp_path / "mood"), "CALLS": str(tmp_path / "calls"), "POTSTILL_HOME": str(tmp_path / "home")}
        return policy, ("--policy", tmp_path / "policy.json", "--teacher", tmp_path / "teacher.yaml"), env

    return made


def asked_texts(tmp_path):
    return [json.loads(line)["text"] for line in (tmp_path / "calls").read_text().splitlines()]


def test_unsure_rows_go_to_the_teacher_and_the_sure_stay(folder, tmp_path, cascade):
    policy, arguments, env = cascade(usd_per_1000=2.0)
    texts = [row["text"] for row in labelled(folder / "tickets", 60, seed=9)]
    with serving(folder / "tickets", *arguments, folder=tmp_path, env=env) as running, running.client() as client:
        found = client.post("/v1/predict", json={"inputs": texts}).json()
        passed = [one["served_by"] == "teacher" for one in found["predictions"]]
        assert 0 < sum(passed) < 60
        for one in found["predictions"]:
            assert (one["confidence"] > policy.rule.threshold) == (one["served_by"] == "student")
            if one["served_by"] == "teacher":
                assert one["label"] == "maybe"
                assert one["score"] > 0.99
        assert asked_texts(tmp_path) == [text for text, there in zip(texts, passed) if there]
        again = client.post("/v1/predict", json={"inputs": texts}).json()
        assert again == found
        assert len(asked_texts(tmp_path)) == sum(passed)  # what is in the label store is not asked again
        assert found["policy"] == policy.id
        assert running.metric('potstill_rows_total{model="tickets",served_by="teacher"}') == 2 * sum(passed)
        assert running.metric("potstill_teacher_usd_total") == pytest.approx(2 * sum(passed) * 0.002)
        running.stop()
        assert json.loads(running.told.read_text()) == []  # the teacher's process has pyarrow, the server's has not


def test_a_teacher_that_is_down_leaves_the_students_answer_flagged_and_comes_back(folder, tmp_path, cascade):
    _, arguments, env = cascade(timeout_s=1.0)
    texts = [row["text"] for row in labelled(folder / "tickets", 40, seed=10)]
    with serving(folder / "tickets", *arguments, folder=tmp_path, env=env) as running, running.client() as client:
        for mood, reason in (("dies", "unreachable"), ("slow", "timeout")):
            (tmp_path / "mood").write_text(mood)
            found = client.post("/v1/predict", json={"inputs": texts}).json()["predictions"]
            assert {one["served_by"] for one in found} == {"student"}
            assert {one.get("flag") for one in found} == {None, reason}
        assert running.metric("potstill_flagged_total") > 0


def test_a_policy_may_rather_say_nothing(folder, tmp_path, cascade):
    policy, arguments, env = cascade(timeout_s=2.0, unreachable="refuse")
    texts = [row["text"] for row in labelled(folder / "tickets", 40, seed=11)]
    with serving(folder / "tickets", *arguments, folder=tmp_path, env=env) as running, running.client() as client:
        sure = [one["confidence"] > policy.rule.threshold for one in client.post("/v1/predict", json={"inputs": texts}).json()["predictions"]]
        (tmp_path / "mood").write_text("dies")
        other = [row["text"] for row in labelled(folder / "tickets", 40, seed=12)]
        found = client.post("/v1/predict", json={"inputs": other})
        assert found.status_code == 503
        assert found.headers["retry-after"]
        kept = next(text for text, there in zip(texts, sure) if there)
        assert client.post("/v1/predict", json={"inputs": [kept]}).status_code == 200


def test_limits_of_rate_and_dollars_are_kept(folder, tmp_path, cascade):
    _, arguments, env = cascade(usd_per_1000=1000.0, usd_per_hour=3.0)
    texts = [row["text"] for row in labelled(folder / "tickets", 60, seed=13)]
    with serving(folder / "tickets", *arguments, folder=tmp_path, env=env) as running, running.client() as client:
        found = client.post("/v1/predict", json={"inputs": texts}).json()["predictions"]
        assert sum(one["served_by"] == "teacher" for one in found) == 3
        assert {one.get("flag") for one in found} == {None, "budget"}


def test_a_policy_for_sets_of_labels_and_conformal_sets_are_served(folder, tmp_path):
    sets, tickets = folder / "sets", folder / "tickets"
    texts = [{"text": row["text"]} for row in labelled(tickets, 800)]
    predictor = Predictor.open(sets)
    gold = [{**row, "labels": labels} for row, labels in zip(texts, predictor.decide(predictor.predict(texts)))]
    fresh = [row["text"] for row in labelled(tickets, 50, seed=20)]
    gold = [{**row, "labels": []} if i % 9 == 0 else row for i, row in enumerate(gold)]
    write(tmp_path / "sets.json", fit(sets, Asked(risk=0.3), data=jsonl(tmp_path / "s.jsonl", gold)))
    conformal = fit(tickets, Asked(risk=0.05, coverage=0.9, per_label=True), data=jsonl(tmp_path / "t.jsonl", labelled(tickets, 1500)))
    write(tmp_path / "tickets.json", conformal)
    arguments = ("--policy", f"sets={tmp_path / 'sets.json'}", "--policy", f"tickets={tmp_path / 'tickets.json'}")
    with serving(sets, tickets, *arguments, folder=tmp_path) as running, running.client() as client:
        assert client.post("/v1/predict", json={"model": "sets", "inputs": texts[:50]}).status_code == 200
        for one in client.post("/v1/predict", json={"model": "tickets", "inputs": fresh}).json()["predictions"]:
            assert one["set"] == [label for label, p in one["scores"].items() if p >= conformal.sets.level - 1e-6]
            kept = one["confidence"] > conformal.by_label[one["label"]].threshold
            assert one.get("flag") == (None if kept else "no_teacher")


def test_a_policy_of_another_bundle_is_not_served(folder, tmp_path, cascade):
    _, arguments, env = cascade()
    other = bundle(tmp_path / "other", temperature=1.7)
    code, said = refused([other, *arguments], tmp_path, env)
    assert code == 2
    assert "of another bundle" in said
