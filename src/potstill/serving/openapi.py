"""What the server understands and answers, as an OpenAPI 3.1 document: made from the table of its places, each of them described here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .. import __version__

Schema = Mapping[str, Any]
TEXT: Schema = {"type": "string"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
HEADER: Schema = {"type": "string", "maxLength": 128}
LIMITS = (400, 401, 404, 413, 429, 503, 504)  # what a question may be answered with instead
WORDS = {
    400: "What is wrong with the body, and the remedy", 401: "A key is wanted, and this is none",
    404: "There is no such model, or place", 413: "Too much at a time",
    429: "Too busy; Retry-After says when to come again", 503: "Not ready, stopping, or the teacher can't be asked", 504: "No answer was ready in time",
}  # fmt: skip


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: str = "", **properties: Schema) -> Schema:
    return {"type": "object", "required": required.split(), "properties": properties} if required else {"type": "object", "properties": properties}


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


MESSAGES: Schema = _list(_object("role content", role=TEXT, content={}), minItems=1)
ROW: Schema = {"anyOf": [TEXT, _map(TEXT), _object("messages", messages=MESSAGES)]}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 1}
WRITES: Mapping[str, Schema] = {  # for a model that writes; a classifier does not look at them
    "max_tokens": {**COUNT, "description": "Tokens of an answer at most; 256 unless told otherwise"},
    "temperature": {**NUMBER, "minimum": 0, "maximum": 2, "description": "0, the default, takes the likeliest token each time"},
    "top_p": {**NUMBER, "exclusiveMinimum": 0, "maximum": 1}, "seed": {"type": "integer"},
    "stop": {"anyOf": [{**TEXT, "minLength": 1}, _list({**TEXT, "minLength": 1}, maxItems=4)], "description": "An answer ends before the first of these"},
}  # fmt: skip
STREAMS: Mapping[str, Schema] = {"stream": {"type": "boolean"}, "stream_options": _object(include_usage={"type": "boolean"})}
DIGEST: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
NONE: Schema = {"type": "null"}
CHOICE: dict[str, Schema] = {"index": {"type": "integer"}, "finish_reason": {"enum": ["stop", "length"]}, "logprobs": NONE, "potstill": _ref("Prediction")}
COMPLETION: dict[str, Schema] = {
    "id": TEXT, "object": TEXT, "created": {"type": "integer"}, "model": TEXT, "usage": _map({"type": "integer"}), "bundle": DIGEST, "policy": TEXT,
}  # fmt: skip
SCHEMAS: Mapping[str, Schema] = {
    "Question": _object("inputs", model=TEXT, inputs=_list(ROW, minItems=1), **WRITES),
    "Prediction": _object(
        "scores served_by confidence", label=TEXT, score=SHARE, labels=_list(TEXT), scores=_map(SHARE), served_by={"enum": ["student", "teacher"]},
        confidence=SHARE, flag={"type": "string", "description": "Why a row that should have been passed on to the teacher was not"},
        set=_list(TEXT, description="The conformal label set, where the policy has one"),
    ),
    "Written": _object(
        "completion finish tokens served_by", completion=TEXT, finish={"enum": ["stop", "length"]}, tokens={"type": "integer"}, served_by={"const": "student"}
    ),
    "Answer": _object("predictions model bundle", predictions=_list({"anyOf": [_ref("Prediction"), _ref("Written")]}), model=TEXT, bundle=DIGEST, policy=TEXT),
    "Error": _object("error", error=_object("message type code", message=TEXT, type=TEXT, code={"type": "integer"}, remedy=TEXT)),
    "ChatQuestion": _object("messages", model=TEXT, messages=MESSAGES, max_completion_tokens=COUNT, user=TEXT, **WRITES, **STREAMS),
    "ChatAnswer": _object(
        "choices model", **COMPLETION, choices=_list(_object("message finish_reason", **CHOICE, message=_object("role content", role=TEXT, content=TEXT)))
    ),
    "CompletionQuestion": _object("prompt", model=TEXT, prompt={"anyOf": [TEXT, _list(TEXT, minItems=1)]}, user=TEXT, **WRITES, **STREAMS),
    "CompletionAnswer": _object("choices model", **COMPLETION, choices=_list(_object("text finish_reason", **CHOICE, text=TEXT))),
    "Models": _object("data", object={"const": "list"}, data=_list(_object("id", id=TEXT, object=TEXT, created={"type": "integer"}, owned_by=TEXT))),
    "Tensor": _object(
        "name datatype shape data", name=TEXT, datatype={"enum": ["BYTES", "FP64"]}, shape=_list({"type": "integer", "minimum": 0}), data={"type": "array"}
    ),
    "InferQuestion": _object("inputs", id=TEXT, inputs=_list(_ref("Tensor"), minItems=1), outputs=_list(_object("name", name=TEXT))),
    "InferAnswer": _object(
        "model_name model_version outputs", model_name=TEXT, model_version=TEXT, id=TEXT, outputs=_list(_ref("Tensor")), parameters=_map(TEXT)
    ),
    "InferError": _object("error", error=TEXT),
    "Server": _object("name version", name=TEXT, version=TEXT, extensions=_list(TEXT)),
    "Metadata": _object("name versions inputs outputs", name=TEXT, versions=_list(TEXT), platform=TEXT, inputs={"type": "array"}, outputs={"type": "array"}),
    "Served": _map(_list(_object("digest weight", digest=DIGEST, weight=SHARE, bundle=TEXT, batch={"type": "integer"}, threads={"type": "integer"},
                                 policy={"type": ["string", "null"]}))),
    "Swap": _object("bundle", bundle=TEXT, policy={"type": ["string", "null"]}, weight=SHARE),
    "Weights": _map({"type": "number", "minimum": 0}),
    "Nothing": {"type": "object"},
    "Numbers": _object("ready stopping series parts minute up_s queue names served", ready={"type": "boolean"}, stopping={"type": "boolean"}, version=TEXT,
                       series=_map({"type": "array"}), parts=_map(_map({"type": "number"})), minute=_map({"type": "integer"}), up_s={"type": "number"},
                       queue=_map({"type": "integer"}), names=_map({"type": "object"}), served=_map({"type": "array"})),
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """What is to be said of a place: in one line, what it reads and what it answers by schema, or as which kind of text; what else it may say."""

    words: str
    reads: str = ""
    answers: str = ""
    text: str = "text/plain"
    others: tuple[int, ...] = ()
    streams: bool = False  # whether it may answer in events
    who: str = "client"  # client, admin, or nobody in particular


ASKED = {"others": LIMITS}
ADMIN: dict[str, Any] = {"others": (400, 401, 404), "who": "admin"}
INFER = Place("Answer tensors of texts", "InferQuestion", "InferAnswer", **ASKED)  # type: ignore[arg-type]
TOLD: Mapping[str, Place] = {
    "/": Place("A page of what goes on", text="text/html", who="nobody"),
    "/openapi.json": Place("This document", answers="Nothing", who="nobody"),
    "/livez": Place("Whether the process lives; never touches a model", who="nobody"),
    "/readyz": Place("Whether all bundles answered their probes as they should", others=(503,), who="nobody"),
    "/v2/health/live": Place("As /livez", who="nobody"),
    "/v2/health/ready": Place("As /readyz", others=(503,), who="nobody"),
    "/metrics": Place("Counts and times for Prometheus", others=(401,)),
    "/v1/live": Place("What the page shows", answers="Numbers", others=(401,)),
    "/v1/predict": Place("Answer texts, or objects of the model's fields", "Question", "Answer", **ASKED),  # type: ignore[arg-type]
    "/v1/chat/completions": Place("Answer messages, in OpenAI's shape; of labels, the user's last one", "ChatQuestion", "ChatAnswer", streams=True, **ASKED),  # type: ignore[arg-type]
    "/v1/completions": Place("Answer prompts, in OpenAI's shape", "CompletionQuestion", "CompletionAnswer", streams=True, **ASKED),  # type: ignore[arg-type]
    "/v1/models": Place("The names that are served", answers="Models", others=(401,)),
    "/v2": Place("The server, in the Open Inference Protocol", answers="Server", others=(401,)),
    "/v2/models/{name}": Place("A model's inputs and outputs", answers="Metadata", others=(400, 401, 404)),
    "/v2/models/{name}/ready": Place("Whether a model is ready", others=(401, 404, 503)),
    "/v2/models/{name}/infer": INFER,
    "/v2/models/{name}/versions/{version}": Place("One version's inputs and outputs", answers="Metadata", others=(400, 401, 404)),
    "/v2/models/{name}/versions/{version}/ready": Place("Whether a version is ready", others=(401, 404, 503)),
    "/v2/models/{name}/versions/{version}/infer": INFER,
    "/v1/admin/aliases": Place("What is served under which name", answers="Served", others=(401, 404), who="admin"),
    "/v1/admin/aliases/{name}": Place("Serve another bundle under a name, or to a share of its requests", "Swap", "Served", **ADMIN),
    "/v1/admin/aliases/{name}/weights": Place("Share out a name's requests anew", "Weights", "Served", **ADMIN),
    "/v1/admin/aliases/{name}/back": Place("Serve what was served before the last change", "", "Served", **ADMIN),
}


def document(places: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the document of (method, path) pairs. Raises KeyError for a place that nothing is said of."""
    paths = {path: {method.lower(): _operation(path, TOLD[path])} for method, path in sorted(places, key=lambda one: one[1])}
    return {
        "openapi": "3.1.0",
        "info": {"title": "potstill serve", "version": __version__, "summary": "Small models, and the teacher behind them. Keys are bearer keys."},
        "paths": paths,
        "components": {"schemas": dict(SCHEMAS), "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }  # fmt: skip


def _operation(path: str, place: Place) -> dict[str, Any]:
    error = "InferError" if path.startswith("/v2") else "Error"
    answer = {"application/json": {"schema": _ref(place.answers)}} if place.answers else {place.text: {"schema": TEXT}}
    if place.streams:
        answer["text/event-stream"] = {"schema": TEXT}
    responses: dict[str, Any] = {"200": {"description": "Done", "content": answer}}
    for status in place.others:
        responses[str(status)] = {"description": WORDS[status], "content": {"application/json": {"schema": _ref(error)}}}
    if not place.answers and 503 in place.others:  # whether something is ready is told in a word
        responses["503"] = {"description": "Not ready"}
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    given: list[Any] = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in names]
    given.append({"name": "x-request-id", "in": "header", "schema": HEADER, "description": "Comes back with the answer, and stands in the log"})
    if 504 in place.others:
        given.append({"name": "x-timeout-ms", "in": "header", "schema": {"type": "integer", "minimum": 1}, "description": "Less time than the server allows"})
    made: dict[str, Any] = {"summary": place.words, "parameters": given, "responses": responses}
    if place.reads:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(place.reads)}}}
    if place.who != "nobody":
        made["security"] = [{"key": []}] if place.who == "admin" else [{}, {"key": []}]
    return made
