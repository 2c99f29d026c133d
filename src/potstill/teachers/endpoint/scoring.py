"""From a server's reply to log-probabilities over the labels: by the first token, by whole words as continuations, or by what was written.

Each way is a :class:`Way`: what it adds to the request, and how it reads a choice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, final

import numpy as np

from ...errors import TeacherError
from ..distributions import FLOOR
from .prompt import Shot, Template

SHOWN = 80  # characters of what the model said, in a reason
SPACES = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\n"})  # how byte-level and sentence-piece tokens write them, where a server does not


class Unusable(Exception):
    """The model said something that is no answer; the argument is the reason of a refusal."""


class NoProbabilities(Exception):
    """The reply holds no log-probabilities, which were asked for."""


class Way(Protocol):
    """How labels are scored."""

    def body(self, template: Template, shots: Sequence[Shot], fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request about one row, without the model's name."""

    def read(self, reply: Mapping[str, Any], body: Mapping[str, Any]) -> np.ndarray:
        """Return log-probabilities *Shape:* (1, labels) float32. Raises :class:`Unusable`, :class:`NoProbabilities`, KeyError and the like."""


class Words:
    """What the model says for each label: the first word is written into shots, all of them are understood."""

    def __init__(self, labels: Sequence[str], given: Mapping[str, Sequence[str]]) -> None:
        for label in given:
            if label not in labels:
                raise TeacherError(f"the task has no label '{label}'", place="teacher.words", remedy=f"its labels: {', '.join(labels)}")
        self.labels = tuple(labels)
        self.of = {label: tuple(str(word).strip() for word in given.get(label, [label])) for label in labels}
        seen: dict[str, str] = {}
        for label, words in self.of.items():
            for word in words:
                if not word or seen.setdefault(word.casefold(), label) != label:
                    raise TeacherError(
                        f"'{word}' says both '{seen.get(word.casefold(), label)}' and '{label}'", place="teacher.words", remedy="give each its own"
                    )
        self.label_of = seen

    @property
    def first(self) -> list[str]:
        return [words[0] for words in self.of.values()]

    def refuse_beginnings(self) -> None:
        """Raise :class:`TeacherError` where a word of one label begins one of another: by its first token alone they can't be told apart."""
        for word, label in self.label_of.items():
            for other, its in self.label_of.items():
                if its != label and other.startswith(word):
                    remedy = "give the labels other words (teacher.words: {label: word}), or take scoring: text"
                    raise TeacherError(f"'{word}' begins '{other}': a first token can't tell them apart", place="teacher.words", remedy=remedy)

    def begun_by(self, token: str) -> set[str]:
        """Return the labels one of whose words ``token`` begins, or is with something behind it."""
        said = token.translate(SPACES).strip().casefold()
        if not said:
            return set()
        return {label for word, label in self.label_of.items() if word.startswith(said) or re.match(rf"{re.escape(word)}\W", said)}

    def shares(self, found: Mapping[str, float], absent: float = FLOOR) -> np.ndarray:
        """Return log-probabilities *Shape:* (1, labels) float32 from probabilities by label; ``absent`` is that of the others."""
        p = np.array([max(found.get(label, absent), FLOOR * sum(found.values()), 1e-300) for label in self.labels], np.float64)
        logs = np.log(p)
        return np.asarray(logs - np.logaddexp.reduce(logs), np.float32)[None]


@final
class FirstToken:
    """The likeliest first tokens, each counted for the label whose word it begins (so "pos" counts for "positive").

    A label that is not among them has at most the probability of the least likely that is, and at most what is left over: it is given
    the lesser of the two. Servers return fewer than asked for, ``-inf``, or the sampled token as one more: all are taken as they come.
    """

    def __init__(self, words: Words, api: str, top_k: int) -> None:
        words.refuse_beginnings()
        self.words, self.api, self.top_k = words, api, top_k

    def body(self, template: Template, shots: Sequence[Shot], fields: Mapping[str, Any]) -> dict[str, Any]:
        asked = {"logprobs": True, "top_logprobs": self.top_k} if self.api == "chat" else {"logprobs": self.top_k}
        return {**conversation(self.api, self.words, template, shots, fields), "max_tokens": 1, "temperature": 0, **asked}

    def read(self, reply: Mapping[str, Any], body: Mapping[str, Any]) -> np.ndarray:
        tokens = {token: math.exp(min(value, 0.0)) for token, value in _first(reply["choices"][0]).items() if value > -math.inf}
        found: dict[str, float] = {}
        unclear: dict[str, float] = {}
        for token, p in tokens.items():
            labels = self.words.begun_by(token)
            if len(labels) == 1:
                label = labels.pop()
                found[label] = found.get(label, 0.0) + p
            elif labels:
                unclear[token] = p
        told = ", ".join(repr(token) for token in list(tokens)[:5])
        if sum(unclear.values()) > sum(found.values()):
            raise Unusable(f"the first token {max(unclear, key=lambda token: unclear[token])!r} begins the words of several labels: give them others")
        if not found:
            raise Unusable(f"no label's word is among the {len(tokens)} likeliest first tokens: {told}")
        left = max(1.0 - sum(tokens.values()), 0.0)
        return self.words.shares(found, min(min(tokens.values()), left))


