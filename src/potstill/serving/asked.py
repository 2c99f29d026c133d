"""What a body asks of a model that writes: its rows, and how their answers are written. An option that is not understood is refused, never ignored."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..lookup import did_you_mean
from .completions import Sampling
from .generator import Row
from .shapes import Body, Bounds, Wrong, kind_of, listed
from .stream import FORMS, row_of
from .writers import Writer

TOKENS = 256  # of an answer, unless told otherwise: as `potstill predict`
HOTTEST, COOLEST, STOPS = 2.0, 0.001, 4
WRITES = {"model", "max_tokens", "temperature", "top_p", "seed", "stop"}
STREAMS = WRITES | {"stream", "stream_options"}
NEUTRAL: Mapping[str, Sequence[Any]] = {  # what is not done here, and the values by which nothing is asked; null is one of them
    "n": (1,), "best_of": (1,), "echo": (False,), "suffix": ("",), "logprobs": (False,), "top_logprobs": (), "frequency_penalty": (0, 0.0),
    "presence_penalty": (0, 0.0), "logit_bias": ({},), "tools": ([],), "tool_choice": ("none",), "functions": ([],), "function_call": ("none",),
    "parallel_tool_calls": (), "response_format": ({"type": "text"},), "modalities": (["text"],), "audio": (), "prediction": (), "store": (False,),
    "metadata": ({},), "service_tier": ("auto", "default"), "reasoning_effort": ("none",), "web_search_options": (),
}  # fmt: skip
SENT_BACK = ("refusal", "tool_calls", "function_call", "audio", "annotations", "name")  # of a message: of those, what says nothing may stand


@dataclass(frozen=True)
class Asked:
    """A request's rows, how their tokens are taken, whether it is told piece by piece, and then whether its tokens are counted at the end."""

    rows: Sequence[Row]
    sampling: Sampling
    stream: bool = False
    usage: bool = False

    @property
    def chars(self) -> int:
        """Return the characters of the longest row's texts."""
        return max(sum(map(len, _texts(row))) for row in self.rows)


def chat(body: Body, writer: Writer, bounds: Bounds) -> Asked:
    """Return what OpenAI's chat completions ask. Raises :class:`Wrong`."""
    _known(body, STREAMS | {"messages", "max_completion_tokens", "user"})
    if not writer.chats:
        raise Wrong(400, "this model has no chat template: it goes on from texts", "send a prompt to /v1/completions")
    messages = listed(body, "messages")
    row = {"messages": [_message(message, f"messages[{place}]") for place, message in enumerate(messages)]}
    if not messages:
        raise Wrong(400, "there are no messages", 'send {"messages": [{"role": "user", "content": "..."}]}')
    if row["messages"][-1]["role"] == "assistant":
        raise Wrong(400, "the last message is the assistant's: nothing asks for an answer", "end with a message of the user")
    return _asked(body, [row], bounds)


def completions(body: Body, writer: Writer, bounds: Bounds) -> Asked:
    """Return what OpenAI's completions ask. Raises :class:`Wrong`."""
    _known(body, STREAMS | {"prompt", "user"})
    prompt = body.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not all(isinstance(one, str) for one in prompts):
        raise Wrong(400, "'prompt' is neither a text nor a list of texts", "token ids are not read")
    return _asked(body, [{"prompt": one} for one in prompts], bounds)


def native(body: Body, writer: Writer, bounds: Bounds) -> Asked:
    """Return what /v1/predict asks: rows as ``potstill predict`` reads them, with options beside them. Raises :class:`Wrong`."""
    _known(body, WRITES | {"inputs"})
    rows = []
    for place, given in enumerate(listed(body, "inputs")):
        if not isinstance(given, str | dict):
            raise Wrong(400, f"input {place} is {kind_of(given)}", f"this model reads texts, or objects with {', '.join(FORMS)}")
        row = row_of(writer.generator, given)
        if "messages" in row and not writer.chats:
            raise Wrong(400, f"input {place} has messages, and this model has no chat template", "send a prompt")
        rows.append(row)
    return _asked(body, rows, bounds)


def tensors(body: Body, writer: Writer, bounds: Bounds) -> Asked:
    raise Wrong(400, "this model writes texts, and the Open Inference Protocol is spoken here for labels", "use /v1/completions or /v1/predict")


# ---------------------------------------------------------------------------------------------------------------- its parts
def _known(body: Body, known: set[str]) -> None:
    for name, value in body.items():
        if name in known or value is None:
            continue
        if name not in NEUTRAL:
            raise Wrong(400, f"there is no option '{name[:64]}' here", did_you_mean(name[:64], sorted(known)))
        if not any(type(value) is type(one) and value == one for one in NEUTRAL[name]):
            raise Wrong(400, f"'{name}' is not done here", f"leave it out; understood are {', '.join(sorted(known))}")


