"""The server, in a process of its own: its protocols, and what it refuses."""

from __future__ import annotations

import json
import time
from http.client import HTTPConnection

import numpy as np
import pytest

from potstill.serving.predictor import Predictor
from tests.cli.conftest import potstill
from tests.serving.graphs import LABELS
from tests.serving.live import bundles, serving

__all__ = ["potstill"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bundles(tmp_path_factory.mktemp("served"))


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
