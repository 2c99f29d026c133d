"""TextBrewer through its distillers: what ``train_on_batch`` and ``train`` do with the outputs that its adaptors are given.

It needs tensorboard to be imported. The configuration is that of its documentation: ``GeneralDistiller`` in a ``with`` block, loss "ce"; an
``inputs_mask`` where its adaptor gives one (its examples do, its README's first one does not).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import textbrewer
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from . import Tool, toys

MATCH = {"layer_T": 0, "layer_S": 0, "weight": 1}


def tool() -> Tool:
    return Tool(
        "TextBrewer", textbrewer.__version__,
        {
            "soft": {"ce": _soft("ce"), "ce and kd_loss_weight = T²": _soft("ce", squared=True)},
            "scores": {"mse": _soft("mse"), "mse and kd_loss_weight = T²": _soft("mse", squared=True)},
            "positions": {"ce": _positions},
            "masked": {"ce and logits_mask": _masked},
            "hidden": {"hidden_mse and inputs_mask": _hidden("hidden_mse"), "hidden_mse without inputs_mask": _hidden("hidden_mse", mask=False),
                       "cos and inputs_mask": _hidden("cos")},
            "attention": {"attention_mse and inputs_mask": _attention("attention_mse"), "attention_ce and inputs_mask": _attention("attention_ce"),
                          "attention_mse without inputs_mask": _attention("attention_mse", mask=False),
                          "attention_ce without inputs_mask": _attention("attention_ce", mask=False),
                          "attention_ce and inputs_mask where padding scores -inf": _attention("attention_ce", padding=float("inf"))},
            "ensemble": {"MultiTeacherDistiller": _ensemble},
            "labels": {"GeneralDistiller": _labels},
            "teacher": {"a teacher in train mode, `with distiller:`": _teacher(inside=True), "a teacher in train mode, without `with`": _teacher(inside=False)},
            "train": {"logits": _train([]), "logits and hidden_mse": _train([{**MATCH, "feature": "hidden", "loss": "hidden_mse"}])},
            "saved": {"logits and hidden_mse with a projection": _saved},
            "joined": {"is_caching_logits": _joined},
            "keys": {"configurations and adaptor": _keys},
        },
        frozenset({"ce", "ce and kd_loss_weight = T²"}),
    )  # fmt: skip


@contextlib.contextmanager
def _distiller(kind: Any, teacher: Any, student: nn.Module, adaptor_t: Any, adaptor_s: Any, *, accumulate: int = 1, **options: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        training = textbrewer.TrainingConfig(device="cpu", output_dir=folder, gradient_accumulation_steps=accumulate)
        yield kind(training, textbrewer.DistillationConfig(**options), teacher, student, adaptor_t, adaptor_s)


class _Same(nn.Module):
    """A model whose output is its input."""

    def forward(self, *given: Any) -> Any:
        return given


def _loss(student: dict[str, Any], teacher: dict[str, Any], **options: Any) -> Tensor:
    """Return the loss that ``GeneralDistiller`` makes of what both adaptors give."""
    adaptors = (lambda batch, outputs: teacher, lambda batch, outputs: student)
    with _distiller(textbrewer.GeneralDistiller, _Same(), _Same(), *adaptors, **options) as distiller, distiller:
        return distiller.train_on_batch((torch.zeros(1),), {})[0]


def _soft(loss: str, squared: bool = False) -> Callable[..., Tensor]:
    def run(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        weight = temperature**2 if squared else 1
        return _loss({"logits": student}, {"logits": teacher}, temperature=temperature, kd_loss_type=loss, kd_loss_weight=weight)

    return run


def _positions(student: Tensor, teacher: Tensor) -> Tensor:
    return _loss({"logits": student}, {"logits": teacher}, temperature=1)


def _masked(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    return _loss({"logits": student, "logits_mask": mask}, {"logits": teacher, "logits_mask": mask}, temperature=1)


def _inner(feature: str, loss: str, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    masks = {} if mask is None else {"inputs_mask": mask}
    return _loss({feature: [student], **masks}, {feature: [teacher], **masks}, intermediate_matches=[{**MATCH, "feature": feature, "loss": loss}])


def _hidden(loss: str, mask: bool = True) -> Callable[..., Tensor]:
    return lambda student, teacher, real: _inner("hidden", loss, student, teacher, real if mask else None)


def _attention(loss: str, mask: bool = True, padding: float = 1e4) -> Callable[..., Tensor]:
    """Scores less ``padding`` on padding for a loss with a softmax of its own, the softmax's output for one without: as BERTs give either."""

    def run(student: Any, teacher: Any, real: Tensor) -> Tensor:
        scores = [query @ key.transpose(2, 3) / query.shape[-1] ** 0.5 for query, key in (student, teacher)]
        sides = [torch.where(real[:, None, None, :], side, side - padding) for side in scores]
        if loss == "attention_mse":
            sides = [side.softmax(-1) for side in sides]
        return _inner("attention", loss, *sides, real if mask else None)

    return run


