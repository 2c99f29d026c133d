"""What an endpoint's answers are found again by; where it may be; its key."""

from __future__ import annotations

import pytest

from potstill.errors import TeacherError
from potstill.labels.store import key_of
from potstill.teachers.endpoint import client
from tests.teachers.endpoint.made import rows, spec, teacher

SHOTS = [({"text": "fine"}, "good"), ({"text": "poor"}, "bad")]
BASE = {"scoring": "text"}


def key(made):
    return key_of(made.identity(), made.request(rows(1)[0]))


def test_all_that_changes_the_answer_is_in_the_key():
    changes = [
        {}, {"model": "other"}, {"url": "https://api.example.com/v1"}, {"url": "https://api.example.org/v1"}, {"api": "completion"}, {"scoring": "first_token"},
        {"prompt": {"text": "say: {{text}}"}}, {"prompt": {"text": "Say: {{text}}"}}, {"prompt": {"text": "say: {{text}}", "delimiter": "line"}},
        {"words": {"good": ["fine"]}}, {"words": {"good": ["good", "fine"]}}, {"samples": 3, "sampling_temperature": 0.5}, {"sampling_temperature": 0.5},
        {"sampling_temperature": 0.5, "seed": 1}, {"max_new_tokens": 8}, {"body": {"chat_template_kwargs": {"enable_thinking": False}}}, {"version": "2"},
        {"scoring": "first_token", "top_k": 5}, {"scoring": "echo", "api": "completion"},
    ]  # fmt: skip
    keys = [key(teacher(**{**BASE, **change})) for change in changes]
    keys += [key(teacher(shots=SHOTS, **BASE)), key(teacher(shots=SHOTS[::-1], **BASE)), key(teacher(shots=SHOTS[:1], **BASE))]
    assert len(set(keys)) == len(keys)


def test_nothing_else_is(monkeypatch):
    monkeypatch.setenv("K", "abc")
    others = [
        {"url": "http://localhost:9/v1"}, {"url": "http://127.0.0.1:8000/other"}, {"concurrency": 9}, {"timeout_s": 5.0}, {"retries": 0}, {"api_key": "env:K"},
        {"requests_per_minute": 6.0}, {"usd_per_million_in": 2.0}, {"max_tokens": 5}, {"license": "x", "output_license": "y"}, {"calibration": "none"},
    ]  # fmt: skip
    assert {key(teacher(**{**BASE, **change})) for change in others} == {key(teacher(**BASE))}


def test_the_order_of_the_labels_is_not():
    from potstill.records import Head

    assert teacher(head=Head("classes", ("good", "bad")), prompt={"text": "{{text}}"}).identity() == teacher(prompt={"text": "{{text}}"}).identity()


def test_a_key_is_read_when_asked_and_stands_nowhere(monkeypatch):
    monkeypatch.delenv("NOT_THERE", raising=False)
    with pytest.raises(TeacherError, match="NOT_THERE is not set"):
        client.Client(spec(api_key="env:NOT_THERE"))
    monkeypatch.setenv("ODD", "with space")
    with pytest.raises(TeacherError, match="can't be a key"):
        client.Client(spec(api_key="env:ODD"))
    monkeypatch.setenv("FINE", "sk-secret")
    made = teacher(api_key="env:FINE")
    assert "sk-secret" not in repr(made.facts()) + repr(made.spec) + made.request(rows(1)[0]).decode()


def test_a_public_name_that_leads_inside_is_refused(monkeypatch):
    monkeypatch.setattr(client.socket, "getaddrinfo", lambda *a, **k: [(2, 1, 6, "", ("169.254.169.254", 0))])
    with pytest.raises(TeacherError, match=r"leads to 169\.254\.169\.254, inside a network"):
        client.check_address(spec("https://models.example.com/v1"))
    client.check_address(spec("https://models.example.com/v1", private_hosts=["models.example.com"]))
