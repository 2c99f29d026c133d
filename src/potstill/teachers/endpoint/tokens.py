"""A language model behind a server that is asked about each token of a text: the likeliest of every position, out of the echo of a prompt.

A row goes as ids, a window a prompt, so that no server cuts it otherwise; what comes back must name tokens by their ids, and those that were sent
where they were sent. vLLM does (``return_tokens_as_token_ids``, or ``prompt_logprobs``); a server that gives texts of tokens does not, for several
tokens may be one text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np

from ... import storage
from ...contracts import Post
from ...errors import StoreError, TeacherError
from ...recipe.endpoint import is_loopback
from ...recipe.generation import MAX_LENGTH, of_endpoint
from ...records import Answer, Answered, Example, Failed, Head, Refused, Usage, Want
from ...serving.preprocess import Item
from ...serving.turns import Turns, spec_of
from .. import loading
from ..build import Given
from ..reading import content, read, unread
from .calls import Again, Call, Calls, Clock, Done, Rates, WallClock
from .client import Client, Outcome, Reply

VERSION = 2  # raise it when the same replies would be read otherwise
PLACE = "teacher.url"
Told = dict[int, float]  # a position's tokens and their log-probabilities


class Coder(Protocol):
    """What writes the store's value of what a server gave; see :class:`potstill.labels.tokens.coders.GivenCoder`."""

    @property
    def name(self) -> str: ...

    def given(self, ids: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]]) -> bytes: ...


class NotTold(Exception):
    """The reply tells no log-probability of a token that stands in the text; the argument says of which."""


class NoIds(Exception):
    """The reply holds no log-probabilities of the prompt's tokens by their ids."""


