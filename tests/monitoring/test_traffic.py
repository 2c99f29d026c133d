"""The traffic log by itself: sampling, what is kept without inputs, retention, a disk that is full, what is made of it."""

from __future__ import annotations

import json
import sqlite3
import stat
import time
from types import SimpleNamespace

import numpy as np
import pytest

from potstill.errors import UserError
from potstill.monitoring import look, traffic
from potstill.monitoring.database import clear, connect, used_bytes
from potstill.monitoring.traffic import Kept, TrafficLog
from potstill.serving.answering import Answered, Prediction

LABELS = ("no", "yes")


def answered(texts, *, taught=(), alias="tickets", digest="d" * 64, kind="classes", labels=LABELS, flag=""):
    """What a hook hears of a request of so many texts, the student saying no, the teacher yes of ``taught``."""
    policy = SimpleNamespace(id="p" * 16, limits=SimpleNamespace(usd_per_1000=2.0))
    model = SimpleNamespace(digest=digest, policy=policy, predictor=SimpleNamespace(kind=kind, labels=labels, fields=("text",)))
    told = {False: "no", True: "yes"} if kind == "classes" else {False: [], True: ["yes"]}
    said = [Prediction(told[i in taught], 0.9, {"no": 0.9, "yes": 0.1}, "teacher" if i in taught else "student", 0.9, flag) for i in range(len(texts))]
    scores = {i: np.log(np.float32([0.2, 0.8])) for i in taught}
    return Answered(alias, model, [{"text": text} for text in texts], said, scores, {"queue": 0.001, "tokenize": 0.002, "infer": 0.003})


def written(path):
    with sqlite3.connect(path) as base:
        base.row_factory = sqlite3.Row
        found = [dict(row) for row in base.execute("SELECT * FROM rows ORDER BY id")]
    base.close()
    return found


def kept(path, *answers, **more):
    log = TrafficLog(path, Kept(**more))
    for one in answers:
        log(one)
    log.close()
    return log


def test_without_inputs_no_text_is_in_the_file(tmp_path):
    path = tmp_path / "t.db"
    log = kept(path, answered(["secret words", "other", "secret words"], taught=[1]))
    assert (log.written, log.dropped, log.failed) == (3, 0, 0)
    rows = written(path)
    assert rows[0]["input"] == rows[2]["input"] != rows[1]["input"]
    assert [row["chars"] for row in rows] == [12, 5, 12]
    assert (rows[1]["served_by"], json.loads(rows[1]["told"]), rows[1]["usd"]) == ("teacher", "yes", 0.002)
    assert rows[0]["infer_ms"] == pytest.approx(3.0)
    assert all(b"secret" not in file.read_bytes() for file in tmp_path.iterdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UserError, match="nothing to write"):
        look.export(path, tmp_path / "o.jsonl")


def test_a_share_is_kept_and_all_that_the_teacher_was_paid_for(tmp_path):
    log = TrafficLog(tmp_path / "t.db", Kept(share=0.1))
    log.random.seed(1)
    for _ in range(100):
        log(answered(["a"] * 50, taught=[7, 9]))
    log.close()
    found = look.stats(tmp_path / "t.db")["models"][0]
    assert found["by_teacher"] == 200
    assert found["rows"] == log.written < 900
    assert found["standing_for"] == pytest.approx(5000, rel=0.15)
    assert found["passed_on"] == pytest.approx(0.04, rel=0.15)
    assert found["usd"] == pytest.approx(0.4)


def test_what_waits_is_bounded_and_what_comes_on_top_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(traffic, "MOST_ROWS", 100)
    log = TrafficLog(tmp_path / "t.db", Kept())
    with log.woken:  # the writer can't take anything meanwhile
        for _ in range(30):
            log(answered(["a"] * 10))
    log.close()
    assert (log.written, log.dropped) == (100, 200)


def test_what_is_past_its_days_goes_then_the_oldest(tmp_path):
    path = tmp_path / "t.db"
    kept(path, *[answered([f"{i} " + "x" * 2000]) for i in range(3000)], inputs=True)
    base = connect(path)
    base.execute("UPDATE rows SET at = ? WHERE id <= 100", (time.time() - 8 * 86400,))
    assert clear(base, days=7, most_bytes=10**9)
    assert base.execute("SELECT count(*), min(id) FROM rows").fetchone() == (2900, 101)
    before = path.stat().st_size
    assert clear(base, days=7, most_bytes=3_000_000, seconds=30)
    assert used_bytes(base) <= 3_000_000
    assert path.stat().st_size < before / 2
    left = base.execute("SELECT count(*), max(id) FROM rows").fetchone()
    assert left[0] > 0
    assert left[1] == 3000  # the newest stay
    base.close()
    assert b'"50 xxxx' not in path.read_bytes()  # and what went is not in the file's free pages


