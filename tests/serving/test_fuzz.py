"""Whatever is sent, the server answers, and never with 500, a model with labels and one that writes: random bytes, JSON of any kind, bodies that are
nearly right or as its OpenAPI document says, odd headers.

``POTSTILL_FUZZ=5000`` sends so many of each kind.
"""

from __future__ import annotations

import json
import os
import re
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from potstill.serving.app import serving as inside
from potstill.serving.openapi import document
from potstill.serving.settings import Keys, Settings
from tests.cascade.small import bundle
from tests.serving.live import serving
from tests.serving.spoken import writer

pytestmark = pytest.mark.slow
MANY = settings(max_examples=int(os.environ.get("POTSTILL_FUZZ", "150")), deadline=None, suppress_health_check=list(HealthCheck), database=None)
PATHS = ("/v1/predict", "/v1/chat/completions", "/v1/completions", "/v2/models/tickets/infer", "/v1/admin/aliases/tickets", "/v1/admin/aliases/tickets/weights",
         "/v1/admin/aliases/tickets/back", "/v1/admin/aliases/x", "/v2/models/x%00y/infer", "/v2/models/chat/infer",
         "/v1/admin/aliases/chat", "/v2/models/tickets/versions/%F0/infer")  # fmt: skip
KNOWN = {200, 400, 404, 413, 429}

# Surrogates on purpose: JSON may hold halves of pairs, and what is told back must go out again.
texts = st.text(st.characters(exclude_categories=[]), max_size=40) | st.sampled_from(["", "\0", "\ud800", "model", "tickets", "chat", "BYTES", "text", "user"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.integers(10**300, 10**301)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12)
tensors = st.fixed_dictionaries(
    {}, optional={"name": st.just("text") | values, "datatype": st.just("BYTES") | values, "shape": st.lists(st.integers(-1, 3), max_size=3) | values,
                  "data": st.lists(texts | st.lists(texts, max_size=1), max_size=3) | values})  # fmt: skip
messages = st.fixed_dictionaries(
    {}, optional={"role": st.just("user") | values, "content": texts | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts})) | values}
)
models = st.sampled_from(["tickets", "chat"])
bodies = st.fixed_dictionaries(
    {"model": models | models | values},
    optional={
        "inputs": st.lists(texts | st.fixed_dictionaries({"text": texts}) | tensors | messages | values, max_size=4) | values,
        "max_tokens": st.integers(-1, 20) | values, "max_completion_tokens": st.none() | values, "temperature": st.floats(0, 2) | values,
        "top_p": st.floats(0, 1) | values, "seed": st.integers(-9, 9) | values, "stop": texts | st.lists(texts, max_size=3) | values,
        "stream_options": st.fixed_dictionaries({"include_usage": st.booleans()}) | values, "n": st.just(1) | values, "tools": st.just([]) | values,
        "messages": st.lists(messages | values, max_size=3) | values, "prompt": texts | st.lists(texts, max_size=3) | values, "stream": st.booleans() | values,
        "id": values, "outputs": st.lists(st.fixed_dictionaries({"name": texts | st.just("label") | values}), max_size=2) | values,
        "bundle": st.sampled_from(["/", "/nothing", "\0", ""]) | values, "policy": values, "weight": values,
    },
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed")
    arguments = (
        bundle(folder / "tickets"),
        writer(folder / "chat", hidden=16, layers=1, heads=2, shared=1, context=80),
        "--admin-key-env",
        "ADMIN_KEY",
        "--max-body",
        50_000,
    )
    with serving(*arguments, folder=folder, env={"ADMIN_KEY": "k"}) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with server.client(headers={"authorization": "Bearer k"}) as opened:
        yield opened


def answered(found):
    assert found.status_code in KNOWN, (found.status_code, found.text[:300])
    if "event-stream" not in found.headers["content-type"]:
        told = found.json()
        assert ("error" in told) == (found.status_code != 200)


@MANY
@given(path=st.sampled_from(PATHS), body=st.binary(max_size=2000))
def test_random_bytes(client, path, body):
    answered(client.post(path, content=body))


@MANY
@given(path=st.sampled_from(PATHS), body=bodies)
def test_bodies_that_are_nearly_right(client, path, body):
    answered(client.post(path, content=json.dumps(body).encode()))


WHOLE = document(inside(Settings(), Keys(), workers=1, teachers={}).places)


def allowed(schema):  # noqa: C901 - a case for each kind of schema
    """What a schema of the document allows."""
    match schema:
        case {"$ref": name}:
            return allowed(WHOLE["components"]["schemas"][name.rpartition("/")[2]])
        case {"const": value}:
            return st.just(value)
        case {"enum": some}:
            return st.sampled_from(some)
        case {"anyOf": some}:
            return st.one_of(*map(allowed, some))
        case {"type": list(kinds)}:
            return st.one_of(*(allowed({**schema, "type": kind}) for kind in kinds))
        case {"type": "object", "additionalProperties": inner}:
            return st.dictionaries(texts, allowed(inner), max_size=4)
        case {"type": "object"}:
            parts, required = {name: allowed(inner) for name, inner in schema.get("properties", {}).items()}, schema.get("required", ())
            must, may = ({name: part for name, part in parts.items() if (name in required) is wanted} for wanted in (True, False))
            return st.fixed_dictionaries(must, optional=may)
        case {"type": "array"}:
            return st.lists(allowed(schema.get("items", {})), min_size=schema.get("minItems", 0), max_size=4)
        case {"type": "string", "pattern": pattern}:
            return st.from_regex(pattern, fullmatch=True)
        case {"type": "string"}:
            return texts
        case {"type": "integer" | "number" as kind}:
            return {"integer": st.integers, "number": st.floats}[kind](schema.get("minimum"), schema.get("maximum"))
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "null"}:
            return st.none()
    assert not schema, schema  # no constraint
    return values


