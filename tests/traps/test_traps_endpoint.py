"""Traps in asking a language model behind a server."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from potstill.labels import Account, LabelStore, ask
from potstill.recipe import load
from potstill.records import Limits
from potstill.runlog import RunLog
from potstill.steps import adapt, prepare
from potstill.teachers.endpoint.scoring import FirstToken, Words
from potstill.workspace import open_workspace
from tests.labels.fakes import LOGPROBS
from tests.labels.processes import call, finish
from tests.small import jsonl, texts
from tests.teachers.endpoint.faults import GOOD, stub, tokens
from tests.teachers.endpoint.made import rows, teacher

LISTS = {
    "fewer than k": tokens(("good", -0.2)),
    "-inf": tokens(("good", -0.2), ("bad", -math.inf)),
    "the sampled token as one more": tokens(("good", -0.2), ("bad", -2.0), said="bad"),
    "a mass above one": tokens(("good", 0.0), ("bad", 0.0)),
}


@pytest.mark.parametrize("name", LISTS)
def test_trap_46_odd_lists_of_first_tokens(name):
    found = FirstToken(Words(("bad", "good"), {}), "chat", 5).read(LISTS[name], {})
    assert found.shape == (1, 2)
    assert np.isfinite(found).all()
    assert np.exp(found.astype(np.float64)).sum() == pytest.approx(1.0, abs=1e-6)
    if name in ("fewer than k", "-inf"):
        assert np.exp(found)[0, 0] == pytest.approx(1 - math.exp(-0.2), rel=1e-4)  # at most what is left over


def test_trap_48_a_killed_process_loses_what_is_in_flight_alone(tmp_path):
    with stub(GOOD) as script:
        call(tmp_path, script.url, rows=24, kill_at="labels.settle.after:9").communicate(timeout=60)
        result = finish(call(tmp_path, script.url, rows=24))
    assert result["calls"] == 24 - 9
    assert len(script.seen) - 24 <= result["possibly_paid"] <= 4


def test_trap_49_to_the_token_retries_too(tmp_path):
    """The server's own count is what is settled and what was possibly paid, of answers, refused attempts and broken connections."""
    script = [GOOD, (500, "x", {}), GOOD, "cut", (429, "wait", {"Retry-After": "1"}), GOOD]
    with stub(*script) as server, LabelStore(tmp_path / "labels") as store:
        answers = ask(teacher(server.url, concurrency=1, usd_per_million_in=1.0), rows(20), [LOGPROBS], Account(store, run="r"))
        spent = store.spent("r")
    assert answers.counts["answered"] == 20
    assert spent.calls + spent.possibly_paid == len(server.seen) == 23
    assert spent.possibly_paid == 1 == answers.usage.possibly_paid
    assert (spent.tokens_in, spent.tokens_out) == (200, 20)
    assert spent.usd == pytest.approx(200e-6)
    assert spent.possibly_usd > 0


def test_trap_49_a_budget_counts_attempts(tmp_path):
    with stub((500, "x", {}), (500, "x", {}), GOOD) as server, LabelStore(tmp_path / "labels") as store, pytest.raises(Exception, match="used up: 4 of 9"):
        ask(teacher(server.url, concurrency=1), rows(9), [LOGPROBS], Account(store, limits=Limits(calls=6)))
    assert len(server.seen) == 6


def test_trap_52_shots_are_no_rows_that_judge_nor_like_them(tmp_path):
    made = texts(80, seed=3)
    files = {"test": made[:20], "validation": made[20:40], "calibration": made[40:60]}
    for name, some in files.items():
        jsonl(tmp_path / f"{name}.jsonl", some)
    planted = [some[0] for some in files.values()]
    like = [{**row, "text": row["text"].upper() + "  "} for row in planted]
    jsonl(tmp_path / "train.jsonl", [*made[60:], *planted, *like])
    recipe = {
        "task": "text-classification", "name": "planted", "students": [{"name": "ngram", "kind": "ngram"}],
        "data": {"train": "train.jsonl", "near_duplicates": 0.85, "max_dropped": 0.9, **{name: f"{name}.jsonl" for name in files}},
        "teacher": {"kind": "endpoint", "url": "http://127.0.0.1:9/v1", "model": "m", "prompt": {"shots": 18}},
    }  # fmt: skip
    with open_workspace(load(recipe, base=tmp_path), tmp_path / "run", RunLog(), offline=False, fresh=False) as work:
        teaching = adapt(work, prepare(work))
        prompt = json.dumps(teaching.teacher.way.body(teaching.teacher.template, teaching.teacher.shots, {"text": "x"})).lower()
    assert len(teaching.ready.shots) == 18
    assert {row.fields["text"] for row in teaching.ready.shots} <= {row["text"] for row in made[60:]}
    assert not [row["text"] for some in files.values() for row in some if row["text"].lower() in prompt]