def test_rows_of_the_teacher_are_a_recording_and_all_texts_a_pool(tmp_path):
    path, out = tmp_path / "t.db", tmp_path / "o.jsonl"
    kept(path, answered(["mail a@b.de", "b", "c", "b", "half \ud800"], taught=[0, 1, 3, 4]), answered(["b"]), inputs=True)
    assert look.export(path, out) == (2, 0)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["label"] for row in rows] == ["yes", "yes"]
    assert rows[0]["text"].startswith("mail <email:")
    assert rows[1] == {"text": "b", "label": "yes", "probabilities": {"no": pytest.approx(0.2), "yes": pytest.approx(0.8)}}
    assert look.export(path, out, pool=True) == (3, 0)
    assert all(set(json.loads(line)) == {"text"} for line in out.read_text().splitlines())


def test_a_recorded_teacher_reads_what_is_exported(tmp_path):
    from potstill.recipe.teacher import RecordedTeacher as Spec
    from potstill.records import Example, Head
    from potstill.teachers.build import Given
    from potstill.teachers.recorded import open_recorded

    for kind, expected in (("classes", np.log([0.2, 0.8])), ("labels", np.log([0.2, 0.8]))):
        out = tmp_path / f"{kind}.jsonl"
        kept(tmp_path / f"{kind}.db", answered(["b"], taught=[0], kind=kind), inputs=True)
        look.export(tmp_path / f"{kind}.db", out)
        head = Head(kind, LABELS)
        teacher = open_recorded(Spec(kind="recorded", path=str(out)), head, Given())
        ((_, answer),) = teacher.answer([Example.make({"text": "b"})], [head.want])
        assert answer.arrays[head.want][0] == pytest.approx(expected, abs=1e-4)  # log-probabilities, or log-odds: what the teacher had said


def test_several_models_and_different_labels_are_told_apart(tmp_path):
    path = tmp_path / "t.db"
    kept(path, answered(["a"], taught=[0]), answered(["a"], taught=[0], alias="spam", digest="e" * 64), inputs=True)
    with pytest.raises(UserError, match="several models"):
        look.export(path, tmp_path / "o.jsonl")
    with pytest.raises(UserError, match="no rows of 'tickts'") as found:
        look.export(path, tmp_path / "o.jsonl", model="tickts")
    assert "tickets" in found.value.remedy
    assert look.export(path, tmp_path / "o.jsonl", model="spam") == (1, 0)
    kept(path, answered(["a"], taught=[0], digest="f" * 64, labels=("a", "b")), inputs=True)
    with pytest.raises(UserError, match="different labels"):
        look.export(path, tmp_path / "o.jsonl", model="tickets")


def test_another_file_is_no_traffic_log(tmp_path):
    (tmp_path / "text").write_text("hello " * 1000)
    with sqlite3.connect(tmp_path / "other.db") as base:
        base.execute("CREATE TABLE a (b)")
    base.close()
    for path in (tmp_path / "text", tmp_path / "other.db", tmp_path / "nowhere" / "t.db"):
        with pytest.raises(UserError):
            connect(path, create=True)
    with pytest.raises(UserError, match="no such file"):
        look.stats(tmp_path / "missing.db")


def test_a_file_that_is_lost_and_a_full_one_are_counted_and_told_and_it_goes_on(tmp_path):
    said: list[str] = []
    log = TrafficLog(tmp_path / "t.db", Kept(inputs=True), tell=said.append)
    log(answered(["a"]))
    _until(lambda: log.written == 1)
    log.base.execute(f"PRAGMA max_page_count = {log.base.execute('PRAGMA page_count').fetchone()[0]}")
    log(answered(["x" * 100_000] * 3))
    _until(lambda: log.failed == 3)
    assert said == ["database or disk is full"]
    log(answered(["b"]))
    log.close()
    assert (log.written, log.failed) == (2, 3)
    assert [json.loads(row["fields"])["text"] for row in written(tmp_path / "t.db")] == ["a", "b"]


def _until(true, seconds=10):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