@final
class Echo:
    """Each word as a continuation of the prompt, scored whole: all of a row's words go in one request, whose prompts are echoed with
    their log-probabilities. Synonyms add up."""

    def __init__(self, words: Words) -> None:
        self.words = words

    def body(self, template: Template, shots: Sequence[Shot], fields: Mapping[str, Any]) -> dict[str, Any]:
        prompt = conversation("completion", self.words, template, shots, fields)["prompt"]
        return {"prompt": [_said(prompt, word) for word in self._all()], "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}

    def read(self, reply: Mapping[str, Any], body: Mapping[str, Any]) -> np.ndarray:
        choices = sorted(reply["choices"], key=lambda choice: choice.get("index", 0))
        if len(choices) != len(body["prompt"]):
            raise NoProbabilities(f"{len(choices)} prompts of {len(body['prompt'])} came back")
        found: dict[str, float] = {}
        logs = [self._score(choice, prompt, word) for choice, prompt, word in zip(choices, body["prompt"], self._all())]
        for word, value in zip(self._all(), logs):
            label = self.words.label_of[word.casefold()]
            found[label] = found.get(label, 0.0) + math.exp(value - max(logs))
        return self.words.shares(found)

    def _all(self) -> list[str]:
        return [word for words in self.words.of.values() for word in words]

    def _score(self, choice: Mapping[str, Any], prompt: str, word: str) -> float:
        told = choice.get("logprobs") or {}
        if not told.get("token_logprobs") or not told.get("text_offset"):
            raise NoProbabilities("the reply echoes no log-probabilities with their places")
        begin = len(prompt) - len(word)  # a token that holds the space before the word begins one character earlier
        own = [value for value, at, token in zip(told["token_logprobs"], told["text_offset"], told["tokens"]) if at + len(token) > begin and at < len(prompt)]
        if not own or any(value is None for value in own):
            raise NoProbabilities(f"the tokens of '{word}' have no log-probabilities")
        return max(float(sum(own)), -1e4)


@final
class Written:
    """What the model writes, which must be a word of a label and nothing else (quotes, emphasis and a full stop apart); several samples
    give each label its share of those that are."""

    def __init__(self, words: Words, spec: Any) -> None:
        self.words, self.spec = words, spec

    def body(self, template: Template, shots: Sequence[Shot], fields: Mapping[str, Any]) -> dict[str, Any]:
        spec = self.spec
        sampled = {"n": spec.samples, "seed": spec.seed} if spec.samples > 1 or spec.sampling_temperature else {}
        stop = {"stop": ["\n"]} if spec.api == "completion" else {}
        return {
            **conversation(spec.api, self.words, template, shots, fields),
            "max_tokens": spec.max_new_tokens,
            "temperature": spec.sampling_temperature,
            **sampled,
            **stop,
        }

    def read(self, reply: Mapping[str, Any], body: Mapping[str, Any]) -> np.ndarray:
        texts = [str(_text(choice) or "") for choice in reply["choices"]]
        if len(texts) < self.spec.samples:
            remedy = "this server gives no `n`: take samples: 1"
            raise TeacherError(f"{self.spec.samples} samples were asked for, {len(texts)} came", place="teacher.samples", remedy=remedy)
        said = [label for text in texts if (label := self.words.label_of.get(plain(text)))]
        if not said:
            raise Unusable(f"it said no label: {' '.join(texts[0].split())[:SHOWN]!r}")
        return self.words.shares({label: said.count(label) / len(said) for label in said})


def plain(text: str) -> str:
    """Return what is compared with the labels' words."""
    text = re.sub(r"\A\s*<think>.*?</think>", "", text, flags=re.DOTALL)
    return text.strip().strip("\"'`*“”").strip().rstrip(".!").strip("\"'`*“”").strip().casefold()


def ways(words: Words, spec: Any) -> Way:
    """Return the way that the recipe names."""
    if spec.scoring == "first_token":
        return FirstToken(words, spec.api, spec.top_k)
    return Echo(words) if spec.scoring == "echo" else Written(words, spec)


def conversation(api: str, words: Words, template: Template, shots: Sequence[Shot], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a request that says it: messages, or one prompt that a label's word would continue."""
    said = [(template.about(shot.fields), words.of[shot.label][0]) for shot in shots]
    if api == "completion":
        parts = [template.instruction] if template.instruction else []
        return {"prompt": "\n\n".join([*parts, *(_said(item, word) for item, word in said), template.about(fields)])}
    messages = [{"role": "system", "content": template.instruction}] if template.instruction else []
    for item, word in said:
        messages += [{"role": "user", "content": item}, {"role": "assistant", "content": word}]
    return {"messages": [*messages, {"role": "user", "content": template.about(fields)}]}


def _said(prompt: str, word: str) -> str:
    return f"{prompt} {word}"


def _text(choice: Mapping[str, Any]) -> Any:
    return choice["message"]["content"] if "message" in choice else choice["text"]


def _first(choice: Mapping[str, Any]) -> dict[str, float]:
    """Return the first token's alternatives and their log-probabilities, in either of the shapes that servers use."""
    told = choice.get("logprobs") or {}
    found = dict(_listed(told["content"][0]) if told.get("content") else _mapped(told) if told.get("top_logprobs") else [])
    if not found:
        raise NoProbabilities("the reply holds no log-probabilities")
    return found


def _listed(first: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    if isinstance(first.get("logprob"), int | float):
        yield str(first["token"]), float(first["logprob"])
    yield from ((str(entry["token"]), _number(entry["logprob"])) for entry in first.get("top_logprobs") or ())


def _mapped(told: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    yield from ((str(token), _number(value)) for token, value in told["top_logprobs"][0].items())


def _number(value: Any) -> float:
    return -math.inf if value is None or math.isnan(float(value)) else float(value)
