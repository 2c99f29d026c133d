"""The protocols that the server speaks: its own, the Open Inference Protocol's second version, and OpenAI's shapes. JSON in, rows out; and back.

Each protocol is a :class:`Shape`: what it reads of a body, and what it makes of answers. What is wrong with a body is a :class:`Wrong`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .answering import Answered, Prediction, as_native
from .models import Model

Body = Mapping[str, Any]
JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


class Wrong(Exception):
    """What can't be done with a request: the status, what is wrong, the remedy."""

    def __init__(self, status: int, message: str, remedy: str = "", *, headers: Mapping[str, str] | None = None) -> None:
        self.status, self.message, self.remedy, self.headers = status, message, remedy, dict(headers or {})
        super().__init__(message)


@dataclass(frozen=True)
class Bounds:
    """How many rows a request may have, and how many characters a text."""

    rows: int
    chars: int


@dataclass(frozen=True)
class Shape:
    """A protocol: the name by which it is counted; which model a body asks for; its rows; the answer to them; and an error."""

    name: str
    model: Callable[[Body], str | None]
    rows: Callable[[Body, Model], Sequence[Any]]
    answer: Callable[[Answered, str, Body], Any]
    error: Callable[[Wrong], dict[str, Any]] = field(default=lambda wrong: _error(wrong))


def parse(body: bytes) -> Body:
    """Return the JSON object of a body. Raises :class:`Wrong`."""
    try:
        found = json.loads(body)
    except RecursionError as error:
        raise Wrong(400, "the body is nested too deeply") from error
    except ValueError as error:  # no UTF-8, no JSON, a number of thousands of digits
        raise Wrong(400, "the body is no JSON") from error
    if not isinstance(found, dict):
        raise Wrong(400, "the body is no JSON object")
    return found


def rows_of(given: Sequence[Any], fields: Sequence[str], bounds: Bounds) -> list[dict[str, str]]:
    """Return rows of exactly the model's fields. An item is an object with them, or the text itself where there is one. Raises :class:`Wrong`."""
    if not given:
        raise Wrong(400, "there are no inputs")
    if len(given) > bounds.rows:
        raise Wrong(413, f"{len(given):,} inputs are too many", f"send at most {bounds.rows:,} at a time")
    return [_row(item, fields, bounds, place) for place, item in enumerate(given)]


def _row(item: Any, fields: Sequence[str], bounds: Bounds, place: int) -> dict[str, str]:
    if isinstance(item, str) and len(fields) == 1:
        item = {fields[0]: item}
    if not isinstance(item, dict):
        wanted = ", ".join(f'"{name}"' for name in fields)
        raise Wrong(400, f"input {place} is {kind_of(item)}", f"this model reads objects with {wanted}" + (", or the text itself" if len(fields) == 1 else ""))
    for name in fields:
        if not isinstance(item.get(name), str):
            raise Wrong(400, f"input {place} has no text in '{name}'", f"this model reads: {', '.join(fields)}")
        if len(item[name]) > bounds.chars:
            raise Wrong(413, f"input {place} has {len(item[name]):,} characters", f"a text may have {bounds.chars:,}")
    return {name: item[name] for name in fields}


def kind_of(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _name(body: Body) -> str | None:
    found = body.get("model")
    if found is not None and not isinstance(found, str):
        raise Wrong(400, f"'model' is {kind_of(found)}, not a name")
    return found


def listed(body: Body, key: str) -> Sequence[Any]:
    found = body.get(key)
    if not isinstance(found, list):
        raise Wrong(400, f"'{key}' is missing" if key not in body else f"'{key}' is {kind_of(found)}, not a list", f'send {{"{key}": [...]}}')
    return found


def _error(wrong: Wrong) -> dict[str, Any]:
    kind = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error"}
    told: dict[str, Any] = {"message": wrong.message, "type": kind.get(wrong.status, "server_error"), "code": wrong.status}
    return {"error": told | ({"remedy": wrong.remedy} if wrong.remedy else {})}


# -------------------------------------------------------------------------------------------------------------- our own
def _native_rows(body: Body, model: Model) -> Sequence[Any]:
    return listed(body, "inputs")


def _native(found: Answered, id: str, body: Body) -> dict[str, Any]:
    return {"predictions": [as_native(one) for one in found.predictions], "model": found.alias, **_versions(found)}


def _versions(found: Answered) -> dict[str, Any]:
    policy = found.model.policy
    return {"bundle": found.model.digest, **({} if policy is None else {"policy": policy.id})}


NATIVE = Shape("native", _name, _native_rows, _native)


# ------------------------------------------------------------------------------------------- Open Inference Protocol, 2
def _tensors(body: Body, model: Model) -> Sequence[Any]:
    """Return rows from BYTES tensors named after the model's fields, each of shape [n] or [n, 1]."""
    columns: dict[str, list[str]] = {}
    for tensor in listed(body, "inputs"):
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise Wrong(400, "an input is no tensor with a name")
        name = tensor["name"]
        if name not in model.predictor.fields or name in columns:
            again = "stands twice" if name in columns else "is not read by this model"
            raise Wrong(400, f"the input '{name[:64]}' {again}", f"this model reads: {', '.join(model.predictor.fields)}")
        columns[name] = _tensor(tensor, name)
    if missing := [name for name in model.predictor.fields if name not in columns]:
        raise Wrong(400, f"the inputs lack {', '.join(missing)}", "each field is a BYTES tensor of its name")
    if len({len(column) for column in columns.values()}) > 1:
        raise Wrong(400, "the inputs are of different lengths")
    return [dict(zip(columns, row)) for row in zip(*columns.values())]


def _tensor(tensor: Mapping[str, Any], name: str) -> list[str]:
    if tensor.get("datatype") != "BYTES":
        raise Wrong(400, f"the input '{name}' is not of the datatype BYTES")
    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list) or not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise Wrong(400, f"the input '{name}' has no data, or no shape", "both are lists; tensors of raw bytes are not spoken here")
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise Wrong(400, f"the input '{name}' is not of shape [n] or [n, 1]")
    flat = [item[0] if isinstance(item, list) and len(item) == 1 and len(shape) == 2 else item for item in data]
    if len(flat) != shape[0] or not all(isinstance(item, str) for item in flat):
        raise Wrong(400, f"the data of '{name}' are not {shape[0]} texts")
    return flat


