"""Before a language model labels: how what it says of each token is kept. A codebook is fitted on a few rows, and the way is chosen by what each way
takes and loses on others (:mod:`potstill.labels.tokens`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import rng, storage
from ..cache import Stage
from ..errors import TeacherError
from ..lookup import load
from ..records import Example, Want
from ..workspace import Workspace
from .data import Data
from .teach import Teaching

STATES = Want("states")
ROWS, TOKENS = 32, 8192  # of the probe, at most: what a teacher of some hundred million parameters reads within a minute
PROBE_BYTES, LEAST, MOST = 192 << 20, 64, 1024  # of its logits, and the positions that these may be
COMPARED = 256  # rows that teacher and student must read alike before anything is trained
BOOK = "codebook.bin"


@dataclass(frozen=True)
class Coding:
    """How a teacher's answers to tokens are kept in this run: what they are asked as, asked with, and read by."""

    teaching: Teaching
    coder: Any  # potstill.labels.tokens.coders
    found: Mapping[str, Any]  # what the probe showed: `told` in words
    fingerprint: str

    @property
    def want(self) -> Want:
        return Want("tokens", coded=self.coder.name)

    def ask(self, rows: Sequence[Example], *, count: bool = True) -> Any:
        """Return the teacher's answers to rows, from the store where it has them."""
        self.teaching.teacher.teach(self.coder)  # type: ignore[attr-defined]
        return self.teaching.raw(rows, [self.want], count=count)

    def column(self, answers: Any, ids: Sequence[str], items: Sequence[Mapping[str, np.ndarray]]) -> Any:
        """Return the answers to the rows ``ids``, which a student reads as ``items``, as its training takes them. Raises :class:`UserError` where
        answers and items are of different positions."""
        values = answers.arrays(ids, self.want)
        told = load("potstill.labels.tokens.coders:positions")([value[0].data for value in values])
        load("potstill.training.columns:check")(told, items, self.want)
        head = self.teaching.teacher.head if self.coder.way == "hidden" else None  # type: ignore[attr-defined]
        return load("potstill.training.columns:KeptTokens")(values, self.coder.way, self.coder.decode, head)


def coding(work: Workspace, data: Data, teaching: Teaching) -> Coding:
    """Return how the teacher's tokens are kept: chosen once for a teacher, its rows and the recipe's ``teacher.tokens``, and said in every run."""
    if teaching.ready.spec.kind == "endpoint":
        return _given(work, teaching)
    stage = _stage(work, data, teaching)
    found = stage.read()
    work.log.say(found["told"])
    book = load("potstill.labels.tokens.codebook:Codebook").read((stage.folder / BOOK).read_bytes())
    keep = load("potstill.labels.tokens.select:Keep")
    setting = keep(**found["setting"]) if isinstance(found["setting"], dict) else found["setting"]
    coder = load("potstill.labels.tokens.coders:coder")(setting, book=book, head=bytes.fromhex(found["head"]))
    return Coding(teaching, coder, found, stage.fingerprint)


def _given(work: Workspace, teaching: Teaching) -> Coding:
    """Return how a server's tokens are kept: as they come, for they are few."""
    teacher: Any = teaching.teacher
    most = teaching.ready.spec.top_k + 1  # and the one that stands there
    keep = load("potstill.labels.tokens.select:Keep")(1.0, 0.0, most)
    coder = load("potstill.labels.tokens.coders:GivenCoder")(keep, teacher.vocabulary)
    told = f"kept as given: of each position the {most - 1} likeliest tokens that the server tells, the one that stands there, and the mass of all others"
    work.log.say(told)
    return Coding(teaching, coder, {"way": "sparse", "told": told}, storage.digest("given", teaching.fingerprint, coder.name))


def online(teaching: Teaching, rows: Sequence[Example], *, full: bool = False) -> Any:
    """Return the column of a teacher that is asked about ``rows`` in every step, and of whose answers nothing is kept: to compare with."""
    teacher: Any = teaching.teacher
    items = teacher.items(rows)
    return load("potstill.training.columns:AskedAnew")(
        lambda batch: teacher.ask([items[i] for i in batch]), teacher.head, len(items), teacher.distribution if full else None
    )


def _stage(work: Workspace, data: Data, teaching: Teaching) -> Stage:
    asked = teaching.ready.spec.tokens
    rows = _probe(data)

    def make(folder: Path, scratch: Path) -> None:
        with work.log.stage("tokens", f"fitting a codebook to what the teacher says of {len(rows):,} rows"):
            teacher: Any = teaching.teacher
            states = _some(teaching, rows, teacher.head.vocabulary)
            fitted, tried = (np.concatenate(parts) for parts in (states[0::2], states[1::2] or states[0::2]))
            book, choice = _chosen(asked, fitted, tried, teacher.scores)
            storage.write_bytes(folder / BOOK, book.data)
            storage.write_json(folder / "result.json", {**_told(asked, choice), "head": teacher.head_digest.hex()})

    inputs = {"teacher": teaching.fingerprint, "tokens": asked.model_dump(mode="json"), "rows": [row.id for row in rows]}
    return work.shared.get("tokens", inputs, make)


