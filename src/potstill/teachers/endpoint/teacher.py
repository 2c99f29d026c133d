"""A model behind a server as a teacher: what it is known by, what it is asked, what its answers cost."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np

from ... import storage
from ...contracts import Post
from ...errors import TeacherError
from ...recipe.endpoint import is_loopback
from ...records import Answer, Answered, Example, Failed, Head, Refused, Usage, Want
from ...redact import Redactor
from ..build import Given
from ..rows import only_logprobs, texts
from .batches import Batches
from .calls import Again, Call, Calls, Clock, Done, Rates, WallClock
from .client import Client, Outcome, Reply
from .private import redactor
from .prompt import Guard, Shot, Template, harmless, source, template
from .scoring import NoProbabilities, Unusable, Words, ways

VERSION = 1  # raise it when the same replies would be read otherwise
LOGPROBS = Want("logprobs")
TOKENS_A_BYTE = 0.35  # assumed of a request until the server has told its own count; then the most that was seen, and a fifth


@final
class EndpointTeacher:
    """See :class:`potstill.contracts.Teacher`. Gives ``logprobs``. One request a row, whatever the scoring; each has its price."""

    repeated = 0

    def __init__(
        self, spec: Any, head: Head, written: Template, shots: Sequence[Shot], *, redactor: Redactor | None = None, clock: Clock | None = None
    ) -> None:  # fmt: skip
        self.name, self.labels, self.spec = spec.model, head.labels, spec
        self.words = Words(head.labels, spec.words)
        self.redactor, self.guard = redactor, Guard(spec.prompt.guard, tuple(self.words.label_of))
        self.template, self.way = written, ways(self.words, spec)
        self.shots = tuple(Shot(self._shown(shot.fields), shot.label) for shot in shots)
        self._clock = clock or WallClock()
        self._rates = Rates(self._clock, spec.requests_per_minute, spec.tokens_per_minute)
        self._most = 0.0  # tokens a byte that the server has counted

    def identity(self) -> str:
        return identity(self.spec, self.words, self.template, self.shots)

    def offers(self) -> frozenset[str]:
        return frozenset({"logprobs"})

    def request(self, example: Example) -> bytes:
        """Return the row's fields as they are sent: all else that is sent is a part of the identity. Raises :class:`TeacherError` where the prompt does
        not show them."""
        fields = self._sent(example)
        self.template.about(fields)
        return requested(fields)

    def _sent(self, example: Example) -> dict[str, str]:
        """Return what of a row may leave: nothing else is read of it here, in no request and in no key of the store."""
        return self._shown(texts(example.fields))

    def _shown(self, fields: Mapping[str, str]) -> dict[str, str]:
        return sent(fields, self.redactor, self.guard)

    def reserve(self, example: Example) -> Usage:
        """Return the most that one call about ``example`` is expected to cost, before the server has counted its tokens."""
        return self._reserve(self._body(example))

    def facts(self) -> Mapping[str, Any]:
        spec, why = self.spec, "it runs behind a server"
        return {
            "architecture": f"{spec.model} at {spec.host}", "parameters": None, "size_bytes": None, "layers": None, "width": None, "precision": None,
            "version": spec.version, "path": spec.url, "one_hot": None, "api": spec.api, "scoring": spec.scoring, "calibration": spec.calibration,
            "samples": spec.samples, "prompt": {"digest": self.template.digest, "shots": len(self.shots)},
            "usd_per_million_in": spec.usd_per_million_in, "usd_per_million_out": spec.usd_per_million_out,
            "license": spec.license, "output_license": spec.output_license, "usd_per_1000": 0.0,
            "unknown": {"parameters": why, "size_bytes": why, "precision": why},
        }  # fmt: skip

    def answer(self, examples: Sequence[Example], wants: Sequence[Want]) -> Iterator[tuple[str, Answer]]:
        left = iter(examples)
        for id, answer, _ in self.calls(lambda: next(left, None), wants, lambda id, usage: None):
            yield id, answer

    def calls(
        self, take: Callable[[], Example | None], wants: Sequence[Want], booked: Callable[[str, Usage], None], *, proven: bool = False,
        post: Post | None = None,
    ) -> Iterator[tuple[str, Answer, Usage]]:  # fmt: skip
        """See :class:`potstill.contracts.PaidByCall`. With a recipe's ``batch``, by the file where there are rows enough for one."""
        only_logprobs(self.name, "an endpoint", wants)
        client, first = Client(self.spec), deque[Example]()

        def next_row() -> Example | None:
            return first.popleft() if first else take()

        try:
            if post is not None and self.spec.batch is not None:
                left = post.left()
                first += _some(take, self.spec.batch.least)
                if left or len(first) >= self.spec.batch.least:
                    files = Batches(
                        next_row, self._call, lambda reply, call: self._outcome(client.judged(*reply), call), booked, post, client, self.spec, self._clock
                    )
                    yield from files.run(left)
                    return

            def next_call() -> Call | None:
                row = next_row()
                return None if row is None else self._call(row)

            def send(call: Call) -> Done | Again:
                return self._outcome(client.call(call.body), call)

            yield from Calls(next_call, send, booked, self.spec, self._clock, self._rates, f"teacher.url: {client.url}", proven=proven).run()
        finally:
            client.close()

    def _call(self, example: Example) -> Call:
        body = self._body(example)
        return Call(example.id, body, self._reserve(body))

    def _body(self, example: Example) -> dict[str, Any]:
        fields = self._sent(example)
        shots = [shot for shot in self.shots if shot.fields != fields]  # a row must not read its own answer
        body = {"model": self.spec.model, **self.way.body(self.template, shots, fields), **self.spec.body}
        return {key: value for key, value in body.items() if value is not None}

    def _reserve(self, body: Mapping[str, Any]) -> Usage:
        spec, prompts = self.spec, len(body["prompt"]) if isinstance(body.get("prompt"), list) else 1
        tokens_in = int(_bytes(body) * (1.2 * self._most or TOKENS_A_BYTE)) + 16 * prompts
        return self._priced(tokens_in, prompts * spec.samples * (spec.max_new_tokens if spec.scoring == "text" else 1))

    def _priced(self, tokens_in: int, tokens_out: int) -> Usage:
        usd = (tokens_in * self.spec.usd_per_million_in + tokens_out * self.spec.usd_per_million_out) / 1e6
        return Usage(teacher_calls=1, tokens_in=tokens_in, tokens_out=tokens_out, usd=usd)

    def _outcome(self, outcome: Outcome, call: Call) -> Done | Again:
        """Return what a reply says of its row."""
        if isinstance(outcome, Again):
            return outcome
        if not isinstance(outcome, Reply):
            return Done(outcome, Usage(teacher_calls=1))
        usage = self._usage(outcome.body, call)
        try:
            return Done(self._read(outcome.body, call), usage)
        except TeacherError as error:
            return Done(Failed(error.message), usage, error)

    def _usage(self, reply: Mapping[str, Any], call: Call) -> Usage:
        """Return what the server counted; where it does not count, what was reserved."""
        told = reply.get("usage") or {}
        tokens_in, tokens_out = told.get("prompt_tokens"), told.get("completion_tokens")
        if not isinstance(tokens_in, int) or not isinstance(tokens_out, int) or min(tokens_in, tokens_out) < 0:
            return call.reserve
        self._most = max(self._most, tokens_in / _bytes(call.body))
        return self._priced(tokens_in, tokens_out)

    def _read(self, reply: Mapping[str, Any], call: Call) -> Answer:
        refusal = _refusal(reply)
        if refusal is not None:
            return Refused(refusal)
        try:
            found = self.way.read(reply, call.body)
        except Unusable as error:
            return Refused(str(error))
        except NoProbabilities as error:
            remedy = "a server that gives none can still write its answers: take scoring: text"
            raise TeacherError(str(error), place=f"teacher.scoring: {self.spec.scoring}", remedy=remedy) from error
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            return Failed(f"the reply is not of the protocol's form: {type(error).__name__} {error}")
        return Answered({LOGPROBS: found}) if np.isfinite(found).all() else Failed("the reply's log-probabilities are not finite")


