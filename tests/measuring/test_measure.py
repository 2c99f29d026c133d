"""The structure of a measurement; how fast anything is says nothing on a machine that others use."""

from __future__ import annotations

import itertools

import pytest

from potstill.errors import PotstillError
from potstill.measuring import energy, machine
from potstill.measuring.measure import ROUNDS, Measured, Subject, measure, speedup
from potstill.runlog import RunLog

REF = "tests.measuring.fakes:open_fake"
ROWS = [{"text": f"{i}"} for i in range(40)]


def fake(name, **spec):
    return Subject(name, REF, {"name": name, **spec})


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    calls = tmp_path_factory.mktemp("calls") / "calls"
    seen = []
    log = RunLog(listeners=[seen.append])
    subjects = [fake("teacher", calls=str(calls), row_s=0.002), fake("student", calls=str(calls))]
    found = measure(subjects, ROWS, threads=1, log=log, budget_s=2)
    return found, [line.split() for line in calls.read_text().splitlines()], seen


def test_every_figure_is_there(told):
    found, _, seen = told
    assert set(found) == {"teacher", "student"}
    for one in found.values():
        assert one.latency_ms["p95"]["low"] <= one.latency_ms["p95"]["value"] <= one.latency_ms["p95"]["high"]
        assert len(one.rounds) == ROUNDS
        assert one.batch_size in (8, 32, 64)
        assert one.peak_memory_bytes > 5_000_000
        assert one.start_s > 0
        assert (one.energy_j_per_1000 is None) == bool(one.energy_reason)
    assert len([event for event in seen if event["event"] == "progress"]) == 2 * ROUNDS


def test_a_slow_subject_gets_200_calls_and_a_fast_one_1000(told):
    found, _, _ = told
    assert (found["teacher"].latency_ms["p95"]["n"], found["teacher"].latency_ms["p99"]) == (200, None)
    assert found["student"].latency_ms["p99"]["n"] == 1000


def test_subjects_take_turns(told):
    _, calls, _ = told
    turns = [name for name, _ in itertools.groupby(calls, key=lambda call: call[0])]
    assert turns[-2 * ROUNDS :] == ["teacher", "student"] * ROUNDS


def test_single_calls_run_over_all_rows(told):
    _, calls, _ = told
    assert {call[3] for call in calls if call[0] == "student" and call[1] == "1"} == {row["text"] for row in ROWS}


def test_speedup_is_the_teachers_time_over_the_students(told):
    found, _, _ = told
    ratio = speedup(found["student"], found["teacher"])
    assert ratio["throughput"]["low"] > 1
    assert ratio["latency_p95"]["value"] > 1
    assert ratio["throughput"]["n"] == ROUNDS


def test_speedup_without_p95():
    slow = Measured(latency_ms={"p95": None}, rounds=[1.0, 1.0])
    assert speedup(slow, slow)["latency_p95"] is None


def test_a_subject_that_dies_is_named_with_its_last_words():
    with pytest.raises(PotstillError, match=r"(?s)measuring 'broken' failed.*no weights here"):
        measure([fake("broken", dies="no weights here")], ROWS, threads=1, log=RunLog())


def test_no_rows_is_said():
    with pytest.raises(PotstillError, match="no row"):
        measure([fake("any")], [], threads=1, log=RunLog())


def test_memory_is_the_subjects_own_not_that_of_who_started_it():
    ballast = bytearray(400_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    found = measure([fake("small")], ROWS, threads=1, log=RunLog(), budget_s=0.5)["small"]
    assert found.peak_memory_bytes < 300_000_000


def test_machine_has_the_keys_of_the_report():
    found = machine.machine(3)
    assert list(found) == ["cpu", "cores", "threads", "memory_bytes", "devices", "precision", "versions"]
    assert found["threads"] == 3
    assert found["memory_bytes"] > 1e8
    assert found["devices"][0] == "cpu"
    assert "python" in found["versions"]


def test_meters_are_summed_and_parts_are_not_counted_twice(tmp_path, monkeypatch):
    for name, value in (("intel-rapl:0", 3_000_000), ("intel-rapl:1", 2_000_000), ("intel-rapl:0:0", 1_000_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{value}\n")
    monkeypatch.setattr(energy, "METERS", tmp_path)
    assert energy.joules() == 5.0
    monkeypatch.setattr(energy, "METERS", tmp_path / "none")
    assert energy.joules() is None