# ------------------------------------------------------------------------------------------------------------- teachers
def _ensemble(logits: list[Tensor]) -> Tensor:
    student = torch.zeros_like(logits[0]).requires_grad_(True)
    said = iter(logits)
    adaptors = ([lambda batch, outputs: {"logits": next(said)}] * len(logits), lambda batch, outputs: {"logits": student})
    with _distiller(textbrewer.MultiTeacherDistiller, [_Same() for _ in logits], _Same(), *adaptors, temperature=1) as distiller, distiller:
        loss = distiller.train_on_batch((torch.zeros(1),), {})[0]
    return student.softmax(-1).detach() - len(student) * torch.autograd.grad(loss, student)[0]  # the slope of cross-entropy is own - taught


def _adaptor(batch: Any, outputs: Any) -> dict[str, Any]:
    return {"logits": outputs.logits}


def _labels(folder: Path, labels: tuple[str, ...], texts: tuple[str, ...]) -> np.ndarray:
    (teacher, inputs), (student, _) = toys.opened(folder), toys.opened(folder, labels)
    kept: list[Tensor] = []

    def adaptor(batch: Any, outputs: Any) -> dict[str, Any]:
        kept.append(outputs.logits)
        return {"logits": outputs.logits}

    with _distiller(textbrewer.GeneralDistiller, teacher, student, _adaptor, adaptor, temperature=1) as distiller, distiller:
        student.eval()
        loss = distiller.train_on_batch(inputs, {})[0]
    found: np.ndarray = (kept[0].softmax(-1) - len(texts) * torch.autograd.grad(loss, kept[0])[0]).detach().numpy()
    return found