@final
class EndpointTokens:
    """See :class:`potstill.contracts.Teacher` and :class:`potstill.contracts.PaidByCall`. Gives ``tokens``, one call a row.

    Of each position: the ``top_k`` likeliest tokens, and the one that stands there.
    """

    repeated = 0
    labels: tuple[str, ...] = ()

    def __init__(self, spec: Any, folder: Path, *, clock: Clock | None = None) -> None:
        self.name, self.spec = spec.model, spec
        chat, tokenizer = spec.chat, loading.tokenizer(folder)
        self.turns_spec = spec_of(tokenizer, max_length=spec.max_length or MAX_LENGTH, template=chat.template, options=chat.options, every_turn=chat.every_turn)
        self.turns = Turns.read(self.turns_spec, folder)
        self._coder: Coder | None = None
        self._clock = clock or WallClock()
        self._rates = Rates(self._clock, spec.requests_per_minute, spec.tokens_per_minute)

    def identity(self) -> str:
        """Return the digest of the server and the model's name there, its version, what is asked of it, the tokenizer and the template."""
        spec = self.spec
        told = [spec.model, spec.version, spec.top_k, spec.body, "loopback" if is_loopback(spec.host) else spec.host]
        return storage.digest("endpoint tokens", VERSION, told, {**self.turns_spec, "file": ""}, self.turns.renderer.tokenizer.to_str())

    def offers(self) -> frozenset[str]:
        return frozenset({"tokens"})

    def teach(self, coder: Coder) -> None:
        """Answer ``Want("tokens", coded=coder.name)`` by this coder from now on."""
        self._coder = coder

    @property
    def vocabulary(self) -> int:
        return int(self.turns.renderer.tokenizer.get_vocab_size(with_added_tokens=True))

    def request(self, example: Example) -> bytes:
        item = read(self.turns, example)
        return unread(example) if isinstance(item, str) else content(item)

    def facts(self) -> Mapping[str, Any]:
        spec, why = self.spec, "it runs behind a server"
        return {
            "architecture": f"{spec.model} at {spec.host}", "parameters": None, "size_bytes": None, "layers": None, "width": None, "precision": None,
            "version": spec.version, "path": spec.url, "top_k": spec.top_k, "vocabulary": self.vocabulary, "max_length": self.turns.max_length,
            "usd_per_million_in": spec.usd_per_million_in, "usd_per_million_out": spec.usd_per_million_out, "license": spec.license,
            "output_license": spec.output_license, "usd_per_1000": 0.0, "unknown": {"parameters": why, "size_bytes": why, "precision": why},
        }  # fmt: skip

    # ---------------------------------------------------------------------------------------------------------- calls
    def reserve(self, example: Example) -> Usage:
        item = read(self.turns, example)
        if isinstance(item, str):
            return self._priced(0, 0)
        return self._call(example.id, item).reserve if item["learnt"].any() else Usage()

    def answer(self, examples: Sequence[Example], wants: Sequence[Want]) -> Iterator[tuple[str, Answer]]:
        left = iter(examples)
        for id, answer, _ in self.calls(lambda: next(left, None), wants, lambda id, usage: None):
            yield id, answer

    def calls(
        self, take: Callable[[], Example | None], wants: Sequence[Want], booked: Callable[[str, Usage], None], *, proven: bool = False,
        post: Post | None = None,
    ) -> Iterator[tuple[str, Answer, Usage]]:  # fmt: skip
        """See :class:`potstill.contracts.PaidByCall`. A row that can't be read, or of which nothing is learnt, costs no call."""
        coder = self._checked(wants)
        client, settled = Client(self.spec), list[tuple[str, Answer, Usage]]()
        items: dict[str, Item] = {}

        def next_call() -> Call | None:
            while (row := take()) is not None:
                item = read(self.turns, row)
                if isinstance(item, str):
                    settled.append((row.id, Failed(item), Usage()))
                elif not item["learnt"].any():
                    settled.append((row.id, _answered(coder, wants, []), Usage()))
                else:
                    items[row.id] = item
                    return self._call(row.id, item)
            return None

        def send(call: Call) -> Done | Again:
            return self._outcome(client.call(call.body), call, items[call.id], coder, wants)

        try:
            running = Calls(next_call, send, booked, self.spec, self._clock, self._rates, f"{PLACE}: {client.url}", proven=proven).run()
            for done in running:
                items.pop(done[0], None)
                yield done
                while settled:
                    yield settled.pop(0)
            yield from settled
        finally:
            client.close()

    def _checked(self, wants: Sequence[Want]) -> Coder:
        for want in wants:
            if self._coder is None or want != Want("tokens", coded=self._coder.name):
                raise TeacherError(f"an endpoint can't give '{want.key}' of a text", place=self.name, remedy="ask for tokens, by the coder that it was handed")
        assert self._coder is not None  # there is a want
        return self._coder

    def _call(self, id: str, item: Item) -> Call:
        prompts = [item["input_ids"][item["window"] == number].tolist() for number in range(int(item["window"].max(initial=-1)) + 1)]
        asked = {"prompt": prompts, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": self.spec.top_k, "return_tokens_as_token_ids": True}
        body = {"model": self.spec.model, **asked, **self.spec.body}
        return Call(id, {name: value for name, value in body.items() if value is not None}, self._priced(len(item["input_ids"]), len(prompts)))

    def _priced(self, tokens_in: int, tokens_out: int) -> Usage:
        usd = (tokens_in * self.spec.usd_per_million_in + tokens_out * self.spec.usd_per_million_out) / 1e6
        return Usage(teacher_calls=1, tokens_in=tokens_in, tokens_out=tokens_out, usd=usd)

    def _outcome(self, outcome: Outcome, call: Call, item: Item, coder: Coder, wants: Sequence[Want]) -> Done | Again:
        """Return what a reply says of its row."""
        if isinstance(outcome, Again):
            return outcome
        if not isinstance(outcome, Reply):
            return Done(outcome, Usage(teacher_calls=1))
        counted = outcome.body.get("usage") or {}
        read_in, written = counted.get("prompt_tokens"), counted.get("completion_tokens")
        usage = call.reserve
        if isinstance(read_in, int) and isinstance(written, int) and min(read_in, written) >= 0:
            usage = self._priced(read_in, written)
        try:
            told = positions(outcome.body, call.body["prompt"], item, self.spec.top_k)
            return Done(_answered(coder, wants, told), usage)
        except NoIds as error:
            remedy = "ask a server that names tokens by ids, as vLLM does; or, where it knows them, body: {prompt_logprobs: 20, echo: null, logprobs: null}"
            stop = TeacherError(str(error), place=PLACE, remedy=remedy)
            return Done(Failed(stop.message), usage, stop)
        except NotTold as error:
            return Done(Refused(str(error)), usage)
        except StoreError as error:
            return Done(Refused(error.message), usage)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            return Done(Failed(f"the reply is not of the protocol's form: {type(error).__name__} {error}"), usage)


def _answered(coder: Coder, wants: Sequence[Want], told: Sequence[Told]) -> Answered:
    value = np.frombuffer(coder.given([list(one) for one in told], [list(one.values()) for one in told]), np.uint8)[None]
    return Answered(dict.fromkeys(wants, value))


def positions(reply: Mapping[str, Any], prompts: Sequence[Sequence[int]], item: Item, most: int) -> list[Told]:
    """Return what a reply says of each learnt token of a row, in order: the ``most`` likeliest, and that token.

    Raises :class:`NoIds` for a reply without ids, ValueError for one of other tokens than were sent, and :class:`NotTold` where it leaves out what was
    sent: the teacher could not be judged there.
    """
    choices = sorted(reply["choices"], key=lambda choice: choice.get("index", 0))
    if len(choices) != len(prompts):
        raise ValueError(f"{len(choices)} prompts of {len(prompts)} came back")
    found: list[Told] = []
    for number, (choice, ids) in enumerate(zip(choices, prompts)):
        told = _by_place(choice, ids)
        found += [_kept(told[at], ids[at], most) for at in np.flatnonzero(item["learnt"][item["window"] == number]).tolist()]
    return found


def _kept(told: Told, own: int, most: int) -> Told:
    """Return the ``most`` likeliest tokens of a position and its ``own``. A server may give more than it was asked for."""
    if not np.isfinite(told.get(own, -np.inf)):
        raise NotTold(f"the reply tells no log-probability of token {own}, which stands in the text")
    likeliest = sorted(told, key=lambda id: -told[id])[:most]
    return {id: told[id] for id in dict.fromkeys((*likeliest, own))}


def _by_place(choice: Mapping[str, Any], ids: Sequence[int]) -> list[Told]:
    """Return by place in a prompt what was likely there, and the token that stands there; of the first, which nothing foretells, nothing."""
    if (listed := choice.get("prompt_logprobs")) is not None:
        places = [{int(id): float(entry["logprob"]) for id, entry in (one or {}).items()} for one in listed]
        if len(places) < len(ids) or any(id not in one for id, one in zip(ids[1:], places[1:])):
            raise ValueError("the tokens that came back are not those that were sent")
        return places
    told = choice.get("logprobs") or {}
    if not told.get("top_logprobs") or not told.get("tokens"):
        raise NoIds("the reply echoes no log-probabilities of the prompt")
    if [_id(token) for token in told["tokens"][: len(ids)]] != list(ids):
        raise ValueError("the tokens that came back are not those that were sent")
    return [
        {**{_id(token): _number(value) for token, value in (top or {}).items()}, **({} if own is None else {id: _number(own)})}
        for id, top, own in zip(ids, told["top_logprobs"], told["token_logprobs"])
    ]


def _id(token: str) -> int:
    name, _, number = str(token).partition(":")
    if name != "token_id" or not number.isdecimal():
        raise NoIds(f"the reply names a token by its text ({str(token)[:20]!r}), which may be that of several")
    return int(number)


def _number(value: Any) -> float:
    return -np.inf if value is None else float(value)


def open_tokens(spec: Any, head: Head, given: Given) -> EndpointTokens:
    """Return the teacher of a recipe's ``kind: endpoint`` for a task of texts. Nothing is sent. Raises :class:`TeacherError` for a section that can't be
    used so."""
    for finding in of_endpoint(spec):
        raise TeacherError(finding.message, place=".".join(("teacher", *map(str, finding.path))), remedy=finding.remedy)
    return EndpointTokens(spec, Path(spec.tokenizer).expanduser(), clock=given.clock)
