"""The loop: one for every student, every objective, one process or several."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..contracts import Progress, silent
from ..objectives.build import Term
from ..records import Want
from ..runlog import RunLog
from ..students.protocol import LoopStudent
from . import checkpoint, precision, schedules
from .batches import bucketed
from .records import History, LoopSpec, TrainingRows

Judge = Callable[[LoopStudent], float]


def train(
    student: LoopStudent, rows: TrainingRows, *, terms: Sequence[Term], spec: LoopSpec, evaluate: Judge, scratch: Path,
    progress: Progress = silent, log: RunLog | None = None,
) -> History:  # fmt: skip
    """Train ``student`` in place and leave it with the weights that ``evaluate`` (higher is better) liked best, in eval mode.

    A checkpoint in ``scratch`` at every evaluation; called again after a kill, the loop goes on from the last one to bit-equal
    weights. The global torch generator and the number of threads are put back as they were.
    """
    with _own_torch(spec):
        accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision={"bf16": "bf16", "fp32": "no"}[precision.resolve(spec.precision)])
        whole = _Whole(student, terms)
        optimizer = torch.optim.AdamW(_groups(whole, spec.weight_decay), lr=spec.learning_rate)
        prepared, prepared_optimizer = accelerator.prepare(whole, optimizer)
        run = _Run(
            student,
            rows,
            terms,
            spec,
            evaluate,
            scratch / "checkpoint",
            progress,
            log or RunLog(),
            accelerator,
            whole,
            prepared,
            prepared_optimizer,
        )
        return run.until_done()


class _Whole(nn.Module):
    """Student and projections as one module, so that a wrapper that synchronizes gradients sees every forward."""

    def __init__(self, student: LoopStudent, terms: Sequence[Term]) -> None:
        super().__init__()
        self.module = student.module
        self.beside = nn.ModuleList(term.module for term in terms)
        self._student = (student,)  # in a tuple: not a submodule
        self._terms = tuple(terms)
        self._hidden = any(term.hidden for term in terms)

    def forward(self, batch: dict[str, Tensor], answers: Mapping[Want, Tensor], gold: Tensor) -> list[Tensor]:
        output = self._student[0].forward(batch, hidden=self._hidden)
        return [term(output, answers, gold)[0] for term in self._terms]


class _Run:
    """One training at work: where it stands, and what it needs to take a step."""

    def __init__(
        self, student: LoopStudent, rows: TrainingRows, terms: Sequence[Term], spec: LoopSpec, evaluate: Judge, folder: Path,
        progress: Progress, log: RunLog, accelerator: Accelerator, whole: _Whole, prepared: nn.Module, optimizer: torch.optim.Optimizer,
    ) -> None:  # fmt: skip
        self.student, self.rows, self.terms, self.spec, self.evaluate, self.folder = student, rows, terms, spec, evaluate, folder
        self.progress, self.log, self.accelerator, self.whole, self.prepared, self.optimizer = (
            progress,
            log,
            accelerator,
            whole,
            prepared,
            optimizer,
        )
        self.lengths = [student.preprocess.length(item) for item in rows.items]
        self.history = History(precision=precision.resolve(spec.precision))
        self.best: dict[str, Tensor] = {}
        self.seen = torch.zeros(len(terms) + 1, device=accelerator.device)  # sums of each term's mean, and of the loss, since the last look

    def until_done(self) -> History:
        found = checkpoint.restore(self.folder, module=self.whole, optimizer=self.optimizer)
        if found is not None:
            state, self.best = found
            self.history = History(**state)
            self.log.event("train.resume", step=self.history.steps)
        every = max(1, self.spec.steps // self.spec.evaluations)
        began = time.perf_counter()
        earlier = self.history.seconds
        for batch in self._batches(self.history.steps):
            if self._finished(every):
                break
            self._step(batch)
            self.history.steps += 1
            self.history.seconds = earlier + time.perf_counter() - began
            if self.history.steps % every == 0 or self.history.steps == self.spec.steps:
                self._look(every)
            self.progress(self.history.steps, self.spec.steps, self._detail())
        self.whole.module.load_state_dict(self.best)
        self.student.module.eval()
        return self.history

    def _finished(self, every: int) -> bool:
        stale = sum(1 for step, _, _ in self.history.evaluations if step > self.history.best_step)
        self.history.stopped_early = stale >= self.spec.patience and self.history.steps < self.spec.steps
        return self.history.steps >= self.spec.steps or self.history.stopped_early

    def _batches(self, start: int) -> Iterator[np.ndarray]:
        """Every epoch's batches from step ``start`` on: what comes is a function of the seed and the step alone."""
        per_epoch = -(-len(self.rows) // self.spec.batch_size)
        epoch, skip = divmod(start, per_epoch)
        while True:
            yield from bucketed(self.lengths, self.spec.batch_size, seed=self.spec.seed, epoch=epoch)[skip:]
            epoch, skip = epoch + 1, 0

    def _step(self, batch: np.ndarray) -> None:
        self.prepared.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.spec.learning_rate * schedules.linear(self.history.steps, steps=self.spec.steps, warmup=self.spec.warmup)
        mine = batch[self.accelerator.process_index :: self.accelerator.num_processes]
        size = self.spec.micro_batch or len(mine)
        parts = [self._tensors(mine[i : i + size]) for i in range(0, len(mine), size)]
        # Counts over the whole step, all micro-batches and processes: dividing each part by its own would weigh short parts more.
        counts = self.accelerator.reduce(torch.stack([sum((t.count(a, g) for _, a, g in parts), torch.zeros(())) for t in self.terms]), "sum")
        for index, (inputs, answers, gold) in enumerate(parts):
            with self.accelerator.no_sync(self.prepared) if index < len(parts) - 1 else _nothing(), self.accelerator.autocast():
                sums = self.prepared(inputs, answers, gold)
            means = torch.stack([total / count.clamp(min=1) for total, count in zip(sums, counts)])
            loss = sum((term.weight * mean for term, mean in zip(self.terms, means)), torch.zeros((), device=means.device))
            self.seen += torch.cat([means.detach(), loss.detach()[None]])
            self.accelerator.backward(loss * self.accelerator.num_processes)  # gradients are averaged over processes: undo that
        self.accelerator.clip_grad_norm_(self.prepared.parameters(), self.spec.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _tensors(self, batch: np.ndarray) -> tuple[dict[str, Tensor], dict[Want, Tensor], Tensor]:
        device = self.accelerator.device
        inputs = self.student.preprocess.collate([self.rows.items[i] for i in batch])
        answers = {want: torch.from_numpy(np.concatenate([arrays[i] for i in batch])).to(device) for want, arrays in self.rows.teacher.items()}
        tensors = {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}
        return tensors, answers, torch.from_numpy(self.rows.gold[batch]).to(device)

    def _look(self, every: int) -> None:
        """Evaluate, keep the weights if they are the best yet, write a checkpoint."""
        score = self.evaluate(self.student)
        since = self.history.steps - (self.history.evaluations[-1][0] if self.history.evaluations else 0)
        *parts, loss = (self.seen / since).tolist()
        self.seen.zero_()
        self.history.terms = {term.name: round(part, 6) for term, part in zip(self.terms, parts)}
        self.history.evaluations.append((self.history.steps, round(loss, 6), score))
        if score > self.history.best_score:
            self.history.best_score, self.history.best_step = score, self.history.steps
            self.best = {name: value.detach().clone() for name, value in self.whole.module.state_dict().items()}
        if self.accelerator.is_main_process:
            checkpoint.save(self.folder, module=self.whole, optimizer=self.optimizer, best=self.best, state=self.history.as_json())

    def _detail(self) -> str:
        if not self.history.evaluations:
            return ""
        _, loss, score = self.history.evaluations[-1]
        return f"loss {loss:.3f}, validation {score:.4f}"


def predict(student: LoopStudent, items: Sequence[Mapping[str, np.ndarray]], *, batch_size: int = 64) -> np.ndarray:
    """Return the student's log-probabilities *Shape:* (rows, classes) float32, in eval mode, its former mode put back."""
    was_training = student.module.training
    student.module.eval()
    order = np.argsort([student.preprocess.length(item) for item in items], kind="stable")
    device = next(student.module.parameters()).device
    out = np.empty((len(items), student.head.width), np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            inputs = {name: torch.from_numpy(array).to(device) for name, array in student.preprocess.collate([items[i] for i in batch]).items()}
            out[batch] = student.forward(inputs).logits.float().log_softmax(dim=-1).cpu().numpy()
    student.module.train(was_training)
    return out


def _groups(whole: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weights decay; biases, norms and other vectors don't."""
    parameters = [p for p in whole.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _own_torch(spec: LoopSpec) -> Iterator[None]:
    """Seed torch and set its threads for this training; put both back after."""
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.manual_seed(spec.seed)
    if spec.threads:
        torch.set_num_threads(spec.threads)
    try:
        yield
    finally:
        torch.set_rng_state(state)
        torch.set_num_threads(threads)
