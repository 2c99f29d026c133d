"""The loop: one for every student, every objective, one process or several."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

from .. import rng, storage
from ..contracts import Progress, silent
from ..errors import UserError
from ..evaluation.statistics import Score
from ..objectives.build import Term
from ..records import HeadKind
from ..runlog import RunLog
from ..students.protocol import LoopStudent
from . import checkpoint, precision, schedules, tokens
from .batches import bucketed
from .learner import Learner, check, gather, predict
from .records import History, LoopSpec, TrainingRows

__all__ = ["Run", "begin", "predict", "train"]

Judge = Callable[[LoopStudent], Score]


@dataclass(frozen=True)
class Way:
    """What depends on what a student puts out: the ``learner`` that holds it and its terms, and the ``parts`` that it is given."""

    learner: Callable[..., Any]
    parts: Callable[..., list[Any]]
    check: Callable[..., None]


OF_ROWS = Way(Learner, lambda *given: [gather(*given)], check)
WAYS: Mapping[HeadKind, Way] = {"classes": OF_ROWS, "labels": OF_ROWS, "tokens": Way(tokens.Learner, tokens.parts, tokens.check)}
PEEK = 20  # steps between two reads of the running loss: each read makes a GPU wait


def train(
    student: LoopStudent, rows: TrainingRows, *, terms: Sequence[Term], spec: LoopSpec, evaluate: Judge, scratch: Path,
    progress: Progress = silent, log: RunLog | None = None,
) -> History:  # fmt: skip
    """Train ``student`` in place and leave it in eval mode, with the latest weights that ``evaluate`` can't tell from the best.

    The loss of a step is the sum over terms of weight * sum / count, counted over the whole step: micro-batches and processes
    change nothing. A checkpoint in ``scratch`` at every evaluation; called again after a kill, the loop goes on from the last
    one to bit-equal weights. The global torch generator and the number of threads are put back as they were. Raises
    :class:`UserError` where rows lack what a term needs, or where the loss is no number.
    """
    began, accelerator, home = time.perf_counter(), _accelerator(), next(student.module.parameters()).device
    with _own_torch(spec, accelerator):
        run = begin(student, rows, terms=terms, spec=spec, evaluate=evaluate, scratch=scratch, progress=progress, log=log, accelerator=accelerator)
        run.until_done(began)
    student.module.to(home).eval()
    return run.history


def begin(
    student: LoopStudent, rows: TrainingRows, *, terms: Sequence[Term], spec: LoopSpec, evaluate: Judge, scratch: Path,
    progress: Progress = silent, log: RunLog | None = None, accelerator: Accelerator | None = None,
) -> Run:  # fmt: skip
    """Return a training in train mode that has taken no step: :func:`train` takes them all, and who measures takes them one by one.

    Torch's generator and threads are the caller's. Raises :class:`UserError` where rows lack what a term needs.
    """
    way, accelerator = WAYS[student.head.kind], accelerator or _accelerator()
    way.check(student, rows, terms, spec)
    arithmetic = precision.resolve(spec.precision)
    learner = way.learner(student, terms, arithmetic.name)
    optimizer = OPTIMIZERS[spec.optimizer](learner, spec)
    wrapped, stepper = accelerator.prepare(learner, optimizer)
    run = Run(student, rows, spec, evaluate, scratch, progress, log or RunLog(), accelerator, way, learner, wrapped, optimizer, stepper)
    run.history.precision = arithmetic.name
    learner.train()
    return run


def _accelerator() -> Accelerator:
    return Accelerator(cpu=not torch.cuda.is_available())  # autocast is the learner's: accelerate fixes its own for the whole process


@dataclass
class Run:
    """One training at work: where it stands, and what it needs to take a step."""

    student: LoopStudent
    rows: TrainingRows
    spec: LoopSpec
    evaluate: Judge
    scratch: Path
    progress: Progress
    log: RunLog
    accelerator: Accelerator
    way: Way
    learner: Any
    wrapped: nn.Module  # the learner, or what synchronizes its gradients
    optimizer: torch.optim.Optimizer
    stepper: torch.optim.Optimizer  # the optimizer as accelerate hands it out
    history: History = field(default_factory=History)
    kept: dict[str, Tensor] = field(default_factory=dict)
    detail: str = ""

    def __post_init__(self) -> None:
        self.lengths = [self.student.preprocess.length(item) for item in self.rows.items]
        self.wants = frozenset(want for term in self.learner.terms for want in term.needs)
        self.weights = torch.tensor([term.weight for term in self.learner.terms], dtype=torch.float64)
        self.means = torch.zeros(len(self.weights), dtype=torch.float64, device=self.accelerator.device)  # summed since the last look
        self.trained = [parameter for parameter in self.learner.parameters() if parameter.requires_grad]
        self.plan = self._plan()

    def until_done(self, began: float) -> None:
        self._resume()
        before, looks = self.history.seconds, self.spec.looks
        self.learner.train()
        for batch in self.batches(self.history.steps):
            if self.history.steps >= self.spec.steps or self.history.stopped_early:
                break
            self.step(batch)
            self.history.steps += 1
            if self.history.steps in looks:
                self._look(before + time.perf_counter() - began)
            elif self.history.steps % PEEK == 0:
                self._describe(float(self.means.cpu() @ self.weights) / self._since())
            self.progress(self.history.steps, self.spec.steps, self.detail)
        checkpoint.put(self.student.module, self.kept)

    # ------------------------------------------------------------------------------------------------------ one step
    def batches(self, start: int) -> Iterator[np.ndarray]:
        """Every epoch's batches from step ``start`` on: what comes is a function of the seed and the step alone."""
        epoch, skip = divmod(start, -(-len(self.rows) // self.spec.batch_size))
        while True:
            yield from bucketed(self.lengths, self.spec.batch_size, seed=self.spec.seed, epoch=epoch)[skip:]
            epoch, skip = epoch + 1, 0

    def step(self, batch: np.ndarray) -> None:
        ranks, device = self.accelerator.num_processes, self.accelerator.device
        parts, share = self.parts(batch)
        # Counted over the whole step, all micro-batches and processes: dividing each part by its own count would weigh short parts more.
        counts = share * torch.stack([self.learner.counts(part) for part in parts]).sum(dim=0)
        counts = self.accelerator.reduce(counts.to(device), "sum") if ranks > 1 else counts.to(device)
        scale = share / counts.clamp(min=1)
        for left, part in zip(range(len(parts) - 1, -1, -1), parts):
            with self.accelerator.no_sync(self.wrapped) if left else contextlib.nullcontext():
                means = self.wrapped(part.to(device)) * scale
                self.accelerator.backward((means * self.weights.to(device)).sum() * ranks)  # processes' gradients are averaged: undone here
            self.means += means.detach()
        self.accelerator.clip_grad_norm_(self.trained, self.spec.clip)
        rate = self.spec.learning_rate * schedules.linear(self.history.steps, steps=self.spec.steps, warmup=self.spec.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.stepper.step()
        self.stepper.zero_grad()

    def parts(self, batch: np.ndarray) -> tuple[list[Any], float]:
        """Return this process's micro-batches and their share in the loss: 1, or 0 for a process without rows, which has a stand-in."""
        mine = batch[self.accelerator.process_index :: self.accelerator.num_processes]
        rows = mine if len(mine) else batch[:1]  # a process that sat out would leave the others waiting for its gradients
        size = self.spec.micro_batch or len(rows)
        lots = [self.way.parts(self.student, self.rows, rows[i : i + size], self.wants, self.spec) for i in range(0, len(rows), size)]
        return [part for lot in lots for part in lot], float(len(mine) > 0)

    # ---------------------------------------------------------------------------------------------------- evaluation
    def _look(self, seconds: float) -> None:
        """Evaluate, keep the weights if none are better, decide whether to stop, write a checkpoint."""
        history = self.history
        self.student.module.eval()
        with torch.no_grad():
            score = Score(*broadcast(torch.tensor(self.evaluate(self.student), dtype=torch.float64, device=self.accelerator.device)).tolist())
        self.learner.train()
        means = self.accelerator.reduce(self.means.clone(), "sum").cpu() / self._since()
        loss = float(means @ self.weights)
        if not np.isfinite([loss, *score]).all():
            words = f"training diverged by step {history.steps}: loss {loss:.4g}, validation {score.value:.4g}"
            raise UserError(words, place="training", remedy="lower the learning rate, or set training.precision to fp32")
        self.means.zero_()
        for term, mean in zip(self.learner.terms, means.tolist()):
            history.terms.setdefault(term.name, []).append(mean)
        if history.look(history.steps, loss, score):
            self.kept = checkpoint.copy(self.student.module)
        history.stopped_early = history.stale >= self.spec.patience and history.steps < self.spec.steps
        history.seconds = seconds
        self._describe(loss)
        self._save()

    def _since(self) -> int:
        """Return the steps since the last evaluation."""
        return self.history.steps - (self.history.evaluations[-1][0] if self.history.evaluations else 0)

    def _describe(self, loss: float) -> None:
        score = f", validation {self.history.evaluations[-1][2]:.4f}" if self.history.evaluations else ""
        self.detail = f"loss {loss:.3f}{score}"

    # --------------------------------------------------------------------------------------------------- checkpoints
    def _plan(self) -> str:
        """Return what tells this training from others that might have left a checkpoint here."""
        shapes = {name: list(tensor.shape) for name, tensor in checkpoint.weights(self.learner).items()}
        terms = [[term.name, term.weight, sorted(want.key for want in term.needs)] for term in self.learner.terms]
        return storage.digest(asdict(self.spec), terms, shapes, self.lengths, np.asarray(self.rows.gold).tolist(), self.accelerator.num_processes)

    def _save(self) -> None:
        device = self.accelerator.device
        random = {"cpu": self.accelerator.gather(torch.get_rng_state()[None].to(device)).cpu()}  # (processes, bytes)
        if device.type == "cuda":
            random["cuda"] = self.accelerator.gather(torch.cuda.get_rng_state(device)[None].to(device)).cpu()
        if self.accelerator.is_main_process:
            checkpoint.save(
                self.scratch, plan=self.plan, state=self.history.as_json(), student=self.student.module, beside=self.learner.beside,
                optimizer=self.optimizer, random=random, best=None if self.history.kept_step == self.history.steps else self.kept,
            )  # fmt: skip
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        found = checkpoint.restore(
            self.scratch, plan=self.plan, student=self.student.module, beside=self.learner.beside, optimizer=self.optimizer, log=self.log
        )
        if found is None:
            return
        self.history, self.kept = History.of(found.state), found.best
        torch.set_rng_state(found.random["cpu"][self.accelerator.process_index].clone())  # torch reads a slice from its storage's start
        if "cuda" in found.random:
            torch.cuda.set_rng_state(found.random["cuda"][self.accelerator.process_index].clone(), self.accelerator.device)
        self.log.event("train.resume", step=self.history.steps)


def _groups(learner: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay; biases, norms and other vectors don't."""
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    matrices, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _adamw(learner: nn.Module, spec: LoopSpec) -> torch.optim.Optimizer:
    return torch.optim.AdamW(_groups(learner, spec.weight_decay), lr=spec.learning_rate, fused=True)


def _sgd(learner: nn.Module, spec: LoopSpec) -> torch.optim.Optimizer:
    """Momentum as Sutskever et al. 2013; nothing decays: from zero on, few steps are a regularizer of their own."""
    return torch.optim.SGD([p for p in learner.parameters() if p.requires_grad], lr=spec.learning_rate, momentum=0.9)


OPTIMIZERS = {"adamw": _adamw, "sgd": _sgd}


@contextlib.contextmanager
def _own_torch(spec: LoopSpec, accelerator: Accelerator) -> Iterator[None]:
    """Seed torch and set its threads for this training; put both back after."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[accelerator.device] if accelerator.device.type == "cuda" else []):
        torch.manual_seed(rng.integer(spec.seed, "training", accelerator.process_index))  # each process its own dropout
        torch.set_num_threads(spec.threads or threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
