"""What is served: bundles under stable names, each name's traffic shared out by weights; another bundle swapped in, and back, at once."""

from __future__ import annotations

import os
import random
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from ..bundle import read as papers
from ..bundle.probes import Probe
from ..bundle.verify import verify
from ..cascade import policy as policies
from ..errors import Problem, ProblemsError, UserError
from ..lookup import did_you_mean
from .generator import BATCH, Generator
from .predictor import SMALL, Predictor, describe
from .preprocess import Item
from .tuning import Tuned, tune
from .writers import Writer, measure

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of what is served
LAST = 19  # the niceness of a thread that gives way to all others


Opened: TypeAlias = "Model | Writer"  # what stands under a name


class WrongBundle(ProblemsError):
    """A bundle that does not answer as it did when it was made: it is not served."""

    exit_code = 3


@dataclass(frozen=True, eq=False)
class Model:
    """A bundle that was opened, checked and measured; requests hold on to theirs, so that a swap disturbs none."""

    path: Path
    digest: str
    predictor: Predictor
    tuned: Tuned
    policy: policies.Policy | None
    thresholds: np.ndarray  # of the policy, by label
    worth: float = 0.0  # how much padding a call that is saved is worth, in units of length

    @property
    def batch(self) -> int:
        return self.tuned.chosen.batch

    @property
    def threads(self) -> int:
        return self.tuned.chosen.threads

    @property
    def row_seconds(self) -> float:
        return self.tuned.row_seconds

    def told(self) -> str:
        """Return how it answers here, in words."""
        return f"{self.tuned.chosen.workers} calls at a time, {self.tuned.told()}"

    def encode(self, rows: Sequence[Mapping[str, str]]) -> list[Item]:
        return self.predictor.encode(rows)

    def length(self, item: Item) -> int:
        return self.predictor.preprocess.length(item)

    def run(self, items: Sequence[Item]) -> np.ndarray:
        return self.predictor.scores_of(self.predictor.logits_of(items, batch_size=self.tuned.chosen.batch))

    def passes_on(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how sure the student is of each row, and which rows its policy passes on. *Shape:* (rows,) each."""
        sure, told = policies.confidence(self.predictor, scores)
        if self.policy is None:
            return sure, np.zeros(len(sure), bool)
        return sure, np.asarray(~(sure > (self.thresholds[told] if told is not None else self.thresholds[0])))


def open_model(path: Path, *, policy: Path | None = None, batch: int | None = None, slots: int = 1, before: Model | None = None) -> Model:
    """Open a bundle: every file's hash, the stored probes asked again, its policy if it has one, and how it is fast with ``slots`` threads.

    ``before``: what it takes the place of while that answers. It is called in the same way then: what is measured beside others is not how fast it is.
    Raises :class:`WrongBundle` where something is not as it was shipped, :class:`UserError` for a policy of another bundle.
    """
    opened = {1: Predictor.open(path)}
    predictor = opened[1]
    probes = _checked(path, predictor)
    digest = papers.digest(papers.manifest(path))
    rule = None if policy is None else policies.read(policy, bundle=digest)
    rows = [{name: str(probe.fields[name]) for name in predictor.fields} for probe in probes]

    def open_with(threads: int) -> Predictor:
        return opened.setdefault(threads, opened.get(threads) or Predictor.open(path, threads=threads))

    rows, lengths = _by_length(predictor, rows or [dict.fromkeys(predictor.fields, "a few words to begin with")])
    if before is not None and predictor.max_batch is not None and predictor.max_batch < before.tuned.chosen.batch:
        before = None
    tuned = before.tuned if before is not None else tune(open_with, rows, slots=slots, threads=_threads(path, slots), batch=batch)
    thresholds = np.zeros(len(predictor.labels)) if rule is None else rule.thresholds(predictor.labels)
    return Model(path, digest, open_with(tuned.chosen.threads), tuned, rule, thresholds, tuned.worth * float(np.mean(lengths)))


def _by_length(predictor: Predictor, rows: list[dict[str, str]]) -> tuple[list[dict[str, str]], list[int]]:
    """Return rows, the shortest first, as the server joins those that wait; and the lengths."""
    lengths = [predictor.preprocess.length(item) for item in predictor.encode(rows)]
    return [rows[place] for place in np.argsort(lengths, kind="stable")], lengths


def open_bundle(path: Path, *, policy: Path | None = None, batch: int | None = None, slots: int = 1, before: Opened | None = None) -> Opened:
    """Open whatever kind of bundle there is. Raises what :func:`open_model` does, and :class:`UserError` for a policy of one that writes."""
    if describe(path)["head"].get("kind") != "tokens":
        return open_model(path, policy=policy, batch=batch, slots=slots, before=before if isinstance(before, Model) else None)
    if policy is not None:
        raise UserError(f"{path} writes texts: no policy can pass them on to a teacher", place=str(policy), remedy="serve it without a policy")
    generators = {1: Generator.open(path)}
    _checked(path, generators[1])

    def open_with(threads: int) -> Generator:
        return generators.setdefault(threads, generators.get(threads) or Generator.open(path, threads=threads))

    tuned = before.tuned if isinstance(before, Writer) else measure(open_with, _threads(path, slots))
    return Writer(path, papers.digest(papers.manifest(path)), open_with(tuned.chosen.threads), tuned, batch or BATCH)


def open_beside(path: Path, *, policy: Path | None, batch: int | None, slots: int, before: Opened | None) -> Opened:
    """Open a bundle while others answer, giving way to them: to hash its files and ask its probes takes seconds of a core that they may need.

    For a thread of its own: what it gave up it can't have again. Threads have a niceness each on Linux alone; elsewhere they share as they are.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LAST)
    return open_bundle(path, policy=policy, batch=batch, slots=slots, before=before)


def _checked(path: Path, opened: Predictor | Generator) -> list[Probe]:
    """Return the probes that are rows of validation, all files and all probes being as they were shipped. Raises :class:`WrongBundle`."""
    if problems := verify(path, lambda folder: opened):
        placed = [Problem(p.place if p.place.startswith(str(path)) else f"{path}, {p.place}", p.message, p.remedy) for p in problems]
        raise WrongBundle(f"{path} is not as it was shipped", placed)
    return [probe for probe in papers.read(path).probes.probes if probe.name.startswith("validation")]


def _threads(path: Path, slots: int) -> tuple[int, ...]:
    """Return the numbers of threads that are worth trying: what is small runs on one, whatever it is given."""
    large = (path / describe(path)["model"]).stat().st_size >= SMALL
    return (1, slots) if large and slots > 1 else (1,)


@dataclass
class Alias:
    """A stable name: its models and their weights; ``before``: what it was, so that it can be that again."""

    models: tuple[tuple[Opened, float], ...]
    before: tuple[tuple[Opened, float], ...] | None = None

    def pick(self, draw: float) -> Opened:
        """Return the model that a number in [0, 1) falls to."""
        total = sum(weight for _, weight in self.models)
        at = 0.0
        for model, weight in self.models:
            at += weight / total
            if draw < at:
                return model
        return next(model for model, weight in reversed(self.models) if weight > 0)


@dataclass
class Aliases:
    """All names. Changed in the event loop's thread alone, each time by one assignment: a request sees the old or the new."""

    by_name: dict[str, Alias] = field(default_factory=dict)
    random: random.Random = field(default_factory=random.Random)

    def route(self, name: str | None) -> tuple[str, Opened]:
        """Return the model for a request to ``name``; without one, that of the only name. Raises :class:`UserError`."""
        if name is None or name == "":
            if len(self.by_name) != 1:
                raise UserError("say which model: several are served", remedy=f'"model": one of {", ".join(sorted(self.by_name))}')
            name = next(iter(self.by_name))
        if name not in self.by_name:
            raise UserError("there is no such model", remedy=did_you_mean(str(name)[:64], self.by_name))
        return name, self.by_name[name].pick(self.random.random())

    def put(self, name: str, model: Opened, weight: float = 1.0) -> None:
        """Serve ``model`` under ``name`` for a share ``weight`` of its requests; the models that stood there share the rest as before."""
        old = self.by_name.get(name)
        if old is None:
            self.by_name[name] = Alias(((model, 1.0),))
            return
        others = [(other, share) for other, share in old.models if other.digest != model.digest and share > 0]
        total = sum(share for _, share in others)
        kept = tuple((other, (1 - weight) * share / total) for other, share in others) if weight < 1 else ()
        self.by_name[name] = Alias((*kept, (model, weight if kept else 1.0)), old.models)

    def weigh(self, name: str, weights: Mapping[str, float]) -> None:
        """Share out the requests to ``name`` anew, by the beginnings of the models' digests. Raises :class:`UserError`."""
        alias = self.known(name)
        places = [self._place(alias, digest) for digest in weights]
        if len(set(places)) < len(places) or not all(0 <= weight <= 1e6 for weight in weights.values()) or not sum(weights.values()) > 0:
            raise UserError("weights are numbers from 0 on, not all 0, one for each digest")
        given = dict(zip(places, weights.values()))
        self.by_name[name] = Alias(tuple((model, given.get(i, 0.0)) for i, (model, _) in enumerate(alias.models)), alias.models)

    def back(self, name: str) -> None:
        """Serve what was served under ``name`` before the last change; the same again undoes it. Raises :class:`UserError`."""
        alias = self.known(name)
        if alias.before is None:
            raise UserError(f"nothing was served under '{name}' before")
        self.by_name[name] = Alias(alias.before, alias.models)

    def known(self, name: str) -> Alias:
        if name not in self.by_name:
            raise UserError("there is no such name", remedy=did_you_mean(str(name)[:64], self.by_name))
        return self.by_name[name]

    @staticmethod
    def _place(alias: Alias, digest: str) -> int:
        found = [i for i, (model, _) in enumerate(alias.models) if len(digest) >= 4 and model.digest.startswith(digest)]
        if len(found) != 1:
            known = ", ".join(model.digest[:12] for model, _ in alias.models)
            raise UserError(f"'{digest[:64]}' is the beginning of {len(found)} digests", remedy=f"served: {known}")
        return found[0]

    def told(self) -> dict[str, Any]:
        """Return what is served, for people and for the admin's page."""
        return {
            name: [
                {"digest": model.digest, "weight": round(weight, 6), "bundle": str(model.path), "batch": model.batch, "threads": model.threads,
                 "policy": None if model.policy is None else model.policy.id}
                for model, weight in alias.models
            ]
            for name, alias in self.by_name.items()
        }  # fmt: skip