def from_the_document():
    """Requests that the server's own OpenAPI document allows: (method, path, body), the path's variables filled in."""
    names = st.sampled_from(["tickets", "chat", "nobody"]) | st.text("abz-_0", min_size=1, max_size=8)
    for path, operations in WHOLE["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            bodies = allowed(content["schema"]) if content else st.none()
            yield st.tuples(st.just(method.upper()), names.map(lambda name, path=path: re.sub(r"\{\w+\}", name, path)), bodies)


@MANY
@given(asked=st.one_of(*from_the_document()))
def test_what_the_openapi_document_allows(client, asked):
    method, path, body = asked
    found = client.request(method, path, **({} if body is None else {"content": json.dumps(body).encode()}))
    assert found.status_code in KNOWN | {503}, (method, path, found.status_code, found.text[:300])
    if found.headers.get("content-type", "").startswith("application/json"):
        assert found.json() is not None


@MANY
@given(path=st.sampled_from(PATHS), body=values)
def test_json_of_any_kind(client, path, body):
    answered(client.post(path, content=json.dumps(body).encode()))


@MANY
@given(
    path=st.sampled_from(PATHS),
    model=models,
    text=texts,
    id=st.binary(max_size=30),
    timeout=st.text("0123456789-x.", max_size=12),
    length=st.integers(0, 200_000),
)
def test_odd_headers_and_long_texts(client, path, model, text, id, timeout, length):
    headers = {"x-request-id": b"".join(bytes([c]) for c in id if 32 < c < 127), "x-timeout-ms": timeout or "1000", "content-type": "x/y"}
    ways = {"inputs": [text + "a" * length], "prompt": text, "messages": [{"role": "user", "content": text}]}
    wanted = {"/v1/chat/completions": ["messages"], "/v1/completions": ["prompt"]}.get(path, ["inputs"])
    body = json.dumps({"model": model, **{name: ways[name] for name in wanted}}).encode()
    found = client.post(path, content=body, headers=headers)
    assert found.status_code in KNOWN | {504}, (found.status_code, found.text[:300])


@MANY
@given(raw=st.binary(max_size=400))
def test_what_is_no_http_closes_no_door(server, client, raw):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(raw)
    assert client.get("/livez").status_code == 200


def test_after_all_that_it_answers_as_before_and_nothing_is_held(server, client):
    for model in ("tickets", "chat"):
        assert client.post("/v1/predict", json={"model": model, "inputs": ["one two"]}).status_code == 200
    text = client.get("/metrics").text
    assert "potstill_queue_rows 0.0" in text
    assert "potstill_running_rows 0.0" in text
    assert 'code="500"' not in text
    assert server.stop() == 0
