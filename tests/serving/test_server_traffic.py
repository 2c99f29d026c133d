"""The traffic log of a real server: killed under load it has lost a second at most; a full disk stops no answer; the teacher's rows become data."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
import time

import httpx
import pytest

from potstill.monitoring import look
from tests.cascade.small import bundle, labelled
from tests.serving.live import serving
from tests.serving.test_server_cascade import cascade, folder  # noqa: F401 - fixtures

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tickets(tmp_path_factory):
    return bundle(tmp_path_factory.mktemp("served") / "tickets")


def texts_in(path):
    base = sqlite3.connect(path)
    assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    found = {json.loads(fields)["text"] for (fields,) in base.execute("SELECT fields FROM rows")}
    base.close()
    return found


def test_a_kill_under_load_costs_the_last_second_at_most_and_it_starts_again(tickets, tmp_path):
    path = tmp_path / "traffic.db"
    for attempt in range(3):
        done: list[tuple[float, str]] = []
        with serving(tickets, "--traffic", path, "--traffic-inputs", folder=tmp_path) as running:

            def load(number, running=running, done=done, attempt=attempt):
                with running.client() as client:
                    for i in range(10**6):
                        text = f"round {'abc'[attempt]} thread {number} row {i}"
                        try:
                            if client.post("/v1/predict", json={"inputs": [text]}).status_code == 200:
                                done.append((time.monotonic(), text))
                        except httpx.HTTPError:
                            return

            threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            time.sleep(3.0)
            killed = time.monotonic()
            running.process.kill()
            running.process.wait()
            for thread in threads:
                thread.join()
        held = texts_in(path)
        early = [text for at, text in done if at < killed - 1.0]
        assert len(early) > 50
        assert not [text for text in early if text not in held]


def test_sigterm_writes_all_and_a_full_disk_stops_no_answer(tickets, tmp_path):
    path = tmp_path / "traffic.db"
    env = {"MOST_BYTES": "400000"}
    with serving(tickets, "--traffic", path, "--traffic-inputs", folder=tmp_path, env=env) as running:
        with running.client() as client:
            assert client.post("/v1/predict", json={"inputs": ["first"]}).status_code == 200
            time.sleep(1.0)  # it is written by then
            for _ in range(12):
                assert client.post("/v1/predict", json={"inputs": ["long " * 10_000] * 4}).status_code == 200
                time.sleep(0.1)
            end = time.monotonic() + 10
            while running.metric("potstill_traffic_failed_rows") == 0:
                assert time.monotonic() < end
                time.sleep(0.05)
            assert client.post("/v1/predict", json={"inputs": ["last"]}).status_code == 200
        assert running.stop() == 0
        assert "traffic is not kept: " in "".join(running.lines)
    assert "first" in texts_in(path)


def test_what_the_teacher_was_paid_for_is_data_and_no_text_is_kept_unasked(folder, tmp_path, cascade):  # noqa: F811
    _, arguments, env = cascade(usd_per_1000=2.0)
    texts = [row["text"] for row in labelled(folder / "tickets", 60, seed=9)]
    path, out = tmp_path / "traffic.db", tmp_path / "rows.jsonl"
    with serving(folder / "tickets", *arguments, "--traffic", path, "--traffic-inputs", "--traffic-sample", 0, folder=tmp_path, env=env) as running:
        with running.client() as client:
            found = client.post("/v1/predict", json={"inputs": texts}).json()["predictions"]
        assert running.stop(signal.SIGTERM) == 0
    passed = [text for text, one in zip(texts, found) if one["served_by"] == "teacher"]
    assert look.export(path, out) == (len(passed), 0)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["text"] for row in rows] == passed
    assert {row["label"] for row in rows} == {"maybe"}
    assert look.stats(path)["models"][0]["usd"] == pytest.approx(0.002 * len(passed))
