"""The fit of boosted trees: the recipe's objectives as gradients, a look at validation after every round, a checkpoint now and then.

The control's fit is the same function with the same rounds, leaves, rate and stopping rule, on gold alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
from lightgbm.callback import CallbackEnv, EarlyStopException
from scipy import sparse

from .. import storage
from ..contracts import Progress, silent
from ..errors import UserError
from ..evaluation.statistics import Score
from ..runlog import RunLog
from ..students.trees import TreesStudent, matrix
from .gradients import Goal, log_softmax
from .records import History, TrainingRows

if TYPE_CHECKING:
    from ..serving.preprocess import Item

CHECKPOINT = "boosting.json"
EVERY = 10  # rounds between two checkpoints
# Measured with gold labels of 9,500 ICD-10-CM texts, see students/build.py: leaves of 5, 40 or 80 rows were no better, nor was a penalty of 10.
FIXED: Mapping[str, Any] = {
    "min_data_in_leaf": 20, "lambda_l2": 1.0, "max_bin": 15,  # a text seldom has an n-gram more often
    "use_missing": False, "feature_pre_filter": True, "deterministic": True, "force_col_wise": True,  # the same trees for any number of threads
    "metric": "none", "verbosity": -1,
}  # fmt: skip


@dataclass(frozen=True)
class BoostSpec:
    """At most ``rounds`` rounds of one tree a class, each of at most ``leaves``; ``patience`` rounds without gain end the fit."""

    rounds: int
    leaves: int
    learning_rate: float
    patience: int
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        least = {"rounds": 1, "leaves": 2, "patience": 1, "threads": 1}
        wrong = {name: value for name, low in least.items() if (value := getattr(self, name)) < low}
        wrong |= {"learning_rate": self.learning_rate} if not 0 < self.learning_rate <= 1 else {}
        if wrong:
            raise UserError(f"trees can't be fitted with {wrong}", place="students", remedy="counts from 1, leaves from 2, the rate above 0 and up to 1")


def fit(
    student: TreesStudent, rows: TrainingRows, *, terms: Sequence[Mapping[str, Any]], spec: BoostSpec, validation: Sequence[Item],
    evaluate: Callable[[np.ndarray], Score], scratch: Path, progress: Progress = silent, log: RunLog | None = None,
) -> History:  # fmt: skip
    """Fit ``student`` in place, with the fewest rounds that ``evaluate`` likes best.

    ``terms``: the recipe's objectives as plain mappings; ``evaluate`` is given log-probabilities *Shape:* (rows, classes) of
    ``validation``. Called again after a kill, it goes on from the last checkpoint in ``scratch`` to the same trees. Raises
    :class:`UserError` where rows lack what a term needs, or where the loss is no number.
    """
    goal = Goal.of(rows, terms, student.head.width)
    run = _Run(student, goal, spec, evaluate, scratch, progress, log or RunLog(), storage.digest(asdict(spec), goal.digest, lightgbm.__version__))
    run.until_done(rows.items, validation)
    return run.history


@dataclass
class _Run:
    """One fit at work: where it stands, and what it needs to book a round."""

    student: TreesStudent
    goal: Goal
    spec: BoostSpec
    evaluate: Callable[[np.ndarray], Score]
    scratch: Path
    progress: Progress
    log: RunLog
    plan: str
    history: History = field(default_factory=History)
    losses: Mapping[str, float] = field(default_factory=dict)  # by term, of the rounds so far
    score: Score = Score(0.0)  # noqa: RUF009 - a tuple: it can't change
    began: float = 0.0

    def until_done(self, items: Sequence[Item], validation: Sequence[Item]) -> None:
        self.began = time.perf_counter()
        earlier = self._resume()
        features, width = self.student.spec["buckets"], self.student.head.width
        options: dict[str, Any] = {
            # A method would not do: LightGBM copies its options deeply, and a method's owner with them.
            **FIXED, "objective": lambda scores, _: self._objective(scores), "num_class": width, "num_leaves": self.spec.leaves,
            "learning_rate": self.spec.learning_rate, "num_threads": self.spec.threads, "seed": self.spec.seed % 2**31,
        }  # fmt: skip
        model, left = earlier, self.spec.rounds - self.history.steps
        if left and not self.history.stopped_early:
            counts = [matrix(given, features) for given in (items, validation)]
            _can_split(counts[0])
            sets = [lightgbm.Dataset(given, label=np.zeros(given.shape[0]), params=options, free_raw_data=False) for given in counts]
            booster = lightgbm.train(
                options, sets[0], left, valid_sets=[sets[1].set_reference(sets[0])], feval=self._look, callbacks=[self._book],
                init_model=lightgbm.Booster(model_str=earlier) if earlier else None,
            )  # fmt: skip
            model = _text(booster)
        self.student.model = _text(lightgbm.Booster(model_str=model), self.history.kept_step)

    def _objective(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.losses, gradient, curvature = self.goal(scores)
        return gradient, curvature

    def _look(self, scores: np.ndarray, _: Any) -> tuple[str, float, bool]:
        self.score = self.evaluate(log_softmax(scores).astype(np.float32))
        return "score", self.score.value, True

    def _book(self, env: CallbackEnv) -> None:
        """Book the round that ended, keep its trees if it is better than all before, and stop where nothing was gained for long."""
        history, loss = self.history, self.goal.total(self.losses)
        history.steps += 1
        if not np.isfinite([loss, *self.score]).all():
            words = f"the fit diverged by round {history.steps}: loss {loss:.4g}, validation {self.score.value:.4g}"
            raise UserError(words, place="students.learning_rate", remedy="lower the learning rate")
        history.evaluations.append((history.steps, loss, self.score.value))
        for name, value in self.losses.items():
            history.terms.setdefault(name, []).append(value)
        if history.best_score is None or self.score.value > history.best_score:
            history.best_score, history.best_error = self.score
            history.kept_step, history.kept_score = history.steps, self.score.value
        history.stopped_early = history.stale >= self.spec.patience and history.steps < self.spec.rounds
        self.progress(history.steps, self.spec.rounds, f"loss {loss:.3f}, validation {self.score.value:.4f}")
        if history.steps % EVERY == 0 or history.stopped_early or history.steps == self.spec.rounds:
            assert isinstance(env.model, lightgbm.Booster)  # not one of cross-validation's
            self._save(_text(env.model))
        if history.stopped_early:
            raise EarlyStopException(history.kept_step - 1, [])

    def _save(self, model: str) -> None:
        now = time.perf_counter()
        self.history.seconds += now - self.began
        self.began = now
        storage.write_json(self.scratch / CHECKPOINT, {"plan": self.plan, "history": self.history.as_json(), "model": model}, point="checkpoint")

    def _resume(self) -> str:
        """Return the trees of the last checkpoint of this fit, its history put back; empty where there is none."""
        path = self.scratch / CHECKPOINT
        if not path.is_file():
            return ""
        found = storage.read_json(path)
        if found["plan"] != self.plan:
            return ""
        self.history = History.of(found["history"])
        self.log.event("train.resume", step=self.history.steps)
        return str(found["model"])


def _can_split(counts: sparse.csr_matrix) -> None:
    """Raise :class:`UserError` where no n-gram tells enough rows from enough others: LightGBM would call it a fault of its own."""
    least, rows = FIXED["min_data_in_leaf"], counts.shape[0]
    have = counts.getnnz(axis=0)
    if not ((have >= least) & (have <= rows - least)).any():
        raise UserError(
            f"{rows} rows are too few for trees: no n-gram stands in {least} of them and is missing in {least} others", place="data",
            remedy="give more rows, or a pool for the teacher to label; or take a student of another kind",
        )  # fmt: skip


def _text(booster: lightgbm.Booster, rounds: int | None = None) -> str:
    """Return the first ``rounds`` of a booster in LightGBM's text format, without the options: they tell a resumed fit from a whole one."""
    text: str = booster.model_to_string(num_iteration=rounds if rounds is not None else -1, importance_type="split")
    return text.partition("\nparameters:")[0] + "\n"
