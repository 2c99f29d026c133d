"""Bundles that write, served beside one that classifies: what they answer, piece by piece too, and how one process does both."""

from __future__ import annotations

import json
import shutil
import threading
import time
from dataclasses import replace

import httpx
import pytest

from potstill import storage
from potstill.cli.main import main
from potstill.serving.completions import Sampling
from potstill.serving.models import WrongBundle, open_bundle
from potstill.serving.writers import Pace, Way
from tests.cascade.small import bundle
from tests.serving.live import serving
from tests.serving.spoken import slow, writer

pytestmark = pytest.mark.slow
CHAT, TEXT, LONG = "/v1/chat/completions", "/v1/completions", 3000
ASKED = [{"role": "user", "content": "sun or water"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("written")
    bundle(made / "tickets")
    writer(made / "chat")
    writer(made / "plain", template=None, seed=3)
    slow(made / "slow")
    return made


@pytest.fixture(scope="module")
def server(folder):
    """One worker: all that goes on shares it."""
    names = ("tickets", "chat", "plain", "slow")
    limits = ("--workers", 1, "--max-wait", 0.5, "--max-rows", 12, "--max-chars", 2_000, "--admin-key-env", "ADMIN_KEY", "--traffic", folder / "traffic.db")
    with serving(*(folder / name for name in names), *limits, folder=folder, env={"ADMIN_KEY": "k"}) as running:
        yield running


@pytest.fixture
def client(server):
    with server.client() as opened:
        yield opened


def predicted(bundle, lines, capsys, *options):
    """What ``potstill predict`` says of lines."""
    asked = bundle.with_name("asked.jsonl")
    asked.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    assert main(["predict", str(bundle), str(asked), *map(str, options)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def streamed(client, path, body, **more):
    """The events of a stream, each as JSON, and whether it says that it is whole."""
    with client.stream("POST", path, json={**body, "stream": True}, **more) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    return [json.loads(line) for line in told if line != "[DONE]"], told[-1] == "[DONE]"


def settled(server, name, value, seconds=10.0):
    end = time.monotonic() + seconds
    while server.metric(name) != value:
        assert time.monotonic() < end, (name, server.metric(name))
        time.sleep(0.02)


# ------------------------------------------------------------------------------------------------------- what is answered
def test_the_likeliest_answer_is_that_of_predict(folder, client, capsys):
    said = predicted(folder / "chat", ['{"messages": [{"role": "user", "content": "sun or water"}]}', '{"prompt": "the good film"}'], capsys)
    chat = client.post(CHAT, json={"model": "chat", "messages": ASKED}).json()
    assert chat["choices"][0]["message"] == {"role": "assistant", "content": said[0]["completion"]}
    assert chat["choices"][0]["finish_reason"] == said[0]["finish"] == "length"  # the context is full
    assert chat["usage"]["completion_tokens"] == said[0]["tokens"]
    assert chat["usage"]["total_tokens"] == chat["usage"]["prompt_tokens"] + said[0]["tokens"] == 128
    text = client.post(TEXT, json={"model": "chat", "prompt": ["the good film", "the good film"], "temperature": 0, "max_tokens": 300}).json()
    assert [choice["text"] for choice in text["choices"]] == [said[1]["completion"]] * 2
    assert [choice["index"] for choice in text["choices"]] == [0, 1]
    parts = [{"role": "user", "content": [{"type": "text", "text": "sun or "}, {"type": "text", "text": "water"}], "name": None}]
    assert client.post(CHAT, json={"model": "chat", "messages": parts}).json()["choices"] == chat["choices"]


def test_predict_answers_as_on_the_command_line(folder, client, capsys):
    lines = ["the good film", "sun — ☀", "a"]
    for name in ("chat", "plain"):
        said = predicted(folder / name, lines, capsys, "--max-tokens", 20)
        found = client.post("/v1/predict", json={"model": name, "inputs": lines, "max_tokens": 20}).json()
        assert found["predictions"] == [{**one, "served_by": "student"} for one in said]
        assert (found["model"], len(found["bundle"])) == (name, 64)
    given = [{"text": "the good film"}, {"prompt": "the good film"}]
    one, other = client.post("/v1/predict", json={"model": "plain", "inputs": given}).json()["predictions"]
    assert one == other


@pytest.mark.parametrize("more", [{}, {"temperature": 1.2, "top_p": 0.9, "seed": 5}, {"max_tokens": 1}])
def test_the_pieces_joined_are_the_whole(client, more):
    for path, body in ((CHAT, {"messages": ASKED}), (TEXT, {"prompt": ["sun — ☀", "the good film", "a"]})):
        asked = {"model": "chat", **body, **more}
        whole = client.post(path, json=asked).json()
        events, done = streamed(client, path, {**asked, "stream_options": {"include_usage": True}})
        assert done
        assert events[-1]["usage"] == whole["usage"]
        assert events[-1]["choices"] == []
        assert {event["id"] for event in events} == {events[0]["id"]}
        texts, ends = ["" for _ in whole["choices"]], ["" for _ in whole["choices"]]
        for event in events[:-1]:
            (choice,) = event["choices"]
            texts[choice["index"]] += choice["delta"].get("content", "") if path == CHAT else choice["text"]
            ends[choice["index"]] = choice["finish_reason"]
        assert texts == [choice["message"]["content"] if path == CHAT else choice["text"] for choice in whole["choices"]]
        assert ends == [choice["finish_reason"] for choice in whole["choices"]]
        assert len(events) > (3 if more == {"max_tokens": 1} else 20) - 1


def test_a_stream_comes_while_it_is_written(client):
    began = time.monotonic()
    with client.stream("POST", TEXT, json={"model": "slow", "prompt": "day", "max_tokens": 200, "stream": True}) as answer:
        at = [time.monotonic() - began for line in answer.iter_lines() if line]
    assert len(at) > 100
    assert at[0] < at[-1] / 3


def test_answers_are_drawn_by_the_seed(client):
    def said(**more):
        return client.post(CHAT, json={"model": "chat", "messages": ASKED, "max_tokens": 30, **more}).json()["choices"][0]["message"]["content"]

    assert said(temperature=1.0, seed=1) == said(temperature=1.0, seed=1)
    assert len({said(temperature=1.0, seed=1), said(temperature=1.0, seed=2), said(temperature=1.0), said(temperature=1.0), said()}) == 5
    assert said(temperature=2.0, top_p=1e-9) == said()


def test_an_answer_ends_where_it_is_told_to(client):
    free = client.post(TEXT, json={"model": "slow", "prompt": "day", "max_tokens": 30}).json()["choices"][0]
    assert free["finish_reason"] == "length"
    stop = free["text"][6:9]
    for body in ({"stop": stop}, {"stop": ["never said", stop]}):
        ended = client.post(TEXT, json={"model": "slow", "prompt": "day", "max_tokens": 30, **body}).json()
        assert ended["choices"][0]["finish_reason"] == "stop"
        assert ended["choices"][0]["text"] == free["text"][: free["text"].find(stop)]
        events, _ = streamed(client, TEXT, {"model": "slow", "prompt": "day", "max_tokens": 30, **body})
        assert "".join(event["choices"][0]["text"] for event in events) == ended["choices"][0]["text"]
    both = {"max_tokens": 3, "max_completion_tokens": 3}
    assert client.post(CHAT, json={"model": "slow", "messages": ASKED, **both}).json()["usage"]["completion_tokens"] == 3


def test_options_by_which_nothing_is_asked_may_stand(client):
    idle = {"n": 1, "frequency_penalty": 0, "logit_bias": {}, "tools": [], "response_format": {"type": "text"}, "user": "me", "stop": None, "seed": None}
    assert client.post(CHAT, json={"model": "chat", "messages": ASKED, "max_tokens": 2, **idle}).status_code == 200


USER = {"role": "user", "content": "a"}
WRONG = [
    (CHAT, {}, "'messages' is missing"), (CHAT, {"messages": []}, "no messages"), (CHAT, {"messages": [3]}, "is a number, not an object"),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "pictures and sounds are not read"),
    (CHAT, {"messages": [{"role": "tool", "content": "a"}]}, "'tool' is no role"), (CHAT, {"messages": [USER, USER]}, "in turn"),
    (CHAT, {"messages": [USER, {"role": "assistant", "content": "b"}]}, "the last message is the assistant's"),
    (CHAT, {"messages": [{**USER, "name": "me"}]}, "'name' of messages[0]"), (CHAT, {"messages": [{"role": "user", "content": ""}]}, "is empty"),
    (CHAT, {"messages": [USER], "n": 2}, "'n' is not done here"), (CHAT, {"messages": [USER], "n": True}, "'n' is not done here"),
    (CHAT, {"messages": [USER], "tools": [{}]}, "'tools' is not done here"), (CHAT, {"messages": [USER], "logprobs": True}, "'logprobs'"),
    (CHAT, {"messages": [USER], "temprature": 1}, "did you mean 'temperature'"), (CHAT, {"messages": [USER], "temperature": 2.1}, "from 0 to 2"),
    (CHAT, {"messages": [USER], "temperature": 1e-9}, "too near to 0"), (CHAT, {"messages": [USER], "temperature": "1"}, "'temperature' is a text"),
    (CHAT, {"messages": [USER], "top_p": 0}, "'top_p' is 0"), (CHAT, {"messages": [USER], "max_tokens": 0}, "no whole number"),
    (CHAT, {"messages": [USER], "max_tokens": 2, "max_completion_tokens": 3}, "differ"), (CHAT, {"messages": [USER], "seed": 1.5}, "'seed' is a number"),
    (CHAT, {"messages": [USER], "stop": ["a", ""]}, "'stop'"), (CHAT, {"messages": [USER], "stop": list("abcde")}, "4 are the most"),
    (CHAT, {"messages": [USER], "stream": "yes"}, "'stream' is a text"), (CHAT, {"messages": [USER], "stream_options": {"include_usage": True}}, "stream_options"),
    (CHAT, {"model": "plain", "messages": [USER]}, "no chat template"), (CHAT, {"messages": [{"role": "user", "content": "cat dog " * 90}]}, "this model reads 64"),
    (CHAT, {"messages": [{"role": "user", "content": "cat dog " * 90}], "stream": True}, "this model reads 64"),
    (TEXT, {"prompt": [1, 2]}, "token ids are not read"), (TEXT, {"prompt": ""}, "is empty"), (TEXT, {"prompt": []}, "no inputs"),
    (TEXT, {"prompt": "a", "max_completion_tokens": 3}, "no option 'max_completion_tokens'"), (TEXT, {"prompt": "a", "echo": True}, "'echo'"),
    (TEXT, {"prompt": "a", "logprobs": 0}, "'logprobs'"), ("/v1/predict", {"inputs": [3]}, "input 0 is a number"),
    ("/v1/predict", {"inputs": [{"txt": "a"}]}, "there must be one form"), ("/v1/predict", {"inputs": ["a"], "stream": True}, "no option 'stream'"),
    ("/v1/predict", {"model": "plain", "inputs": [{"messages": [USER]}]}, "send a prompt"), ("/v1/predict", {"inputs": [{"messages": 3}]}, "not a list of turns"),
    ("/v2/models/chat/infer", {"inputs": []}, "spoken here for labels"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "words"), WRONG)
def test_what_is_not_done_is_refused_with_the_remedy(client, path, body, words):
    found = client.post(path, json={"model": "chat", **body})
    assert found.status_code == 400, found.text
    told = found.json()["error"]
    assert words in (told if isinstance(told, str) else f"{told['message']} {told.get('remedy', '')}")


def test_what_is_too_much_is_refused(client):
    assert client.post(TEXT, json={"model": "chat", "prompt": ["a"] * 13}).status_code == 413
    assert client.post(CHAT, json={"model": "chat", "messages": [{"role": "user", "content": "a" * 2_001}]}).status_code == 413
    assert client.get("/v2/models/chat").status_code == 400
    assert client.post(CHAT, json={"model": "tickets", "messages": ASKED, "temperature": 9}).status_code == 200  # labels: as before


# ------------------------------------------------------------------------------------------------------ how it goes about it
def test_labels_are_told_while_a_long_answer_is_written(server, client):
    took = []
    with client.stream("POST", TEXT, json={"model": "slow", "prompt": "day", "max_tokens": LONG, "stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        with server.client() as other:
            for _ in range(20):
                began = time.monotonic()
                assert other.post("/v1/predict", json={"model": "tickets", "inputs": ["a", "b c"]}).status_code == 200
                took.append(time.monotonic() - began)
        assert server.metric("potstill_running_rows") == 1  # it is still at it
    assert sorted(took)[10] < 0.25
    settled(server, "potstill_running_rows", 0)


def test_an_answer_ends_with_its_client(server, client):
    before = server.metric('potstill_cancelled_total{reason="disconnect"}'), server.metric('potstill_tokens_total{kind="written",model="slow"}')
    body = {"model": "slow", "prompt": "day", "max_tokens": LONG}
    with pytest.raises(httpx.ReadTimeout):
        client.post(TEXT, json=body, timeout=0.3)
    with server.client() as leaves, leaves.stream("POST", TEXT, json={**body, "stream": True}) as answer:
        next(answer.iter_lines())
    settled(server, "potstill_running_rows", 0)
    settled(server, 'potstill_cancelled_total{reason="disconnect"}', before[0] + 2)
    assert server.metric('potstill_tokens_total{kind="written",model="slow"}') - before[1] < LONG / 2


def test_a_deadline_ends_an_answer(server, client):
    before = server.metric('potstill_cancelled_total{reason="deadline"}')
    body, soon = {"model": "slow", "prompt": "day", "max_tokens": LONG}, {"x-timeout-ms": "400"}
    assert client.post(TEXT, json=body, headers=soon).status_code == 504
    events, done = streamed(client, TEXT, body, headers=soon)
    assert not done
    assert events[-1]["error"]["code"] == 504
    assert events[0]["choices"][0]["text"]
    settled(server, "potstill_running_rows", 0)
    assert server.metric('potstill_cancelled_total{reason="deadline"}') == before + 2


def test_more_than_can_begin_soon_are_told_when_to_come_again(server):
    found = []

    def ask():
        with server.client() as mine:
            found.append(mine.post(TEXT, json={"model": "slow", "prompt": "day", "max_tokens": 150}))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = sorted(one.status_code for one in found)
    assert statuses[:4] == [200] * 4
    assert statuses[-1] == 429
    for one in found:
        if one.status_code == 429:
            assert int(one.headers["retry-after"]) >= 1
        else:
            assert one.json()["usage"]["completion_tokens"] == 150
    settled(server, "potstill_running_rows", 0)


def test_bundles_that_write_are_swapped_and_shared_out_among_their_kind(folder, client):
    admin = {"authorization": "Bearer k"}
    other = client.post("/v1/admin/aliases/chat", json={"bundle": str(folder / "plain"), "weight": 0.5}, headers=admin).json()["chat"]
    try:
        assert [one["weight"] for one in other] == [0.5, 0.5]
        seen = {client.post(TEXT, json={"model": "chat", "prompt": "a", "max_tokens": 1}).json()["bundle"] for _ in range(40)}
        assert seen == {one["digest"] for one in other}
    finally:
        assert client.post("/v1/admin/aliases/chat/back", json={}, headers=admin).status_code == 200
    for name, given, words in (("chat", {"bundle": "tickets"}, "tells labels"), ("tickets", {"bundle": "chat"}, "writes texts"),
                               ("chat", {"bundle": "chat", "policy": "none"}, "no policy")):  # fmt: skip
        found = client.post(f"/v1/admin/aliases/{name}", json={**given, "bundle": str(folder / given["bundle"])}, headers=admin)
        assert found.status_code == 400
        assert words in found.text


def test_what_was_written_is_counted(server, client):
    text = client.get("/metrics").text
    for name in ("potstill_first_token_seconds_count", "potstill_token_seconds_count", "potstill_rows_total"):
        assert server.metric(f'{name}{{model="chat"') > 0
    assert 'kind="read",model="chat"' in text
    told = client.get("/v1/live", headers={"authorization": "Bearer k"}).json()
    assert told["names"]["chat"]["rows"] > 0
    assert told["parts"]["first"]["n"] > 0
    entry = server.events("request")[-1]
    done = next(one for one in reversed(server.events("request")) if one["path"] == TEXT and one["status"] == 200)
    assert {"tokens_in", "tokens_out", "first_ms", "finish"} <= set(done)
    assert "inputs" not in entry


def test_sigterm_lets_a_stream_end_and_no_torch_was_there(folder, server):
    """The last of this file: the server is stopped."""
    found = []

    def read():
        with server.client() as client:
            found.append(streamed(client, TEXT, {"model": "slow", "prompt": "day", "max_tokens": 150}))

    thread = threading.Thread(target=read)
    thread.start()
    settled(server, "potstill_running_rows", 1)
    assert server.stop() == 0
    thread.join()
    events, done = found[0]
    assert done
    assert events[-1]["choices"][0]["finish_reason"] == "length"
    assert json.loads(server.told.read_text()) == []
    assert server.events("stopped")[0]["unanswered"] == 0
    assert "tokens/s" in server.until(r"chat: 1 thread an answer .*").group(0)
    assert server.until("chat: what it writes is not kept: the traffic log is of labels")


# ----------------------------------------------------------------------------------------------------------- at the door
def test_a_prompt_is_read_in_pieces_that_take_no_longer_than_others_can_wait(folder):
    opened = open_bundle(folder / "chat")
    for token_s, read_s, rows, positions in ((0.001, 1e-5, 1, 128), (0.001, 0.001, 1, 50), (0.13, 0.07, 1, 3), (0.001, 0.001, 4, 12), (0.001, 1.0, 9, 1)):
        assert replace(opened, tuned=Pace(Way(1, token_s, read_s), ())).chunk(rows) == positions
    said = [one for one in opened.said([{"prompt": "the good film"}], Sampling.checked(9, 0.0, 1.0, 0, ()), pieces=True) if one is not None]
    fine = replace(opened, tuned=Pace(Way(1, 0.001, 1.0), ()))
    steps = list(fine.said([{"prompt": "the good film"}], Sampling.checked(9, 0.0, 1.0, 0, ()), pieces=True))
    assert [one for one in steps if one is not None][-1].whole.ids == said[-1].whole.ids
    assert steps[:2] == [None, None]  # it can be left between two pieces


@pytest.mark.parametrize("option", ["--policy", "--teacher"])
def test_a_cascade_can_t_stand_behind_texts(folder, option, capsys):
    assert main(["serve", str(folder / "tickets"), str(folder / "chat"), option, f"chat={folder}"]) == 2
    assert "'chat' writes texts" in capsys.readouterr().err


def test_one_that_writes_otherwise_than_it_did_is_not_served(folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder / "chat", broken)
    probes, manifest = storage.read_json(broken / "probes.json"), storage.read_json(broken / "manifest.json")
    probes["probes"][0]["logprobs"][0] -= 1.0
    storage.write_json(broken / "probes.json", probes)
    manifest["files"]["probes.json"]["sha256"] = storage.sha256_file(broken / "probes.json")
    storage.write_json(broken / "manifest.json", manifest)
    with pytest.raises(WrongBundle) as caught:
        open_bundle(broken)
    assert "token 1: its log-probability is off by 1" in str(caught.value)