def _message(message: Any, place: str) -> dict[str, str]:
    if not isinstance(message, dict):
        raise Wrong(400, f"{place} is {kind_of(message)}, not an object", 'a message is {"role": "user", "content": "..."}')
    for name, value in message.items():
        if name not in ("role", "content") and not (name in SENT_BACK and value in (None, [], "")):
            raise Wrong(400, f"'{name[:64]}' of {place} is not read here", "send role and content")
    role, content = message.get("role"), message.get("content")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content):
        content = "".join(part["text"] for part in content)
    if not isinstance(role, str) or not isinstance(content, str):
        raise Wrong(400, f"{place} has no role, or no text as its content", "roles are system, user and assistant; pictures and sounds are not read")
    return {"role": role, "content": content}


def _asked(body: Body, rows: Sequence[Row], bounds: Bounds) -> Asked:
    if not rows:
        raise Wrong(400, "there are no inputs")
    if len(rows) > bounds.rows:
        raise Wrong(413, f"{len(rows):,} inputs are too many", f"send at most {bounds.rows:,} at a time")
    stream = _flag(body, "stream")
    asked = Asked(rows, _sampling(body), stream, _counted(body, stream))
    if asked.chars > bounds.chars:
        raise Wrong(413, f"an input has {asked.chars:,} characters", f"it may have {bounds.chars:,}")
    return asked


def _texts(row: Row) -> list[str]:
    """Return a row's texts; what is none is for whoever reads the row to say."""
    found = []
    for value in row.values():
        parts: Any = value if isinstance(value, list) else [value]
        found += [text for part in parts if isinstance(text := part.get("content") if isinstance(part, dict) else part, str)]
    return found


def _counted(body: Body, stream: bool) -> bool:
    given = body.get("stream_options")
    if given is None:
        return False
    if not isinstance(given, dict) or not stream or set(given) - {"include_usage"}:
        raise Wrong(400, "'stream_options' is not as it can be", 'send {"include_usage": true} beside "stream": true, or leave it out')
    return _flag(given, "include_usage")


def _flag(body: Body, name: str) -> bool:
    found = body.get(name)
    if found is not None and not isinstance(found, bool):
        raise Wrong(400, f"'{name}' is {kind_of(found)}", "it is true or false")
    return found is True


def _sampling(body: Body) -> Sampling:
    temperature = _number(body, "temperature", 0.0, HOTTEST)
    if 0 < temperature < COOLEST:
        raise Wrong(400, "'temperature' is too near to 0", f"0 takes the likeliest token each time; otherwise it is {COOLEST:g} to {HOTTEST:g}")
    top_p = _number(body, "top_p", 1.0, 1.0)
    if top_p == 0:
        raise Wrong(400, "'top_p' is 0", "it is over 0, and at most 1")
    seed = body.get("seed")
    if seed is not None and (type(seed) is not int or abs(seed) >= 1 << 63):
        raise Wrong(400, f"'seed' is {kind_of(seed)}", "it is a whole number of at most 63 bits")
    return Sampling.checked(_tokens(body), temperature, top_p, secrets.randbits(63) if seed is None else seed, _stops(body))


def _number(body: Body, name: str, usual: float, most: float) -> float:
    found = body.get(name)
    if found is None:
        return usual
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= most:
        raise Wrong(400, f"'{name}' is {kind_of(found)}" + (" out of its range" if type(found) in (int, float) else ""), f"it is a number from 0 to {most:g}")
    return float(found)


def _tokens(body: Body) -> int:
    names = [name for name in ("max_tokens", "max_completion_tokens") if body.get(name) is not None]
    for name in names:
        if type(body[name]) is not int or body[name] < 1:
            raise Wrong(400, f"'{name}' is no whole number from 1 on", f"leave it out for {TOKENS}")
    if len({body[name] for name in names}) > 1:
        raise Wrong(400, "'max_tokens' and 'max_completion_tokens' differ", "send one of them")
    return int(body[names[0]]) if names else TOKENS


def _stops(body: Body) -> tuple[str, ...]:
    found = body.get("stop")
    stops = [] if found is None else [found] if isinstance(found, str) else found
    if not isinstance(stops, list) or len(stops) > STOPS or not all(isinstance(stop, str) and stop for stop in stops):
        raise Wrong(400, "'stop' is neither a text nor a list of texts", f"none of them may be empty, and {STOPS} are the most")
    return tuple(stops)
