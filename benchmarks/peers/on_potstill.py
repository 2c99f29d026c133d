"""potstill through its own objectives, teachers, loop and recipe."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

import potstill
from potstill.evaluation.statistics import Score
from potstill.objectives import attention, divergences, hard
from potstill.objectives.build import LOGPROBS, Term, build
from potstill.records import Answered, Example, Head, Want
from potstill.students.protocol import Attention, Output
from potstill.students.transformer import TransformerStudent
from potstill.teachers import build as open_teacher
from potstill.teachers.ensemble import EnsembleTeacher
from potstill.training import loop
from potstill.training.records import LoopSpec, TrainingRows

from . import Tool, toys

HIDDEN = Want("hidden", layer=1)
LOGITS, STATES = {"kind": "logits", "weight": 1.0, "kd_temperature": 1.0}, {"kind": "hidden", "weight": 1.0, "layers": [[1, 1]]}


def tool() -> Tool:
    return Tool(
        "potstill", potstill.__version__,
        {
            "soft": {"kl": _soft("kl")},
            "scores": {"mse": _soft("mse")},
            "positions": {"kl": _positions},
            "gold": {"hard": lambda logits, gold: _mean(hard.cross_entropy(logits, gold))},
            "hidden": {"hidden": _hidden},
            "attention": {"attention": _maps, "relations": _relations},
            "ensemble": {"kind: ensemble": _ensemble},
            "labels": {"kind: model": _labels},
            "teacher": {"kind: model": _teacher},
            "train": {"logits": _train(LOGITS), "logits and hidden": _train(LOGITS, STATES)},
            "saved": {"logits and hidden": _saved},
            "joined": {"logits": _joined},
            "reported": {"logits": _reported},
            "keys": {"recipe": _keys},
        },
    )  # fmt: skip


def _mean(found: tuple[Tensor, Tensor]) -> Tensor:
    return found[0] / found[1].clamp(min=1)  # as the loop divides


# --------------------------------------------------------------------------------------------------------------- losses
def _soft(loss: str) -> Callable[..., Tensor]:
    def run(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        sizes = {"student_layers": 0, "student_width": 0, "teacher_layers": 0, "teacher_width": 0}
        spec = {"kind": "logits", "weight": 1.0, "loss": loss, "kd_temperature": temperature}
        term = build([spec], head_width=student.shape[-1], seed=0, **sizes)[0][0]
        logprobs = teacher.float().log_softmax(-1)  # what a teacher's answer holds
        return _mean(term(Output(student), {LOGPROBS: logprobs}, torch.zeros(len(student))))

    return run


def _positions(student: Tensor, teacher: Tensor) -> Tensor:
    return _mean(divergences.kl(student, teacher))


def _hidden(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """The states pass through the student's own choice of real tokens; a teacher's answer holds no others."""
    made = SimpleNamespace(logits=student[:, 0], hidden_states=(student, student))
    model: Any = SimpleNamespace(module=lambda **_: made, preprocess=SimpleNamespace(inputs=()))
    output = TransformerStudent.forward(model, {"attention_mask": mask}, hidden=True)
    sizes = {"student_layers": 1, "teacher_layers": 1, "student_width": student.shape[-1], "teacher_width": teacher.shape[-1]}
    term = build([STATES], head_width=0, seed=0, **sizes)[0][0]
    return _mean(term(output, {HIDDEN: teacher[mask]}, torch.zeros(len(mask))))


def _flat(student: Any, teacher: Any, mask: Tensor) -> tuple[Attention, Tensor, int]:
    """Return queries, keys (and queries once more, for values) as a student's hooks give them, and as a teacher's answer holds them."""
    own, told = ([part.transpose(1, 2).flatten(2) for part in (*side, side[0])] for side in (student, teacher))
    return Attention({1: own}, mask), torch.cat(told, -1)[mask], student[0].shape[1]


def _maps(student: Any, teacher: Any, mask: Tensor) -> Tensor:
    own, told, heads = _flat(student, teacher, mask)
    return _mean(attention.maps(own, [(1, 1)], {1: told}, student_heads=heads, teacher_heads=heads))


def _relations(student: Any, teacher: Any, mask: Tensor) -> Tensor:
    own, told, heads = _flat(student, teacher, mask)
    return _mean(attention.relations(own, 1, told, heads))


# ------------------------------------------------------------------------------------------------------------- teachers
class Said:
    """A member of an ensemble that says what it is given."""

    def __init__(self, name: str, logits: Tensor, labels: tuple[str, ...]) -> None:
        self.name, self.labels, self.logprobs = name, labels, logits.log_softmax(-1).numpy()

    def answer(self, examples: Any, wants: Any) -> Any:
        yield from ((example.id, Answered({LOGPROBS: self.logprobs[i : i + 1]})) for i, example in enumerate(examples))


def _ensemble(logits: list[Tensor]) -> Tensor:
    labels = tuple(map(str, range(logits[0].shape[-1])))
    members: Any = [Said(f"m{i}", one, labels) for i, one in enumerate(logits)]
    examples = [Example.make({"text": str(i)}) for i in range(len(logits[0]))]
    said = dict(EnsembleTeacher("e", Head("classes", labels), members, None).answer(examples, [LOGPROBS]))
    return torch.from_numpy(np.exp(np.concatenate([said[example.id].arrays[LOGPROBS] for example in examples])))


def _open(folder: Path, labels: tuple[str, ...]) -> Any:
    spec = SimpleNamespace(
        kind="model", model=str(folder), max_length=16, batch_size=8, precision="fp32", labels={}, license="", output_license="", usd_per_1000=0.0
    )
    return open_teacher(spec, Head("classes", labels))


def _ask(teacher: Any, texts: tuple[str, ...]) -> np.ndarray:
    examples = [Example.make({"text": text}) for text in texts]
    said = dict(teacher.answer(examples, [LOGPROBS]))
    return np.exp(np.concatenate([said[example.id].arrays[LOGPROBS] for example in examples]))


def _labels(folder: Path, labels: tuple[str, ...], texts: tuple[str, ...]) -> np.ndarray:
    return _ask(_open(folder, labels), texts)


def _teacher(folder: Path) -> tuple[float, bool]:
    teacher = _open(folder, toys.LABELS)
    one, other = (_ask(teacher, toys.TEXTS) for _ in range(2))
    return float(np.abs(one - other).max()), any(parameter.requires_grad for parameter in teacher.parameters())


# ------------------------------------------------------------------------------------------------------------- training
@dataclass(frozen=True)
class Ids:
    """The toy's preprocessing: rows are ids already."""

    inputs: tuple[str, ...] = ("ids",)

    def collate(self, items: Any) -> dict[str, np.ndarray]:
        return {"ids": toys.padded([torch.from_numpy(item["ids"]) for item in items]).numpy()}

    def length(self, item: Any) -> int:
        return len(item["ids"])


