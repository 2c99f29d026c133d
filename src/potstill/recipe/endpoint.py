"""The section ``teacher`` of kind endpoint: a language model behind a server, how it is asked, and what it may cost."""

# ruff: noqa: RUF012 - pydantic copies a default before it gives it away

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from .base import Finding, OutputLicense, Section, Text, one, refuse
from .language import Chat, unless_default
from .privacy import Privacy, key_name

Whole = Annotated[int, Field(ge=1)]
Price = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]
LOCAL_NAMES = ("localhost",)
FIELDS = ("text", "text_pair")  # what a prompt may show of a row
GIVEN = (*FIELDS, "labels")  # what a prompt may name without declaring it


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOCAL_NAMES


def is_private(host: str) -> bool:
    """Return whether a host's name or number says that it is no public one; a name that only resolves to such a number is met when asked."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".lan", ".home.arpa", ".localhost"))


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        one(f"'{value}' is no address of a server", "write its base, as in http://127.0.0.1:8000/v1")
    if parts.username or parts.password:
        one("the address holds a user or a password", "take it out, and name a key: api_key: env:MY_KEY")
    if parts.query or parts.fragment:
        one("the address has a part after ? or #", "write the base alone: potstill adds /chat/completions or /completions")
    return value.rstrip("/")


def _names(value: Any) -> Any:
    return [value] if isinstance(value, str | int | float) and not isinstance(value, bool) else value


Word = Annotated[list[Text], BeforeValidator(_names), Field(min_length=1)]


class Prompt(Section):
    """What the model is told: an instruction, then, below a line ``---``, what is said of every row, the shots among them."""

    file: Text | None = None
    text: Text | None = None  # the same, written here; neither: a plain one of ours
    variables: dict[Text, Text] = {}  # what {{name}} stands for, beside {{text}}, {{text_pair}} and {{labels}}
    shots: Annotated[int, Field(ge=0, le=100)] = 0  # training rows with their gold label, as examples
    seed: Annotated[int, Field(ge=0)] = 0  # by which they are drawn
    # what keeps a row from putting an answer into the model's mouth: the labels' words are left out of rows that talk to a model; of all rows
    guard: Literal["none", "flagged", "all"] = "flagged"
    delimiter: Literal["tags", "line"] | None = None  # how a row's text is set apart; null: tags in a chat, a line of its own in a completion

    @model_validator(mode="after")
    def _together(self) -> Prompt:
        refuse(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        if self.file is not None and self.text is not None:
            yield Finding(("text",), "file and text are both given", "keep one of them")
        for name in self.variables:
            if name in GIVEN:
                yield Finding(("variables", name), f"'{name}' is filled in by potstill", "give the variable another name")
            elif not re.fullmatch(r"[A-Za-z_]\w*", name):
                yield Finding(("variables", name), f"'{name}' can't name a variable", "use letters, digits and _")


class Batch(Section):
    """Files of requests, sent up, worked through by the server in its own time, fetched when they are done: mostly at half the price."""

    rows: Annotated[int, Field(ge=1, le=50_000)] = 5000  # of a file, at most
    least: Whole = 50  # fewer rows than that are asked about call by call: they are not worth the wait
    window: Text = "24h"  # within which the server is to be done; what it has not done by then is sent again
    poll_s: Seconds = 30.0  # how often it is asked how far it is
    metadata: bool = True  # whether a batch is given a name, by which one is found again whose number never came back


class EndpointTeacher(Section):
    """A model behind a server that speaks OpenAI's protocol: vLLM, llama.cpp, transformers serve, Ollama, TGI, or a provider's."""

    kind: Literal["endpoint"] = "endpoint"
    url: Annotated[Text, AfterValidator(_url)]  # the base: http://127.0.0.1:8000/v1
    model: Text  # as the server calls it
    api_key: Annotated[str | None, BeforeValidator(key_name)] = None  # env:NAME
    private_hosts: list[Text] = []  # hosts inside your network that may be asked; they may be without https
    api: Literal["chat", "completion"] = "chat"
    prompt: Prompt = Prompt()
    # first_token: probabilities of the labels' words, from the likeliest first tokens; echo: of whole words, scored as a continuation;
    # text: what it writes, which must be a label
    scoring: Literal["first_token", "echo", "text"] = "first_token"
    words: dict[Text, Word] = {}  # label -> what the model says for it, and synonyms; a label that is not named says itself
    top_k: Annotated[int, Field(ge=1, le=1000)] = 20  # first tokens to look at
    calibration: Literal["none", "content_free", "validation"] = "none"  # what the label words' own pull is measured on, and taken off
    max_new_tokens: Whole = 16
    samples: Annotated[int, Field(ge=1, le=100)] = 1  # answers to one row: their shares are its soft label
    sampling_temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    seed: Annotated[int, Field(ge=0)] = 0
    body: dict[Text, Any] = {}  # more of the request, as the server knows it; null takes a key out
    privacy: Privacy | None = None  # what may name a person, replaced before it is sent; null: rows are sent as they are
    version: Text = "1"  # raise it when the server would answer otherwise under the same name
    concurrency: Annotated[int, Field(ge=1, le=256)] = 4  # calls at once
    requests_per_minute: Seconds | None = None
    tokens_per_minute: Seconds | None = None
    batch: Batch | None = None  # null: call by call
    timeout_s: Seconds = 60.0  # of one call
    retries: Annotated[int, Field(ge=0, le=20)] = 5  # of one row
    patience_s: Seconds = 600.0  # how long a server that answers nobody is waited for
    max_requests: Whole | None = None  # hard stops, over all of the run folder's life
    max_tokens: Whole | None = None
    usd_per_million_in: Price = 0.0  # tokens; what the provider's price list says
    usd_per_million_out: Price = 0.0
    license: Text = "unknown"
    output_license: OutputLicense = "unknown"
    tokenizer: Annotated[Text | None, Field(exclude_if=lambda value: value is None)] = None  # `task: text-generation`: a folder with the model's tokenizer
    max_length: Annotated[Whole | None, Field(exclude_if=lambda value: value is None)] = None  # the same: tokens of a row; null: 512
    chat: Chat = unless_default(Chat)

    @model_validator(mode="after")
    def _together(self) -> EndpointTeacher:
        refuse(self._findings())
        return self

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def says_otherwise(self) -> bool:
        """Whether it may say something else when it is asked again: with other shots, or other samples."""
        return self.prompt.shots > 0 or self.samples > 1

    def again(self) -> EndpointTeacher:
        """Return the same teacher with other shots and other samples: a second opinion."""
        return self.model_copy(update={"prompt": self.prompt.model_copy(update={"seed": self.prompt.seed + 1}), "seed": self.seed + self.samples})

    @property
    def paid(self) -> bool:
        return bool(self.usd_per_million_in or self.usd_per_million_out)

    @property
    def usd_per_1000(self) -> float:
        """A thousand answers have no price of their own: tokens have."""
        return 0.0

    def _findings(self) -> Iterator[Finding]:
        yield from self._place()
        if self.scoring == "echo" and self.api != "completion":
            yield Finding(("scoring",), "echo scores a continuation, which a chat has not", "take api: completion, or scoring: first_token")
        if self.scoring == "text" and self.samples > 1 and not self.sampling_temperature:
            yield Finding(("samples",), f"{self.samples} samples at temperature 0 are one sample", "give sampling_temperature: 0.7")
        if self.scoring != "text":
            for name in ("samples", "sampling_temperature", "max_new_tokens"):
                if name in self.model_fields_set and getattr(self, name) != type(self).model_fields[name].default:
                    yield Finding((name,), f"'{name}' is of answers that are written, and scoring is {self.scoring}", "take scoring: text, or leave it out")
        elif self.calibration != "none":
            yield Finding(("calibration",), "a written answer has no probabilities to calibrate", "take scoring: first_token or echo")
        if self.scoring != "first_token" and "top_k" in self.model_fields_set and self.top_k != 20:
            yield Finding(("top_k",), f"'top_k' is of first tokens, and scoring is {self.scoring}", "take scoring: first_token, or leave it out")

    def _place(self) -> Iterator[Finding]:
        """https, or loopback; a host inside a network only where it is named, so that no recipe reaches into one by accident."""
        named, loopback = self.host in self.private_hosts, is_loopback(self.host)
        if is_private(self.host) and not (named or loopback):
            yield Finding(("url",), f"'{self.host}' is a host inside a network", f"if you mean it, name it: private_hosts: [{self.host}]")
        elif urlsplit(self.url).scheme != "https" and not (named or loopback):
            yield Finding(("url",), "over http anybody on the way reads your rows and your key", f"write https://{self.url.partition('://')[2]}")
