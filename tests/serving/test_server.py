"""The server, in a process of its own: its protocols, what it refuses, its limits, and its end."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from http.client import HTTPConnection

import numpy as np
import pytest

from potstill.serving.predictor import Predictor
from tests.cascade.small import bundle, jsonl, labelled
from tests.cli.conftest import potstill
from tests.serving.graphs import LABELS, artifact
from tests.serving.live import serving
from tests.serving.slow import slow
from tests.serving.test_labels import many

__all__ = ["potstill"]
SECRET = "sk-do-not-print-this"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("served")
    bundle(made / "tickets")
    bundle(made / "pairs", source=lambda place, temperature: artifact(place, fields=("text", "text_pair")), rows=[{"text": "a", "text_pair": "b"}])
    bundle(made / "slow", source=slow)
    bundle(made / "sets", source=lambda place, temperature: many(place))
    return made


@pytest.fixture(scope="module")
def server(folder):
    with serving(
        folder / "tickets", f"two={folder / 'pairs'}", folder / "sets", "--max-body", 200_000, "--max-rows", 50, "--max-chars", 5_000, folder=folder
    ) as running:
        yield running


@pytest.fixture
def client(server):
    with server.client() as opened:
        yield opened


def test_it_answers_as_the_predictor_does(folder, client):
    rows = [{"text": "one two"}, {"text": "five"}, {"text": "Ελληνικά"}, {"text": ""}]
    found = client.post("/v1/predict", json={"model": "tickets", "inputs": ["one two", *rows[1:]]}).json()
    predictor = Predictor.open(folder / "tickets")
    said = predictor.predict(rows)
    assert [one["label"] for one in found["predictions"]] == predictor.decide(said)
    for one, expected in zip(found["predictions"], np.exp(said.astype(float))):
        assert one["served_by"] == "student"
        assert list(one["scores"]) == list(LABELS)
        np.testing.assert_allclose(list(one["scores"].values()), expected, atol=1e-6)
        assert one["score"] == pytest.approx(expected.max(), abs=1e-6)
    assert found["model"] == "tickets"
    assert len(found["bundle"]) == 64


def test_it_speaks_the_open_inference_protocol(client):
    assert client.get("/v2").json()["name"] == "potstill"
    assert client.get("/v2/health/live").status_code == client.get("/v2/health/ready").status_code == 200
    told = client.get("/v2/models/two").json()
    assert [tensor["name"] for tensor in told["inputs"]] == ["text", "text_pair"]
    assert client.get("/v2/models/two/ready").status_code == 200
    tensors = [{"name": name, "datatype": "BYTES", "shape": [2, 1], "data": [["a"], ["b c"]]} for name in ("text", "text_pair")]
    for path in ("/v2/models/two/infer", f"/v2/models/two/versions/{told['versions'][0]}/infer"):
        found = client.post(path, json={"id": "42", "inputs": tensors}).json()
        assert found["id"] == "42"
        assert found["model_name"] == "two"
        outputs = {output["name"]: output for output in found["outputs"]}
        assert outputs["scores"]["shape"] == [2, 3]
        assert len(outputs["scores"]["data"]) == 6
        native = client.post("/v1/predict", json={"model": "two", "inputs": [{"text": "a", "text_pair": "a"}, {"text": "b c", "text_pair": "b c"}]}).json()
        assert outputs["label"]["data"] == [one["label"] for one in native["predictions"]]
    only = client.post("/v2/models/two/infer", json={"inputs": tensors, "outputs": [{"name": "label"}]}).json()
    assert [output["name"] for output in only["outputs"]] == ["label"]
    assert isinstance(client.post("/v2/models/two/infer", json={}).json()["error"], str)


def test_it_speaks_openais_shapes(client):
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["sets", "tickets", "two"]
    native = client.post("/v1/predict", json={"model": "tickets", "inputs": ["five"]}).json()["predictions"][0]
    messages = [{"role": "system", "content": "classify"}, {"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "five"}]}]
    chat = client.post("/v1/chat/completions", json={"model": "tickets", "messages": messages}).json()
    assert chat["choices"][0]["message"] == {"role": "assistant", "content": native["label"]}
    assert chat["choices"][0]["potstill"] == native
    text = client.post("/v1/completions", json={"model": "tickets", "prompt": ["five", "one"]}).json()
    assert [choice["index"] for choice in text["choices"]] == [0, 1]
    assert text["choices"][0]["text"] == native["label"]
    stream = client.post("/v1/chat/completions", json={"model": "tickets", "messages": messages, "stream": True})
    assert stream.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in stream.text.split("\n\n") if line]
    assert json.loads(events[0])["choices"][0]["delta"]["content"] == native["label"]
    assert events[-1] == "[DONE]"


def test_a_model_of_any_number_of_labels_tells_lists(folder, client):
    predictor = Predictor.open(folder / "sets")
    rows = [{"text": "one two"}, {"text": ""}, {"text": "five"}]
    told = predictor.decide(predictor.predict(rows))
    found = client.post("/v1/predict", json={"model": "sets", "inputs": rows}).json()["predictions"]
    assert [one["labels"] for one in found] == told
    assert "label" not in found[0]
    assert "score" not in found[0]
    tensor = {"name": "text", "datatype": "BYTES", "shape": [3], "data": [row["text"] for row in rows]}
    outputs = client.post("/v2/models/sets/infer", json={"inputs": [tensor]}).json()["outputs"]
    assert [json.loads(text) for text in outputs[0]["data"]] == told
    chat = client.post("/v1/chat/completions", json={"model": "sets", "messages": [{"role": "user", "content": ""}]}).json()
    assert chat["choices"][0]["message"]["content"] == ", ".join(told[1])


WRONG = [
    ("/v1/predict", b"{", 400, "no JSON"), ("/v1/predict", b"[]", 400, "no JSON object"), ("/v1/predict", b"\xff\xfe", 400, "no JSON"),
    ("/v1/predict", b"[" * 100_000, 400, ""), ("/v1/predict", {"inputs": ["a"]}, 404, "several are served"),
    ("/v1/predict", {"model": "ticket", "inputs": ["a"]}, 404, "no such model"), ("/v1/predict", {"model": 3, "inputs": ["a"]}, 400, "'model' is a number"),
    ("/v1/predict", {"model": "tickets"}, 400, "'inputs' is missing"), ("/v1/predict", {"model": "tickets", "inputs": []}, 400, "no inputs"),
    ("/v1/predict", {"model": "tickets", "inputs": [3]}, 400, "input 0 is a number"),
    ("/v1/predict", {"model": "tickets", "inputs": ["a", {"txt": "b"}]}, 400, "input 1 has no text in 'text'"),
    ("/v1/predict", {"model": "two", "inputs": ["a"]}, 400, "input 0 is a text"), ("/v1/predict", {"model": "tickets", "inputs": ["a"] * 51}, 413, "too many"),
    ("/v1/predict", {"model": "tickets", "inputs": ["a" * 5_001]}, 413, "characters"), ("/v1/predict", b'{"inputs": ["' + b"a" * 200_000, 413, "larger"),
    ("/v2/models/tickets/infer", {"inputs": [{"name": "text", "datatype": "INT32", "shape": [1], "data": [1]}]}, 400, "BYTES"),
    ("/v2/models/tickets/infer", {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a"]}]}, 400, "are not 2 texts"),
    ("/v2/models/tickets/infer", {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}, 400, "not read by this model"),
    ("/v2/models/nobody/infer", {"inputs": []}, 404, "no such model"), ("/v2/models/tickets/versions/1/infer", {"inputs": []}, 404, "no such version"),
    ("/v1/chat/completions", {"model": "tickets", "messages": [{"role": "system", "content": "a"}]}, 400, "no message is the user's"),
    ("/v1/chat/completions", {"model": "two", "messages": [{"role": "user", "content": "a"}]}, 400, "can't tell apart"),
    ("/v1/completions", {"model": "tickets", "prompt": 3}, 400, "'prompt'"), ("/nowhere", {}, 404, "no such place"), ("/livez", {}, 405, "not done here"),
    ("/v1/admin/aliases/tickets", {"bundle": "/"}, 404, "no such place"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "words"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_said(client, path, body, status, words):
    given = {"content": body} if isinstance(body, bytes) else {"json": body}
    found = client.post(path, **given)
    assert found.status_code == status
    error = found.json()["error"]
    assert words in (error if isinstance(error, str) else error["message"])
    assert isinstance(error, str) == path.startswith("/v2")


def test_a_body_without_a_length_is_stopped_where_it_grows_too_large(client):
    sent = 0

    def parts():
        nonlocal sent
        for _ in range(100):
            sent += 10_000
            yield b"a" * 10_000

    assert client.post("/v1/predict", content=parts()).status_code == 413


@pytest.mark.parametrize("path", ["/v1/predict", "/nowhere", "/v1/admin/aliases/x"])
def test_who_still_sends_when_refused_is_told_why(client, path):
    for _ in range(10):
        assert client.post(path, content=b"a" * 3_000_000).status_code in (413, 404)


def test_a_request_keeps_its_number_and_an_odd_one_gets_another(client):
    assert client.get("/v1/models", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/v1/models", headers={"x-request-id": "a b\t{}"}).headers["x-request-id"] != "a b\t{}"
    assert client.post("/v1/predict", json={}, headers={"x-timeout-ms": "soon"}).status_code == 400


def test_metrics_part_the_time_and_hold_no_input(client):
    client.post("/v1/predict", json={"model": "tickets", "inputs": ["a very private text"]})
    text = client.get("/metrics").text
    for part in ("queue", "tokenize", "infer"):
        assert f'potstill_part_seconds_count{{part="{part}"}}' in text
    assert 'potstill_rows_total{model="tickets",served_by="student"}' in text
    assert "potstill_queue_rows 0.0" in text
    assert "private" not in text


def test_an_answer_does_not_wait_for_the_clients_acknowledgment(server):
    """Nagle's algorithm on one side and delayed ACKs on the other would make it 40 ms each."""
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    took = []
    for _ in range(60):
        began = time.perf_counter()
        connection.request("POST", "/v1/predict", json.dumps({"model": "tickets", "inputs": ["a"]}), {"content-type": "application/json"})
        connection.getresponse().read()
        took.append(time.perf_counter() - began)
    connection.close()
    assert np.quantile(took, 0.25) < 0.03


