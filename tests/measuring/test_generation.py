"""The structure of a language model's measurement, on fakes and on a real artifact."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from potstill.errors import PotstillError
from potstill.export.causal import write
from potstill.measuring.generation import BATCHES, measure, speedup
from potstill.measuring.measure import ROUNDS, Subject
from potstill.runlog import RunLog
from potstill.serving.turns import spec_of
from tests import tiny

ROWS = [{"prompt": prompt} for prompt in ("the good film", "one two three", "a", "by day and night we run home")]


def fake(name, **spec):
    return Subject(name, "tests.measuring.fakes:open_ticking", {"name": name, **spec})


def test_subjects_are_timed_by_the_token():
    subjects = [fake("teacher", first_s=0.012, token_s=0.004), fake("student", first_s=0.006, token_s=0.001)]
    found = measure(subjects, ROWS, threads=1, log=RunLog(), tokens=4, budget_s=4)
    assert set(found) == {"teacher", "student"}
    one = found["student"]
    assert one.first_token_ms["p50"]["value"] > one.token_ms["p50"]["value"] >= 1
    assert one.first_token_ms["p50"]["n"] >= 200
    assert set(one.tokens_per_s) == set(one.rounds) == set(BATCHES)
    assert all(len(rounds) == ROUNDS for rounds in one.rounds.values())
    assert one.tokens_per_s[8] > 2 * one.tokens_per_s[1]
    assert one.peak_memory_bytes > 5_000_000
    faster = speedup(one, found["teacher"])
    assert set(faster) == {"batch_1", "batch_8"}
    assert faster["batch_1"]["low"] > 1


def test_a_slow_subject_takes_longer_and_gets_its_200_calls():
    (one,) = measure([fake("slow", first_s=0.01, token_s=0.005)], ROWS, threads=1, log=RunLog(), tokens=4, budget_s=0.1).values()
    assert one.first_token_ms["p50"]["n"] == 200
    assert one.token_ms["p50"]["n"] >= 200
    assert one.first_token_ms["p99"] is None


def test_a_real_artifact(tmp_path):
    folder = tiny.decoder(tmp_path / "decoder")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    write(AutoModelForCausalLM.from_pretrained(folder).eval(), spec_of(tokenizer, max_length=64), tokenizer.backend_tokenizer, tmp_path / "artifact")
    subject = Subject("it", "potstill.measuring.openers:generator", {"folder": str(tmp_path / "artifact"), "threads": 1})
    (one,) = measure([subject], ROWS, threads=1, log=RunLog(), tokens=8, budget_s=4).values()
    assert one.tokens == 8
    assert one.tokens_per_s[8] > 0
    assert one.as_json()["start_s"] > 0
    with pytest.raises(PotstillError, match="no row"):
        measure([subject], [], threads=1, log=RunLog())
