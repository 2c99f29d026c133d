"""The paper that is written first, and the ledger of looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest

from potstill import storage
from potstill.errors import SealedError
from potstill.evaluation import registration
from potstill.evaluation.registration import read, reads, register, share
from potstill.records import Example, SealedSplit, rows_digest

ASKED = {"quality": {"max_drop": 0.02}}


def look(paper, said: str = "a", **changed):
    return read(paper, **{"artifacts": {"half": "1"}, "predictions": {"half": said}, "alpha": 0.05, **changed})


def test_the_same_registration_keeps_its_first_time(tmp_path, monkeypatch):
    first = register(tmp_path, ASKED, "rows", {"order": ["half"]})
    monkeypatch.setattr(registration.time, "gmtime", lambda: (2030, 1, 1, 0, 0, 0, 0, 1, 0))
    assert register(tmp_path, ASKED, "rows", {"order": ["half"]}) == first
    assert storage.read_json(first.path)["requirement"] == ASKED


def test_a_changed_registration_is_another_and_the_one_before_is_kept(tmp_path):
    first = register(tmp_path, ASKED, "rows", {"order": ["half"]})
    second = register(tmp_path, {"quality": {"max_drop": 0.05}}, "rows", {"order": ["half"]})
    assert second.hash != first.hash
    assert storage.read_json(second.path)["hash"] == second.hash
    assert storage.read_json(tmp_path / f"registration-{first.hash[:16]}.json")["requirement"] == ASKED
    back = register(tmp_path, ASKED, "rows", {"order": ["half"]})
    assert (back.hash, back.time) == (first.hash, first.time)


def test_every_part_counts(tmp_path):
    made = [
        register(tmp_path / str(i), asked, rows, analysis).hash
        for i, (asked, rows, analysis) in enumerate([(ASKED, "r", {}), (None, "r", {}), (ASKED, "s", {}), (ASKED, "r", {"x": 1})])
    ]
    assert len(set(made)) == 4


def test_looks_spend_four_fifths_then_half_of_what_is_left_and_never_all():
    assert [share(k, 0.05) for k in (1, 2, 3, 4)] == pytest.approx([0.04, 0.005, 0.0025, 0.00125])
    assert sum(share(k, 0.05) for k in range(1, 60)) < 0.05 + 1e-15


def test_repeating_a_look_is_free_and_a_new_one_is_not(tmp_path):
    paper = register(tmp_path / "run", ASKED, "rows", {})
    first, second = look(paper, "a"), look(paper, "b")
    assert (first.number, first.alpha, first.repeated) == (1, pytest.approx(0.04), False)
    assert (second.number, second.alpha, second.repeated) == (2, pytest.approx(0.005), False)
    again = look(register(tmp_path / "another folder", ASKED, "rows", {}), "a")
    assert (again.number, again.alpha, again.repeated) == (1, pytest.approx(0.04), True)
    assert again.next == second.next == 3
    assert reads("rows") == 2
    assert look(paper, "a", artifacts={"half": "2"}).number == 3
    assert look(register(tmp_path / "run", None, "rows", {}), "a").number == 4
    assert look(register(tmp_path / "other", ASKED, "other rows", {}), "a").number == 1
    json.dumps(asdict(first))


def test_a_torn_line_is_passed_over_and_swallows_nothing(tmp_path):
    paper = register(tmp_path, ASKED, "rows", {})
    look(paper, "a")
    ledger = storage.home() / "reads" / "rows.jsonl"
    with ledger.open("a") as file:
        file.write('{"key": "torn')
    assert look(paper, "b").number == 2
    with ledger.open("a") as file:
        file.write("12\n")
    assert (look(paper, "b").number, look(paper, "c").number) == (2, 3)


def test_two_processes_at_once_book_two_looks(tmp_path):
    register(tmp_path, ASKED, "rows", {})
    program = (
        "import sys; from pathlib import Path\n"
        "from potstill.evaluation.registration import read, register\n"
        f"paper = register(Path({str(tmp_path)!r}), {ASKED!r}, 'rows', {{}})\n"
        "print([read(paper, artifacts={}, predictions={'p': f'{sys.argv[1]}{i}'}, alpha=0.05).number for i in range(20)])"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(k)], stdout=subprocess.PIPE, env=os.environ) for k in range(2)]
    numbers = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    assert sorted(numbers[0] + numbers[1]) == list(range(1, 41))


def test_killed_after_booking_the_look_is_found_again(tmp_path):
    register(tmp_path, ASKED, "rows", {})
    program = (
        "from pathlib import Path; from potstill.evaluation.registration import read, register\n"
        f"read(register(Path({str(tmp_path)!r}), {ASKED!r}, 'rows', {{}}), artifacts={{'half': '1'}}, predictions={{'half': 'a'}}, alpha=0.05)"
    )
    killed = subprocess.run([sys.executable, "-c", program], env={**os.environ, "POTSTILL_KILL_AT": "read.after"}, check=False)
    assert killed.returncode < 0
    again = look(register(tmp_path, ASKED, "rows", {}))
    assert (again.number, again.repeated) == (1, True)


def test_the_test_rows_open_only_to_a_registration_of_them_that_is_on_disk(tmp_path):
    rows = (Example.make({"text": "a"}, gold="x"),)
    sealed = SealedSplit(rows_digest(rows), 1, lambda: rows)
    with pytest.raises(SealedError):
        sealed.open(register(tmp_path / "a", ASKED, "other rows", {}))
    paper = register(tmp_path / "b", ASKED, sealed.digest, {})
    assert sealed.open(paper) == rows
    paper.path.unlink()
    with pytest.raises(SealedError):
        sealed.open(paper)