def _v2(found: Answered, id: str, body: Body) -> dict[str, Any]:
    n, labels = len(found.predictions), found.model.predictor.labels
    made = [
        _output("label", "BYTES", [n], [one.told if isinstance(one.told, str) else json.dumps(one.told, ensure_ascii=False) for one in found.predictions]),
        _output("scores", "FP64", [n, len(labels)], [p for one in found.predictions for p in one.scores.values()]),
        _output("served_by", "BYTES", [n], [one.served_by for one in found.predictions]),
        _output("flag", "BYTES", [n], [one.flag for one in found.predictions]),
    ]
    wanted = body.get("outputs")
    if isinstance(wanted, list) and wanted:
        names = {item.get("name") for item in wanted if isinstance(item, dict) and isinstance(item.get("name"), str)}
        made = [output for output in made if output["name"] in names]
    given = body.get("id")
    told = {"parameters": {"labels": json.dumps(labels, ensure_ascii=False), **_versions(found)}}
    return {"model_name": found.alias, "model_version": found.model.digest[:12], "id": given if isinstance(given, str) else id, "outputs": made, **told}


def _output(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def _v2_error(wrong: Wrong) -> dict[str, Any]:
    return {"error": f"{wrong.message}; {wrong.remedy}" if wrong.remedy else wrong.message}


V2 = Shape("v2", lambda body: None, _tensors, _v2, _v2_error)


def v2_metadata(alias: str, model: Model) -> dict[str, Any]:
    """Return a model's metadata as the protocol has it."""
    width = len(model.predictor.labels)
    outputs = [("label", "BYTES", [-1]), ("scores", "FP64", [-1, width]), ("served_by", "BYTES", [-1]), ("flag", "BYTES", [-1])]
    return {
        "name": alias, "versions": [model.digest[:12]], "platform": "potstill_onnxruntime",
        "inputs": [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in model.predictor.fields],
        "outputs": [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in outputs],
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------ OpenAI's shapes
def _last_user(body: Body, model: Model) -> Sequence[Any]:
    """Return the text of the last message of the user: what a language model would be asked to classify."""
    _one_field(model)
    messages = listed(body, "messages")
    said = [message for message in messages if isinstance(message, dict) and message.get("role") == "user"]
    if not said:
        raise Wrong(400, "no message is the user's", 'send {"messages": [{"role": "user", "content": "..."}]}')
    content = said[-1].get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "\n".join(part for part in parts if isinstance(part, str)) if parts else None
    if not isinstance(content, str):
        raise Wrong(400, "the user's last message has no text")
    return [content]


def _prompt(body: Body, model: Model) -> Sequence[Any]:
    _one_field(model)
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return [prompt]
    if not isinstance(prompt, list) or not all(isinstance(one, str) for one in prompt):
        raise Wrong(400, "'prompt' is neither a text nor a list of texts")
    return prompt


def _one_field(model: Model) -> None:
    if len(model.predictor.fields) != 1:
        raise Wrong(400, f"this model reads {', '.join(model.predictor.fields)}, which this protocol can't tell apart", "use /v1/predict")


def _content(one: Prediction) -> str:
    return one.told if isinstance(one.told, str) else ", ".join(one.told)


def _chat(found: Answered, id: str, body: Body) -> dict[str, Any]:
    one = found.predictions[0]
    choice = {"index": 0, "message": {"role": "assistant", "content": _content(one)}, "finish_reason": "stop", "potstill": as_native(one)}
    return _completion(found, f"chatcmpl-{id}", "chat.completion", [choice])


def _text(found: Answered, id: str, body: Body) -> dict[str, Any]:
    choices = [
        {"index": place, "text": _content(one), "finish_reason": "stop", "logprobs": None, "potstill": as_native(one)}
        for place, one in enumerate(found.predictions)
    ]  # fmt: skip
    return _completion(found, f"cmpl-{id}", "text_completion", choices)


def _completion(found: Answered, id: str, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    none = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}  # a classifier generates nothing
    return {"id": id, "object": kind, "created": int(time.time()), "model": found.alias, "choices": choices, "usage": none, **_versions(found)}


CHAT = Shape("openai", _name, _last_user, _chat)
COMPLETIONS = Shape("openai", _name, _prompt, _text)


def chunks(completion: Mapping[str, Any]) -> bytes:
    """Return a completion as the events of a stream: one with the whole answer, and the end."""
    chat = completion["object"] == "chat.completion"
    choices = [
        {**{key: value for key, value in choice.items() if key != "message"}, "delta": choice["message"]} if chat else choice
        for choice in completion["choices"]
    ]  # fmt: skip
    event = {**completion, "object": "chat.completion.chunk" if chat else "text_completion", "choices": choices}
    return b"data: " + dumps(event) + b"\n\ndata: [DONE]\n\n"


def dumps(value: Any) -> bytes:
    """Return JSON in ASCII: what came in as half a surrogate pair can go out again. Numbers that are none are told as null."""
    try:
        return JSON.encode(value).encode()
    except ValueError:
        return json.dumps(_finite(value), separators=(",", ":")).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