def _probe(data: Data) -> list[Example]:
    """Return rows to learn from, by a seeded order of their own."""
    learnt = [row for row in data.train if row.gold is not None]
    return sorted(learnt, key=lambda row: rng.integer(0, "tokens", row.id))[:ROWS]


def _some(teaching: Teaching, rows: Sequence[Example], vocabulary: int) -> list[np.ndarray]:
    """Return states of the rows, evenly spread places of each: no more than the probe's logits may take. Raises :class:`TeacherError` for none."""
    sizes = np.cumsum([len(item["input_ids"]) for item in teaching.teacher.items(rows)])  # type: ignore[attr-defined]
    rows = [row for row, size in zip(rows, sizes) if size <= max(TOKENS, sizes[0])]
    answers = teaching.raw(rows, [STATES])
    found = [states.astype(np.float32) for states in answers.arrays(answers.answered(row.id for row in rows), STATES) if len(states)]
    if not found:
        raise TeacherError("the teacher says nothing of the rows to learn from: no token of them is learnt, or it answered none", place="data.train")
    most = min(max(PROBE_BYTES // (4 * vocabulary), LEAST), MOST)
    each = -(-most // len(found))
    return [states[np.unique(np.linspace(0, len(states) - 1, min(each, len(states))).round().astype(int))] for states in found]


def _chosen(asked: Any, fitted: np.ndarray, tried: np.ndarray, scores: Callable[[np.ndarray], np.ndarray]) -> tuple[Any, Any]:
    """Return the codebook, fitted on some states' ``scores``, and the choice that others showed; among the ways that the recipe leaves open."""
    keeps = _keeps(asked)
    book = load("potstill.labels.tokens.fit:fit")(scores(fitted), keeps[-1], draws=asked.draws)
    choice = load("potstill.labels.tokens.choose:choose")(
        scores(tried), [len(tried)], book, limit=asked.limit, keeps=keeps, states=tried, head=scores, draws=asked.draws
    )
    if asked.way == "auto":
        return book, choice
    open_ways = [way for way in choice.ways if way.name.startswith(asked.way)]
    within = [way for way in open_ways if way.kl <= asked.limit]
    return book, replace(choice, chosen=min(within, key=lambda way: way.bytes) if within else min(open_ways, key=lambda way: way.kl))


def _keeps(asked: Any) -> list[Any]:
    """Return what may be kept of a distribution: as the recipe says; where the way is left to us a coarser and a finer one, too, the finest last."""
    keep = load("potstill.labels.tokens.select:Keep")
    own = keep(asked.mass, asked.floor, asked.k_max)
    if asked.way != "auto":
        return [own]
    coarser, finer = keep(asked.mass, min(10 * asked.floor, 0.5), asked.k_max), keep(1 - (1 - asked.mass) / 10, asked.floor / 5, min(2 * asked.k_max, 4096))
    return [coarser, own, finer]


def _told(asked: Any, choice: Any) -> dict[str, Any]:
    ways = [{"name": way.name, "bytes": way.bytes, "kl": way.kl, "unbiased": way.unbiased} for way in choice.ways]
    setting = choice.chosen.setting
    return {
        "way": choice.chosen.name.partition(" ")[0], "name": choice.chosen.name, "bytes": choice.chosen.bytes, "kl": choice.chosen.kl,
        "setting": setting if isinstance(setting, str | int) else asdict(setting), "limit": choice.limit, "positions": choice.positions, "ways": ways,
        "told": str(choice) if asked.way == "auto" else f"kept as {choice.chosen.name}, as teacher.tokens.way says; {choice.measured}",
    }  # fmt: skip


def compare(teaching: Teaching, read: Any, rows: Sequence[Example], *, kept: Sequence[int] | None = None) -> None:
    """Raise :class:`TeacherError` unless a student's turns ``read`` what its teacher reads, in tokens and in how rows are written; before it is trained.

    ``kept``: for each token of a student's whose vocabulary was trimmed the teacher's.
    """
    teacher: Any = teaching.teacher
    load("potstill.teachers.tokens:same_tokens")(teacher.turns.renderer.tokenizer, read.renderer.tokenizer, kept=kept)
    load("potstill.teachers.tokens:same_rows")(teacher.turns, read, [row.fields for row in rows[:COMPARED]], kept=kept)
