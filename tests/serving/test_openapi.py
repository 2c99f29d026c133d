"""The OpenAPI document: every place is in it, it is what the file in docs says, and real answers are as it says."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest

from potstill.serving.app import serving as inside
from potstill.serving.openapi import SCHEMAS, TOLD, document
from potstill.serving.settings import Keys, Settings
from tests.cascade.small import bundle
from tests.serving.live import serving
from tests.serving.spoken import writer

ASKED = [
    ("/v1/predict", {"inputs": ["a", {"text": "b"}], "model": "tickets"}),
    ("/v1/predict", {"inputs": [1], "model": "tickets"}),
    ("/v1/predict", {"inputs": ["a"], "model": "nobody"}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "model": "tickets"}),
    ("/v1/chat/completions", {"messages": [], "model": "tickets"}),
    ("/v1/completions", {"prompt": ["a", "b"], "model": "tickets"}),
    ("/v2/models/tickets/infer", {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}]}),
    ("/v2/models/tickets/infer", {"inputs": 3}),
    ("/v1/admin/aliases/tickets/weights", {}),
    ("/v1/admin/aliases/tickets/back", {}),
    ("/v1/predict", {"inputs": ["a", {"prompt": "b"}, {"messages": [{"role": "user", "content": "a"}]}], "model": "chat", "max_tokens": 3}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "model": "chat", "max_tokens": 3, "temperature": 1.5, "stop": ["x"]}),
    ("/v1/completions", {"prompt": ["a", "b"], "model": "chat", "max_tokens": 3, "seed": 4, "user": "me"}),
    ("/v1/completions", {"prompt": "a", "model": "chat", "n": 2}),
    ("/v2/models/chat/infer", {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}),
    ("/v2/models/chat", None),
    *[(path, None) for path in ("/v1/models", "/v2", "/v2/models/tickets", "/v2/models/nobody", "/v1/admin/aliases", "/v1/live", "/openapi.json")],
]


def test_every_place_is_described_and_nothing_else():
    places = inside(Settings(), Keys(), workers=1, teachers={}).places
    assert sorted(path for _, path in places) == sorted(TOLD)
    made = document(places)
    refs = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(made)))
    assert refs == set(SCHEMAS)
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    summaries = [operation["summary"] for path in made["paths"].values() for operation in path.values()]
    assert all(summaries)


@pytest.mark.slow
def test_real_answers_are_as_it_says(tmp_path):
    headers = {"authorization": "Bearer k"}
    with (
        serving(bundle(tmp_path / "tickets"), writer(tmp_path / "chat"), "--admin-key-env", "ADMIN_KEY", folder=tmp_path, env={"ADMIN_KEY": "k"}) as running,
        running.client(headers=headers) as client,
    ):
        whole = client.get("/openapi.json").json()
        for path, body in ASKED:
            found = client.get(path) if body is None else client.post(path, json=body)
            template = next(key for key in whole["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", key), path))
            (operation,) = whole["paths"][template].values()
            schema = operation["responses"][str(found.status_code)]["content"]["application/json"]["schema"]
            jsonschema.validate(found.json(), {**schema, "components": whole["components"]}, cls=jsonschema.Draft202012Validator)
            if found.status_code == 200 and body is not None and "requestBody" in operation:
                asked = operation["requestBody"]["content"]["application/json"]["schema"]
                jsonschema.validate(body, {**asked, "components": whole["components"]}, cls=jsonschema.Draft202012Validator)
