"""The traffic log: a hook that takes what was answered, and a thread that writes it; the server never waits for either."""

from __future__ import annotations

import json
import random
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..redact import Redactor, Rule
from .database import INSERT, clear, connect

MOST_ROWS, MOST_CHARS = 20_000, 32_000_000  # that may wait to be written; what comes on top is not kept, and counted
COMMIT_S = 0.25  # how long rows are gathered for one transaction: with the time to write them, a kill loses less than a second
CLEAR_S = 30.0  # between two looks at what is past its days, or too much


@dataclass(frozen=True)
class Kept:
    """What is kept: of rows that the student answers a ``share``, and all that the teacher was paid for; so many ``days`` and ``megabytes``.

    ``inputs``: whether texts are, redacted; else their keyed digests and lengths. ``key``: of digests and replacements.
    """

    share: float = 1.0
    inputs: bool = False
    days: float = 30.0
    megabytes: float = 1000.0
    rules: tuple[Rule, ...] = ()
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)


class TrafficLog:
    """Call it with each :class:`serving.answering.Answered`. ``dropped``: rows that came faster than they could be written; ``failed``: rows that
    the disk refused; ``written``: the others. ``tell`` hears of a failure, at most once in a while."""

    def __init__(self, path: Path, kept: Kept, *, tell: Callable[[str], None] = lambda what: None) -> None:
        self.path, self.kept, self.tell = path, kept, tell
        self.redactor = Redactor(kept.key, kept.rules)
        self.random = random.Random()
        self.written = self.dropped = self.failed = 0
        self.waiting: deque[tuple[Any, float, list[tuple[int, float]], int]] = deque()
        self.rows = self.chars = 0  # that wait
        self.woken, self.closing = threading.Condition(), False
        self.base: sqlite3.Connection | None = connect(path, create=True)
        self.known: set[str] = set()
        self.told_at = -1e9
        self.thread = threading.Thread(target=self._write, name="traffic", daemon=True)
        self.thread.start()

    # ------------------------------------------------------------------------------------------ in the event loop's thread
    def __call__(self, answered: Any) -> None:
        """Take what is to be kept of an answered request; never waits."""
        share = self.kept.share
        places = [(place, 1.0) if place in answered.teacher else (place, share) for place in range(len(answered.rows))]
        places = [(place, kept) for place, kept in places if kept >= 1.0 or self.random.random() < kept]
        if not places:
            return
        chars = sum(len(text) for row in answered.rows for text in row.values())  # all of them are held until it is written
        with self.woken:
            if self.rows + len(places) > MOST_ROWS or self.chars + chars > MOST_CHARS:
                self.dropped += len(places)
                return
            self.waiting.append((answered, time.time(), places, chars))
            self.rows += len(places)
            self.chars += chars
            if len(self.waiting) == 1:
                self.woken.notify()

    def close(self, seconds: float = 5.0) -> None:
        """Write what waits, and end."""
        with self.woken:
            self.closing = True
            self.woken.notify()
        self.thread.join(seconds)

    # ---------------------------------------------------------------------------------------------- in the writer's thread
    def _write(self) -> None:
        look = 0.0  # when to look at what is too old, or too much
        while True:
            with self.woken:
                self.woken.wait_for(lambda: self.waiting or self.closing, CLEAR_S)
                if not self.closing:
                    self.woken.wait_for(lambda: self.closing, COMMIT_S)
                taken, self.waiting = self.waiting, deque()
                ending = self.closing
            if taken:
                self._commit(taken)
            if time.monotonic() > look:
                look = time.monotonic() + (CLEAR_S if self._guarded(self._clear) else 0.0)
            if ending:
                self._shut()
                return

    def _commit(self, taken: deque[Any]) -> None:
        count = sum(len(places) for _, _, places, _ in taken)
        done = self._guarded(lambda base: self._insert(base, taken))
        with self.woken:
            self.rows -= count
            self.chars -= sum(chars for *_, chars in taken)
            self.written += count if done else 0
            self.failed += 0 if done else count

    def _clear(self, base: sqlite3.Connection) -> bool:
        return clear(base, days=self.kept.days, most_bytes=int(1e6 * self.kept.megabytes))

    def _guarded(self, work: Callable[[sqlite3.Connection], bool]) -> bool:
        """Do ``work``; return whether it is done. A disk that is full or gone is no reason to stop answering: the file is opened anew next time."""
        try:
            if self.base is None:
                self.base = connect(self.path, create=True)
            return work(self.base)
        except Exception as error:  # whatever it is, it is counted and told; a thread that ended would keep nothing ever after
            self._shut()
            if time.monotonic() - self.told_at > CLEAR_S:
                self.told_at = time.monotonic()
                self.tell(str(error) if isinstance(error, sqlite3.Error) else type(error).__name__)
            return False

    def _shut(self) -> None:
        base, self.base = self.base, None
        self.known.clear()
        if base is not None:
            try:
                base.close()
            except sqlite3.Error as error:
                self.tell(str(error))

    def _insert(self, base: sqlite3.Connection, taken: deque[Any]) -> bool:
        base.execute("BEGIN IMMEDIATE")
        try:
            for answered, at, places, _ in taken:
                self._know(base, answered.model)
                base.executemany(INSERT, [self._row(answered, at, place, share) for place, share in places])
            base.execute("COMMIT")
        except BaseException:
            self.known.clear()
            if base.in_transaction:
                base.execute("ROLLBACK")
            raise
        return True

    def _know(self, base: sqlite3.Connection, model: Any) -> None:
        if model.digest not in self.known:
            predictor = model.predictor
            found = (model.digest, predictor.kind, json.dumps(predictor.labels), json.dumps(predictor.fields))
            base.execute("INSERT OR IGNORE INTO models VALUES (?, ?, ?, ?)", found)
            self.known.add(model.digest)

    def _row(self, answered: Any, at: float, place: int, share: float) -> tuple[Any, ...]:
        """Return a row's values, in the order of :data:`database.COLUMNS`."""
        row, one, model = answered.rows[place], answered.predictions[place], answered.model
        taught, policy = place in answered.teacher, model.policy
        times = [None if part not in answered.seconds else 1000 * answered.seconds[part] for part in ("queue", "tokenize", "infer")]
        return (
            at, answered.alias, model.digest, None if policy is None else policy.id,
            self.redactor.digest("\0".join(f"{name}\0{text}" for name, text in row.items())), sum(map(len, row.values())),
            json.dumps({name: self.redactor(text) for name, text in row.items()}) if self.kept.inputs else None,
            json.dumps(one.told), one.score, one.confidence, json.dumps(dict(one.scores)), one.served_by, one.flag,
            json.dumps(_probabilities(answered.teacher[place], model.predictor)) if taught else None,
            policy.limits.usd_per_1000 / 1000 if taught and policy is not None else 0.0,
            *times, 1000 * answered.seconds["teacher"] if taught and "teacher" in answered.seconds else None, share,
        )  # fmt: skip


def _probabilities(scores: np.ndarray, predictor: Any) -> Mapping[str, float]:
    """Return what a teacher's scores are as probabilities: of labels each, of classes together 1."""
    wide = scores.astype(np.float64)
    found = 1 / (1 + np.exp(-wide)) if predictor.kind == "labels" else np.exp(wide - wide.max())
    found = found if predictor.kind == "labels" else found / found.sum()
    return dict(zip(predictor.labels, map(float, found)))


def open_log(
    path: Path, *, share: float, inputs: bool, days: float, megabytes: float, rules: Sequence[Rule] = (), key: bytes | None = None,
    tell: Callable[[str], None] = lambda what: None,
) -> TrafficLog:  # fmt: skip
    """Return a log that is open. ``key`` None: a new one, so that replacements are the same as long as this process lives. Raises :class:`UserError`."""
    more = {} if key is None else {"key": key}
    return TrafficLog(path, Kept(share, inputs, days, megabytes, tuple(rules), **more), tell=tell)