def _some(take: Callable[[], Example | None], most: int) -> Iterator[Example]:
    for _ in range(most):
        if (row := take()) is None:
            return
        yield row


def _bytes(body: Mapping[str, Any]) -> int:
    return len(json.dumps(body.get("messages", body.get("prompt")), ensure_ascii=False).encode())


def _refusal(reply: Mapping[str, Any]) -> str | None:
    """Return why the model would not answer, where the reply says that it would not."""
    choice = reply["choices"][0]
    if not isinstance(choice, Mapping):
        return None
    message = choice.get("message")
    if isinstance(message, Mapping) and message.get("refusal"):
        return f"the model refused: {' '.join(str(message['refusal']).split())[:200]}"
    return "the server's filter: content_filter" if choice.get("finish_reason") == "content_filter" else None


def identity(spec: Any, words: Words, written: Template, shots: Sequence[Shot]) -> str:
    """Return the digest of all that the answers depend on, beside the row itself.

    The host is a part of it, for two servers may call different models alike; its port, path and scheme are none, for a server moves
    between these. All of loopback is one host: local servers get their ports by chance, and `version` tells two of them apart.
    """
    host = "loopback" if is_loopback(spec.host) else spec.host
    told = [[dict(shot.fields), shot.label] for shot in shots]
    scoring = spec.model_dump(mode="json", include={"api", "scoring", "top_k", "samples", "sampling_temperature", "seed", "max_new_tokens", "body", "version"})
    return storage.digest("endpoint", VERSION, host, spec.model, scoring, written.digest, told, {label: list(words.of[label]) for label in sorted(words.of)})


def open_endpoint(spec: Any, head: Head, given: Given) -> EndpointTeacher:
    """Return the teacher of a recipe's `kind: endpoint`. Nothing is sent: a server that is not there is met at the first question."""
    shots = [Shot(fields, label) for fields, label in given.shots]
    return EndpointTeacher(spec, head, written(spec, head, given.fields), shots, redactor=redactor(spec), clock=given.clock)


def sent(fields: Mapping[str, str], redactor: Redactor | None, guard: Guard) -> dict[str, str]:
    """Return a row's fields as a prompt shows them: without what may name a person, without words that only an answer may hold."""
    return guard(fields if redactor is None else redactor.fields(fields))


def request_of(spec: Any, labels: Sequence[str], fields: Mapping[str, str]) -> bytes:
    """Return what stands in the store for a row of a run whose teacher is ``spec``, without opening it."""
    return requested(sent(fields, redactor(spec), Guard(spec.prompt.guard, tuple(Words(labels, spec.words).label_of))))


def requested(fields: Mapping[str, str]) -> bytes:
    """Return what stands for a row's fields, as they are sent, in the store: without the marks that no prompt shows."""
    return storage.canonical({name: harmless(value) for name, value in fields.items()})


def written(spec: Any, head: Head, fields: Sequence[str]) -> Template:
    """Return the recipe's template for the labels of ``head``."""
    delimiter = spec.prompt.delimiter or {"chat": "tags", "completion": "line"}[spec.api]
    place = f"teacher.prompt.file: {spec.prompt.file}" if spec.prompt.file else "teacher.prompt"
    return template(source(spec, fields), variables=spec.prompt.variables, words=Words(head.labels, spec.words).first, delimiter=delimiter, place=place)