class Student:
    """The toy as a student that the loop trains."""

    kind, learns, hidden_layers, width, preprocess, head = "toy", "loop", 1, toys.WIDTH, Ids(), Head("classes", toys.LABELS)

    def __init__(self, net: toys.Net) -> None:
        self.module = net
        self.seen: list[Tensor] = []

    def forward(self, batch: dict[str, Tensor], hidden: bool = False) -> Output:
        self.seen.append(batch["ids"])
        logits, states = self.module(batch["ids"])
        real = states[batch["ids"] > 0]
        return Output(logits, (real, real) if hidden else None)


def _rows(job: toys.Job) -> TrainingRows:
    with torch.no_grad():
        said = [job.teacher(ids[None]) for ids in job.ids]
    answers = {LOGPROBS: [logits.log_softmax(-1).numpy() for logits, _ in said], HIDDEN: [states[0].numpy() for _, states in said]}
    return TrainingRows([{"ids": ids.numpy()} for ids in job.ids], job.gold.numpy(), answers)


def _run(job: toys.Job, specs: tuple[dict[str, Any], ...], scratch: Path, terms: list[Term] | None = None) -> tuple[Student, toys.Trace, Any]:
    student: Any = Student(job.student)
    sizes = {"student_layers": 1, "teacher_layers": 1, "student_width": toys.WIDTH, "teacher_width": job.teacher_width}
    terms = terms or build(specs, head_width=toys.CLASSES, seed=0, **sizes)[0]
    size = job.batch_size * job.accumulate
    steps = job.epochs * -(-job.rows // size)
    spec = LoopSpec(
        steps=steps, batch_size=min(size, job.rows), micro_batch=job.batch_size, learning_rate=job.learning_rate, clip=1e9, precision="fp32", threads=1,
        evaluations=job.epochs, patience=99,
    )  # fmt: skip
    with toys.watching(student.module) as trace:

        def judge(judged: Any) -> Score:
            trace.validating = True
            loop.predict(judged, _rows(job).items)
            trace.validating = False
            return Score(0.0)

        history = loop.train(student, _rows(job), terms=terms, spec=spec, evaluate=judge, scratch=scratch)
    return student, trace, history


def _train(*specs: dict[str, Any]) -> Callable[[toys.Job], toys.Trace]:
    def run(job: toys.Job) -> toys.Trace:
        with tempfile.TemporaryDirectory() as scratch:
            return _run(job, specs, Path(scratch))[1]

    return run


def _saved(job: toys.Job, folder: Path) -> tuple[list[str], list[str]]:
    from safetensors import safe_open

    _run(job, (LOGITS, STATES), folder)
    (checkpoint,) = folder.glob("checkpoint-*")
    with safe_open(checkpoint / "best.safetensors", "pt") as file:
        return list(file.keys()), list(toys.Net(seed=1).state_dict())


def _joined(job: toys.Job) -> list[tuple[int, Tensor]]:
    met: list[Tensor] = []

    def compute(output: Output, answers: Any, gold: Tensor) -> tuple[Tensor, Tensor]:
        met.append(answers[LOGPROBS])
        return output.logits.sum(), torch.tensor(float(len(gold)))

    spy = Term("logits", 1.0, frozenset({LOGPROBS}), compute, lambda answers, gold: torch.tensor(float(len(gold))))
    with tempfile.TemporaryDirectory() as scratch:
        student, *_ = _run(job, (), Path(scratch), [spy])
    ids = [batch for batch in student.seen if len(batch) == job.batch_size]  # the judge looks at all rows at once
    truth = job.taught()
    return [
        (row, truth[row] if torch.allclose(said, truth[row].log_softmax(-1), atol=1e-5) else said)
        for batch, scores in zip(ids, met)
        for row, said in zip((batch[:, 0] - 1).tolist(), scores)
    ]


def _reported(job: toys.Job) -> tuple[dict[str, float], float]:
    with tempfile.TemporaryDirectory() as scratch:
        *_, history = _run(job, (LOGITS,), Path(scratch))
    with torch.no_grad():
        own = torch.cat([job.student.eval()(ids[None])[0] for ids in job.ids]).double().log_softmax(-1)
    told = job.taught().double().log_softmax(-1)
    return {"training": history.evaluations[-1][1]}, float((told.exp() * (told - own)).sum(-1).mean())


# -------------------------------------------------------------------------------------------------------------- options
def _keys() -> dict[str, bool]:
    from pydantic import TypeAdapter

    from potstill.recipe import recipe
    from potstill.recipe.objectives import Objective
    from potstill.recipe.training import Training

    tries: dict[str, Callable[[], Any]] = {
        "kd_temprature": lambda: TypeAdapter(Objective).validate_python({"kind": "logits", "kd_temprature": 2.0}),
        "wieght": lambda: TypeAdapter(Objective).validate_python({"kind": "logits", "wieght": 2.0}),
        "logit": lambda: TypeAdapter(Objective).validate_python({"kind": "logit"}),
        "batchsize": lambda: Training.model_validate({"batchsize": 8}),
        "requirment": lambda: recipe.Recipe.model_validate({"requirment": {}}),
    }
    return {name: refuses(run) for name, run in tries.items()}


def refuses(run: Callable[[], Any]) -> bool:
    try:
        run()
    except ValidationError as error:
        return any(problem["type"] in ("extra_forbidden", "union_tag_invalid") for problem in error.errors())
    return False