def test_an_address_that_is_taken_is_a_users_error(server, folder, potstill):
    port = server.url.rpartition(":")[2]
    done = potstill("serve", folder / "tickets", "--port", port)
    assert done.code == 2
    assert "can't be had" in done.err


def test_torch_scipy_and_pyarrow_are_not_in_the_process_and_it_ends_with_0(folder):
    with serving(folder / "tickets", folder=folder) as running:
        with running.client() as client:
            assert client.post("/v1/predict", json={"inputs": ["a"]}).status_code == 200
        assert running.stop() == 0
        assert json.loads(running.told.read_text()) == []
        assert running.events("opened")[0]["workers"] >= 1
        assert "rows/s" in running.until(r"tickets: \d+ calls at a time, 1 thread a call, batches of \d+ .*rows/s.*").group(0)


def test_keys_are_wanted_and_neither_they_nor_inputs_are_written(folder):
    env = {"CLIENT_KEY": SECRET, "ADMIN_KEY": SECRET + "-admin"}
    with (
        serving(folder / "tickets", "--api-key-env", "CLIENT_KEY", "--admin-key-env", "ADMIN_KEY", folder=folder, env=env) as running,
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
        running.stop()
        written = "".join(running.lines) + metrics
        assert answer.headers["x-request-id"] in written
        for word in (SECRET, "private", '"label"'):
            assert word not in written


def test_inputs_are_written_where_that_is_asked_for(folder):
    with serving(folder / "tickets", "--log-inputs", folder=folder) as running:
        with running.client() as client:
            client.post("/v1/predict", json={"inputs": ["a very private text"]})
        running.stop()
        assert running.events("request")[0]["inputs"] == [{"text": "a very private text"}]


def test_a_variable_without_a_key_is_refused(folder):
    from tests.serving.live import Server

    server = Server([folder / "tickets", "--api-key-env", "NO_SUCH_KEY"], folder, {})
    assert server.process.wait(30) == 2
    server.reader.join(5)
    assert "holds no key" in "".join(server.lines)
    server.process.stdout.close()
    server.process.stderr.close()


# -------------------------------------------------------------------------------------------------- readiness, and its end
def test_it_lives_before_it_is_ready_and_a_bundle_that_answers_otherwise_is_not_served(folder, tmp_path):
    from potstill import storage

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


def ask(running, results, inputs, **more):
    with running.client() as client:
        began = time.monotonic()
        found = client.post("/v1/predict", json={"inputs": inputs}, **more)
        results.append((found.status_code, time.monotonic() - began, found))


def together(count, running, inputs, **more):
    results: list = []
    threads = [threading.Thread(target=ask, args=(running, results, inputs), kwargs=more) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, results


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


# --------------------------------------------------------------------------------------------------------------- cascade
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
    from potstill.bundle.read import digest, manifest
    from potstill.cascade.policy import write
    from potstill.cascading import Asked, fit

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
    from potstill.cascade.policy import write
    from potstill.cascading import Asked, fit

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
    from tests.serving.live import Server

    server = Server([other, *arguments], tmp_path, env)
    assert server.process.wait(60) == 2
    server.reader.join(5)
    assert "of another bundle" in "".join(server.lines)
    server.process.stdout.close()
    server.process.stderr.close()
