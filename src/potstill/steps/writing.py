"""Language models: a row's scores are the measures of its learnt tokens (:mod:`..evaluation.generation`). See :mod:`.said`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.generation import AGREED, BYTES, KL, MEASURES, NATS, RIGHT, TOKENS, by_row, measured
from ..lookup import load
from ..recipe.teacher import HIDDEN_STATES
from ..records import Example, Want
from ..workspace import Workspace
from .coding import COMPARED, coding, compare
from .data import Data, fields
from .learn import max_length, source_of
from .telling import Top, Whole

OPTIONS = "options"  # a field that is there to be judged by: nobody reads it


@dataclass(frozen=True)
class Writing:
    work: Workspace
    data: Data

    floor_name = "bigram"
    floor_words = "a bigram model"
    chance_name = "uniform over bytes"
    opener = "generator"
    decides = False

    # ------------------------------------------------------------------------------------------------- who says what
    def admit(self, teaching: Any) -> None:
        """Raise :class:`TeacherError` for a student that reads otherwise than a teacher behind a server, before that is asked anything."""
        if self.whole:
            return
        shown = self.data.train.examples[:COMPARED]
        for spec in self.work.recipe.students:
            source, chat = source_of(self.work, teaching, spec, "distilled"), self.work.recipe.teacher.chat
            read = {"template": chat.template, "options": chat.options, "every_turn": chat.every_turn}
            compare(teaching, load("potstill.students.causal:turns")(source, max_length(self.work, spec), **read), shown)

    def want(self, teaching: Any) -> Want:
        """Return what the teacher is asked for to be judged by."""
        return self.data.head.want if self.whole else self._kept(teaching).want

    def costing(self, rows: Sequence[Example]) -> list[Example]:
        """Return the rows about which asking takes a call: those of which a token is learnt."""
        return [row for row in rows if row.gold is not None]

    def asked(self, teaching: Any, rows: Sequence[Example], *, count: bool = True) -> Any:
        """Return the answers that the teacher is judged by."""
        return teaching.raw(rows, [self.data.head.want], count=count) if self.whole else self._kept(teaching).ask(rows, count=count)

    @property
    def whole(self) -> bool:
        """Whether all of the teacher's distribution can be had, and not its top alone."""
        return isinstance(self.work.recipe.teacher, HIDDEN_STATES)

    @property
    def divergence(self) -> str:
        """What a divergence from the teacher is over."""
        return "vocabulary" if self.whole else "top_and_tail"

    def teacher(self, teaching: Any, rows: Sequence[Example], *, count: bool = True) -> np.ndarray:
        """Return the teacher's own measures *Shape:* (n, measures); a row of NaN where it gave no answer."""
        told, turns = self._told(teaching, rows, count=count), teaching.teacher.turns
        out = np.full((len(rows), len(MEASURES)), np.nan)
        for place, row in enumerate(rows):
            if row.id in told:
                targets = _targets(turns, row)
                out[place] = _row([told.own(row.id, targets)], targets, turns, row)
        return out

    def artifact(self, teaching: Any, folder: Path, rows: Sequence[Example]) -> np.ndarray:
        """Return an artifact's measures beside what the teacher said; how far it is from a teacher that did not answer is NaN."""
        generator = load("potstill.serving.generator:Generator").open(folder, threads=self.work.threads)
        told, out = self._told(teaching, rows, count=False), np.empty((len(rows), len(MEASURES)))
        for place, row in enumerate(rows):
            targets, parts, at = _targets(generator.turns, row), [np.zeros((0, 4))], 0
            for logits in generator.scores(row.fields):
                here = slice(at, at + len(logits))
                parts.append(told.beside(row.id, here, logits, targets[here]) if row.id in told else measured(logits, targets[here]))
                at += len(logits)
            out[place] = _row(parts, targets, generator.turns, row)
        return out

    def _told(self, teaching: Any, rows: Sequence[Example], *, count: bool) -> Whole | Top:
        """Return what the teacher said of the rows that it answered."""
        answers, want = self.asked(teaching, rows, count=count), self.want(teaching)
        known = answers.answered(dict.fromkeys(row.id for row in rows))
        values = dict(zip(known, answers.arrays(known, want)))  # the store's are views that can't be written to
        if self.whole:
            return Whole(teaching.teacher, {id: states.copy() for id, states in values.items()})
        return Top(self._kept(teaching).coder, {id: value.tobytes() for id, value in values.items()})

    def floor(self, teaching: Any) -> Any:
        """Return the cheapest language model, pairs of tokens that were counted, of the rows to learn from."""
        items = teaching.teacher.turns.encode([row.fields for row in self.data.train if row.gold is not None])
        return load("potstill.baselines.bigram:bigram")(items, teaching.teacher.facts()["vocabulary"])

    def below(self, fitted: Any, teaching: Any, rows: Sequence[Example]) -> np.ndarray:
        """Return what a floor that was fitted measures; how far it is from the teacher nobody asks: 0."""
        turns = teaching.teacher.turns
        items = turns.encode([row.fields for row in rows])
        out = np.zeros((len(rows), len(MEASURES)))
        out[:, NATS], out[:, RIGHT] = fitted.nats(items), fitted.right(items)
        out[:, TOKENS] = [item["learnt"].sum() for item in items]
        out[:, BYTES] = [turns.size(row.fields) for row in rows]
        return out

    def chance(self, like: np.ndarray) -> np.ndarray:
        """Return the measures of someone who knows nothing, 8 bits a byte, on the rows that ``like`` was measured on."""
        out = like.copy()
        out[:, NATS] = like[:, BYTES] * np.log(256)
        out[:, [KL, AGREED, RIGHT]] = 0
        return out

    # ----------------------------------------------------------------------------------------------------- who learns
    def wants(self, teaching: Any) -> set[Want]:
        return {self._kept(teaching).want}

    def depends(self, teaching: Any, arm: str) -> dict[str, Any]:
        """Return what else a trained student, or its labels, depends on: how rows are written and, but for a control, how what was said of them is kept."""
        chat = self.work.recipe.teacher.chat.model_dump(mode="json")
        return {"chat": chat} | ({"coding": self._kept(teaching).fingerprint} if arm == "distilled" else {})

    def label(self, teaching: Any, rows: Sequence[Example]) -> Any:
        """Ask the teacher about the tokens of rows, in the way in which this run keeps them."""
        return self._kept(teaching).ask(rows)

    def _kept(self, teaching: Any) -> Any:
        """Return how the teacher's tokens are kept; settled, and said, once in an invocation."""
        teaching.coding = teaching.coding or coding(self.work, self.data, teaching)
        return teaching.coding

    def control_terms(self, terms: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
        """Return what a control learns by: the tokens that stand there."""
        return ({"kind": "tokens", "weight": 0.0, "hard": 1.0},)

    def reading(self, student: Any, teaching: Any, rows: Sequence[Example]) -> Any:
        """Return a student that reads rows as its teacher does; raises :class:`TeacherError` where its tokens are others."""
        chat = self.work.recipe.teacher.chat
        made = student.reading(template=chat.template, options=chat.options, every_turn=chat.every_turn)
        made.spec["fields"] = [name for name in fields(self.data) if name != OPTIONS]  # so that who asks it later knows what a bare line is
        compare(teaching, made.preprocess, rows)
        return made

    def records(self, teaching: Any, student: Any, rows: Sequence[Example], wants: Sequence[Want]) -> tuple[list[Example], Any]:
        """Return the rows that the teacher answered, and all that the loop takes of them; all rows where nothing is wanted of it."""
        made, known, column = load("potstill.training.records:TrainingRows"), list(rows), None
        if wants:
            kept = self._kept(teaching)
            answers = kept.ask(rows, count=False)
            answered = set(answers.answered(row.id for row in rows))
            known = [row for row in rows if row.id in answered]
        items = student.preprocess.encode([row.fields for row in known])
        if wants:
            column = kept.column(answers, [row.id for row in known], items)
        return known, made(items=items, gold=self.work.task.encode(known, self.data.head), column=column)

    def trained(self, student: Any, rows: Sequence[Example]) -> np.ndarray:
        """Return the measures of a student that is being trained, without the teacher's part in them."""
        items, sizes = student.preprocess.encode([row.fields for row in rows]), [student.preprocess.size(row.fields) for row in rows]
        found: np.ndarray = load("potstill.training.measures:measure")(student, items, np.array(sizes))
        return found

    # ------------------------------------------------------------------------------------------------------ what ships
    def export(self, student: Any, folder: Path, *, judge: Any, gate: Any, rows: Sequence[Mapping[str, Any]]) -> tuple[Any, dict[str, Any]]:
        """Write the smallest artifact that passes the gate; ``judge`` gives a score of an artifact's folder, and what it decides."""
        model = load("potstill.students.lora:merged")(student.module)
        found: tuple[Any, dict[str, Any]] = load("potstill.export.causal:export")(
            model, student.preprocess_spec(), student.tokenizer.backend_tokenizer, folder, precision=self.work.recipe.export.precision,
            judge=lambda generator: judge(generator.folder), gate=gate, rows=rows, log=self.work.log,
        )  # fmt: skip
        return found

    def timed(self, subjects: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what was measured of each subject, a latency being that of an answer's first token and a throughput that of tokens, eight answers at
        a time; and how many times as fast as the teacher each is, where it could be timed."""
        module = "potstill.measuring.generation"
        found = load(f"{module}:measure")(subjects, rows, threads=self.work.threads, log=self.work.log)
        teacher, ratios = found.get("teacher"), {}
        for name, one in found.items() if teacher else ():
            if name != "teacher":
                times = load(f"{module}:speedup")(one, teacher)
                ratios[name] = {**times, "throughput": times["batch_8"], "latency_p95": None}
        return {name: _measured(one.as_json()) for name, one in found.items()}, ratios

    def pack(self, folder: Path, artifact: Any, rows: Sequence[Mapping[str, Any]], facts: Any, **given: Any) -> None:
        """Pack an artifact as a bundle with its probes; ``facts``: from the fields that it reads to what the card tells."""
        speaker = load("potstill.serving.generator:Generator").open(artifact.folder, threads=1)
        shown = [{name: value for name, value in row.items() if name != OPTIONS} for row in rows]
        load("potstill.bundle.write:write")(folder, artifact, rows=shown, facts=facts(tuple(shown[0]) if shown else ()), speaker=speaker, **given)


def _measured(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return a language model's figures by the names that all models' have, beside its own."""
    known = {"latency_ms": told["first_token_ms"], "throughput_per_s": told["tokens_per_s"][8], "batch_size": 8}
    return {**told, **known, "energy_j_per_1000": None, "energy_reason": "not measured of language models"}


def _targets(turns: Any, row: Example) -> np.ndarray:
    (item,) = turns.encode([row.fields])
    return np.asarray(item["input_ids"][item["learnt"] > 0])


def _row(parts: Sequence[np.ndarray], targets: np.ndarray, turns: Any, row: Example) -> np.ndarray:
    return by_row(np.concatenate(parts), np.array([len(targets)]), np.array([turns.size(row.fields)]))[0]