def _teacher(inside: bool) -> Callable[[Path], tuple[float, bool]]:
    def run(folder: Path) -> tuple[float, bool]:
        (teacher, inputs), (student, _) = toys.opened(folder), toys.opened(folder)
        before = {name: value.clone() for name, value in teacher.state_dict().items()}
        said: list[Tensor] = []

        def keep(batch: Any, outputs: Any) -> dict[str, Any]:
            said.append(outputs.logits)
            return {"logits": outputs.logits}

        made = _distiller(textbrewer.GeneralDistiller, teacher.train(), student, keep, _adaptor)
        with made as distiller, distiller if inside else contextlib.nullcontext():
            distiller.train(torch.optim.SGD(student.parameters(), lr=0.1), [inputs, inputs], num_epochs=1, callback=None)
        trained = any(not torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
        return float((said[0] - said[1]).abs().max()), trained or any(p.grad is not None for p in teacher.parameters())

    return run


# ------------------------------------------------------------------------------------------------------------- training
def _states(batch: Any, outputs: Any) -> dict[str, Any]:
    return {"logits": outputs[0], "hidden": [outputs[1]], "inputs_mask": batch[0] > 0}


def _loader(job: toys.Job, shuffle: bool = False) -> Any:
    return DataLoader(job.ids, batch_size=job.batch_size, shuffle=shuffle, collate_fn=lambda ids: (toys.padded(ids),))


def _train(matches: list[dict[str, Any]]) -> Callable[[toys.Job], toys.Trace]:
    def run(job: toys.Job) -> toys.Trace:
        with toys.watching(job.student) as trace:
            options = {"accumulate": job.accumulate, "intermediate_matches": [dict(match) for match in matches]}

            def validate(model: nn.Module, step: int) -> None:
                trace.validating = True
                model.eval()(toys.padded(job.ids))
                trace.validating = False

            with _distiller(textbrewer.GeneralDistiller, job.teacher, job.student, _states, _states, **options) as distiller, distiller:
                optimizer = torch.optim.SGD(job.student.parameters(), lr=job.learning_rate)
                distiller.train(optimizer, _loader(job), num_epochs=job.epochs, callback=validate if job.validates else None)
        return trace

    return run


def _saved(job: toys.Job, folder: Path) -> tuple[list[str], list[str]]:
    match = {**MATCH, "feature": "hidden", "loss": "hidden_mse", "proj": ["linear", toys.WIDTH, job.teacher_width]}
    training = textbrewer.TrainingConfig(device="cpu", output_dir=str(folder))
    options = textbrewer.DistillationConfig(intermediate_matches=[match])
    distiller = textbrewer.GeneralDistiller(training, options, job.teacher, job.student, _states, _states)
    with distiller:
        distiller.train(torch.optim.SGD(job.student.parameters(), lr=job.learning_rate), _loader(job), num_epochs=1, callback=None)
    (file,) = folder.glob("gs*.pkl")
    return list(torch.load(file, weights_only=True)), list(toys.Net(seed=1).state_dict())


def _joined(job: toys.Job) -> list[tuple[int, Tensor]]:
    met: list[tuple[int, Tensor]] = []
    with _distiller(textbrewer.BasicDistiller, job.teacher, job.student, _states, _states, is_caching_logits=True) as distiller, distiller:
        batches: list[Tensor] = []
        handle = job.student.register_forward_pre_hook(lambda module, given: batches.append(given[0]))
        compute = distiller.compute_loss

        def watched(student: Any, teacher: Any) -> Any:
            met.extend(zip((batches[-1][:, 0] - 1).tolist(), teacher["logits"][0]))
            return compute(student, teacher)

        distiller.compute_loss = watched
        distiller.train(torch.optim.SGD(job.student.parameters(), lr=0.0), _loader(job, shuffle=True), num_epochs=job.epochs, callback=None)
        handle.remove()
    return met


# -------------------------------------------------------------------------------------------------------------- options
def _keys() -> dict[str, bool]:
    logits, hard = torch.zeros(2, 3, requires_grad=True), torch.zeros((), requires_grad=True)
    match = {**MATCH, "feature": "hidden", "loss": "hidden_mse"}
    with tempfile.TemporaryDirectory() as folder:
        tries: dict[str, Callable[[], Any]] = {
            "gradient_acumulation_steps": lambda: textbrewer.TrainingConfig(output_dir=folder, gradient_acumulation_steps=2),
            "temprature": lambda: textbrewer.DistillationConfig(temprature=2),
            "wieght of a match": lambda: textbrewer.DistillationConfig(intermediate_matches=[{**match, "wieght": 1}]),
            "hiden for hidden in a match": lambda: textbrewer.DistillationConfig(intermediate_matches=[{**match, "feature": "hiden"}]),
            "logit for logits from an adaptor that gives losses too": lambda: _loss({"logit": logits, "losses": hard}, {"logit": logits}, hard_label_weight=1),
        }
        return {name: toys.refuses(run) for name, run in tries.items()}
