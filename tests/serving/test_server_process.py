"""The server's process: what is in it, its keys, its queue and its end; another bundle swapped in while it serves."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time

import pytest

from potstill import storage
from tests.cascade.small import bundle
from tests.serving.live import bundles, refused, serving, together

pytestmark = pytest.mark.slow
SECRET = "sk-do-not-print-this"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bundles(tmp_path_factory.mktemp("served"))


def test_torch_scipy_and_pyarrow_are_not_in_the_process_and_it_ends_with_0(folder):
    with serving(folder / "tickets", folder=folder) as running:
        with running.client() as client:
            assert client.post("/v1/predict", json={"inputs": ["a"]}).status_code == 200
        assert running.stop() == 0
        assert json.loads(running.told.read_text()) == []
        assert running.events("opened")[0]["workers"] >= 1
        assert "rows/s" in running.until(r"tickets: \d+ calls at a time, 1 thread a call, batches of \d+ .*rows/s.*").group(0)


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop is not made for Windows")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_it_runs_on_uvloop_where_that_is_installed_and_else_on_asyncio(folder, tmp_path, loop):
    env = {}
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text('raise ModuleNotFoundError("not here", name="uvloop")\n')
        env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with serving(folder / "tickets", folder=tmp_path, env=env) as running:
        running.until(rf"listening on \S+, by {loop}'s event loop")
        with running.client() as client:
            assert client.post("/v1/predict", json={"inputs": ["a"]}).status_code == 200
        assert running.stop() == 0


def test_keys_are_wanted_and_neither_they_nor_inputs_are_written(folder, tmp_path):
    env = {"CLIENT_KEY": SECRET, "ADMIN_KEY": SECRET + "-admin"}
    with (
        serving(
            folder / "tickets", "--api-key-env", "CLIENT_KEY", "--admin-key-env", "ADMIN_KEY", "--traffic", tmp_path / "traffic.db", folder=folder, env=env
        ) as running,
        running.client() as client,
    ):
        assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
        body = {"inputs": ["a very private text"]}
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {SECRET}"},
            {"authorization": "Bearer"},
            {"authorization": b"Bearer \xff"},
        ):
            found = client.post("/v1/predict", json=body, headers=headers)
            assert found.status_code == 401
            assert found.headers["www-authenticate"] == "Bearer"
        assert client.get("/metrics").status_code == 401
        right = {"authorization": f"Bearer {SECRET}"}
        answer = client.post("/v1/predict", json=body, headers=right)
        assert answer.status_code == 200
        assert client.get("/v1/admin/aliases", headers=right).status_code == 401  # a client may not look
        admin = {"authorization": f"Bearer {SECRET}-admin"}
        assert list(client.get("/v1/admin/aliases", headers=admin).json()) == ["tickets"]
        metrics = client.get("/metrics", headers=right).text
        numbers = client.get("/v1/live", headers=right).text
        assert json.loads(numbers)["minute"]["student"] <= 1
        shown = client.get("/").text + client.get("/openapi.json").text.replace('"label"', "")
        running.stop()
        written = "".join(running.lines) + metrics + numbers + shown
        assert answer.headers["x-request-id"] in written
        for word in (SECRET, "private", '"label"'):
            assert word not in written
        kept = b"".join(file.read_bytes() for file in tmp_path.glob("traffic.db*"))
        assert b"tickets" in kept
        for word in (SECRET, "private"):
            assert word.encode() not in kept


def test_inputs_are_written_where_that_is_asked_for(folder):
    with serving(folder / "tickets", "--log-inputs", folder=folder) as running:
        with running.client() as client:
            client.post("/v1/predict", json={"inputs": ["a very private text"]})
        running.stop()
        assert running.events("request")[0]["inputs"] == [{"text": "a very private text"}]


def test_a_variable_without_a_key_is_refused(folder):
    code, said = refused([folder / "tickets", "--api-key-env", "NO_SUCH_KEY"], folder)
    assert code == 2
    assert "holds no key" in said


# -------------------------------------------------------------------------------------------------- readiness, and its end
def test_it_lives_before_it_is_ready_and_a_bundle_that_answers_otherwise_is_not_served(folder, tmp_path):
    broken = bundle(tmp_path / "broken")
    probes = storage.read_json(broken / "probes.json")
    probes["probes"][0]["logprobs"][0] += 1.0
    storage.write_json(broken / "probes.json", probes)
    manifest = storage.read_json(broken / "manifest.json")
    manifest["files"]["probes.json"]["sha256"] = storage.sha256_file(broken / "probes.json")
    storage.write_json(broken / "manifest.json", manifest)
    with serving(folder / "slow", f"broken={broken}", "--batch", 1, folder=tmp_path, ready=False) as running:
        with running.client() as client:
            assert client.get("/livez").status_code == 200
            assert client.get("/readyz").status_code == 503
            assert client.post("/v1/predict", json={"inputs": ["a"]}).status_code == 503
        assert running.process.wait(60) == 3
        running.reader.join(5)
        assert f"{broken}, probe 'empty': a log-probability is off by 1" in "".join(running.lines)


def test_sigterm_answers_what_it_has_accepted(folder):
    with serving(folder / "slow", "--workers", 1, "--batch", 1, "--max-wait", 60, folder=folder) as running:
        threads, results = together(6, running, ["word"] * 8)
        with running.client() as client:
            end = time.monotonic() + 10
            while running.metric("potstill_requests_inside") < 7:  # the one that asks is inside too
                assert time.monotonic() < end
                time.sleep(0.01)
            running.process.send_signal(signal.SIGTERM)
            running.until('"event": "stopping"')
            assert client.get("/readyz").status_code == 503
        for thread in threads:
            thread.join()
        assert [status for status, _, _ in results] == [200] * 6
        assert running.stop() == 0
        assert running.events("stopped")[0]["unanswered"] == 0


@pytest.fixture(scope="module")
def busy(folder):
    with serving(folder / "slow", "--workers", 1, "--batch", 1, "--max-queue", 6, "--max-wait", 30, folder=folder) as running:
        yield running


def test_a_full_queue_is_told_at_once_with_the_time_to_come_again(busy):
    threads, results = together(12, busy, ["one", "two"])
    for thread in threads:
        thread.join()
    refused = [(took, found) for status, took, found in results if status == 429]
    assert refused
    assert len(refused) + sum(status == 200 for status, _, _ in results) == 12
    for _, found in refused:
        assert int(found.headers["retry-after"]) >= 1
        assert found.json()["error"]["type"] == "rate_limit_error"
    assert min(took for took, _ in refused) < 1.0


def test_so_many_requests_may_be_inside_and_no_more(folder):
    with serving(folder / "slow", "--workers", 1, "--batch", 1, "--max-requests", 3, "--max-wait", 60, folder=folder) as running:
        threads, results = together(8, running, ["word"] * 8)
        for thread in threads:
            thread.join()
        assert sorted({status for status, _, _ in results}) == [200, 429]
        assert any("requests are inside already" in found.text for status, _, found in results if status == 429)


def test_a_wait_that_would_be_too_long_is_refused_before_it_begins(folder):
    with serving(folder / "slow", "--workers", 1, "--batch", 1, "--max-queue", 1000, "--max-wait", 0.05, folder=folder) as running:
        threads, results = together(12, running, ["one", "two", "three", "four"])
        for thread in threads:
            thread.join()
        assert {status for status, _, _ in results} == {200, 429}


def test_a_deadline_ends_the_request_and_its_work(busy):
    with busy.client() as client:
        found = client.post("/v1/predict", json={"inputs": ["word"] * 100}, headers={"x-timeout-ms": "100"})
        assert found.status_code == 504
        assert busy.metric('potstill_cancelled_total{reason="deadline"}') == 1
        began = time.monotonic()
        assert client.post("/v1/predict", json={"inputs": ["a"]}).status_code == 200
        assert time.monotonic() - began < 2.0  # the hundred rows are not worked off first


def test_a_client_that_leaves_takes_its_rows_along(busy):
    body = json.dumps({"inputs": ["word"] * 200}).encode()
    host, port = busy.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: " + str(len(body)).encode() + b"\r\n\r\n" + body)
        time.sleep(0.3)
    end = time.monotonic() + 10
    while busy.metric('potstill_cancelled_total{reason="disconnect"}') < 1:
        assert time.monotonic() < end
        time.sleep(0.05)
    with busy.client() as client:
        assert client.post("/v1/predict", json={"inputs": ["a"]}).status_code == 200
    assert busy.metric("potstill_queue_rows") == 0


# ----------------------------------------------------------------------------------------------------------------- a swap
def test_a_bundle_is_swapped_under_load_without_an_error_shared_by_weights_and_back(folder, tmp_path):
    env, admin = {"ADMIN_KEY": SECRET}, {"authorization": f"Bearer {SECRET}"}
    newer = bundle(tmp_path / "newer", temperature=2.0)
    with serving(folder / "tickets", "--admin-key-env", "ADMIN_KEY", folder=tmp_path, env=env) as running, running.client(headers=admin) as client:
        seen: list = []
        going = True

        def load():
            with running.client() as mine:
                while going:
                    found = mine.post("/v1/predict", json={"inputs": ["one two"]})
                    seen.append((found.status_code, found.json().get("bundle")))

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        (first,) = client.get("/v1/admin/aliases").json()["tickets"]
        canary = client.post("/v1/admin/aliases/tickets", json={"bundle": str(newer), "weight": 0.5}).json()["tickets"]
        assert sorted(one["weight"] for one in canary) == [0.5, 0.5]
        time.sleep(0.5)
        assert {digest for _, digest in seen[-40:]} == {one["digest"] for one in canary}
        second = next(one["digest"] for one in canary if one["digest"] != first["digest"])
        client.post("/v1/admin/aliases/tickets/weights", json={second[:12]: 1})
        mark = len(seen) + 6
        time.sleep(0.4)
        assert {digest for _, digest in seen[mark:]} == {second}
        client.post("/v1/admin/aliases/tickets/back", json={})
        client.post("/v1/admin/aliases/tickets/weights", json={first["digest"]: 1.0})
        mark = len(seen) + 6
        time.sleep(0.3)
        assert {digest for _, digest in seen[mark:]} == {first["digest"]}
        refused = client.post("/v1/admin/aliases/tickets", json={"bundle": str(tmp_path / "nothing")})
        assert refused.status_code == 400
        assert client.post("/v1/admin/aliases/tickets/weights", json={"abcd": 1}).status_code == 404
        assert client.post("/v1/admin/aliases/tickets/weights", json={first["digest"]: 0}).status_code == 404
        assert client.post("/v1/admin/aliases/nobody/back", json={}).status_code == 404
        going = False
        for thread in threads:
            thread.join()
        assert {status for status, _ in seen} == {200}
