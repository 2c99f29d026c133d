"""sentence-transformers through its losses and its trainer: ``DistillKLDivLoss`` on scores of candidates, ``MSELoss`` on embeddings.

Its teachers answer beforehand (``encode``, into a column of labels), so it has no part that would hold a teacher. A row's logits are handed to
``DistillKLDivLoss`` as the dot products of a query and its candidates; the student of the training checks is a ``StaticEmbedding``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentence_transformers as st
import torch
from datasets import Dataset, disable_progress_bars
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from sentence_transformers.util import pairwise_dot_score
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import PrinterCallback

from . import Tool, toys

disable_progress_bars()


def tool() -> Tool:
    return Tool(
        "sentence-transformers", st.__version__,
        {
            "soft": {"DistillKLDivLoss": _soft},
            "teacher": {"labels by encode, the teacher in train mode": _teacher},
            "train": {"MSELoss": _train},
            "saved": {"EmbedDistillLoss with a projection": _saved},
            "joined": {"a column of labels": _joined},
            "reported": {"MSELoss": _reported},
            "keys": {"arguments of trainer and losses": _keys},
        },
    )  # fmt: skip


def _soft(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    loss = losses.DistillKLDivLoss(nn.Identity(), similarity_fct=pairwise_dot_score, temperature=temperature)
    query = torch.ones(len(student), 1, dtype=student.dtype)
    found: Tensor = loss.compute_loss_from_embeddings(
        [query, *(column[:, None] for column in student.unbind(-1))], teacher.float()
    )  # labels come out of a data set in float32
    return found


def _teacher(folder: Path) -> tuple[float, bool]:
    transformer = Transformer(str(folder))
    teacher = st.SentenceTransformer(modules=[transformer, Pooling(transformer.get_embedding_dimension())], device="cpu").train()
    one, other = (teacher.encode(list(toys.TEXTS), convert_to_tensor=True) for _ in range(2))
    return float((one - other).abs().max()), one.requires_grad


# ------------------------------------------------------------------------------------------------------------- training
def _student() -> Any:
    """A mean of embeddings; the word of row i is its token i + 1, as in ``toys``."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, **{f"w{i}": i for i in range(1, toys.WORDS)}}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return st.SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=toys.WIDTH)], device="cpu")


def _data(job: toys.Job, width: int = toys.WIDTH) -> tuple[Dataset, Tensor]:
    with torch.no_grad():
        labels = torch.cat([job.teacher(ids[None])[1].mean(1) for ids in job.ids])
    return Dataset.from_dict({"text": [" ".join(f"w{int(i)}" for i in ids) for ids in job.ids], "label": labels.tolist()}), labels


class _Evaluator(BaseEvaluator):
    """Asks the student for embeddings, as its evaluators do."""

    def __init__(self, trace: toys.Trace, texts: list[str]) -> None:
        super().__init__()
        self.trace, self.texts, self.primary_metric = trace, texts, "looked"

    def __call__(self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1) -> dict[str, float]:
        self.trace.validating = True
        model.encode(self.texts)
        self.trace.validating = False
        return {"looked": 1.0}


def _fit(job: toys.Job, student: Any, loss: nn.Module, trace: toys.Trace | None = None, **options: Any) -> Any:
    data, _ = _data(job)
    with tempfile.TemporaryDirectory() as folder:
        looks = {"eval_strategy": "epoch"} if job.validates else {}
        arguments = st.SentenceTransformerTrainingArguments(
            folder, per_device_train_batch_size=job.batch_size, per_device_eval_batch_size=job.batch_size, gradient_accumulation_steps=job.accumulate,
            num_train_epochs=job.epochs, learning_rate=job.learning_rate, max_grad_norm=0.0, lr_scheduler_type="constant", report_to="none",
            save_strategy="no", disable_tqdm=True, use_cpu=True, **looks, **options,
        )  # fmt: skip
        evaluator = _Evaluator(trace, data["text"]) if job.validates and trace else None
        trainer = st.SentenceTransformerTrainer(student, arguments, train_dataset=data, eval_dataset=data, loss=loss, evaluator=evaluator)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return trainer


def _train(job: toys.Job) -> toys.Trace:
    student = _student()
    with toys.watching(student) as trace:
        _fit(job, student, losses.MSELoss(student), trace)
    return trace


def _saved(job: toys.Job, folder: Path) -> tuple[list[str], list[str]]:
    from safetensors import safe_open

    student = _student()
    trainer = _fit(job, student, losses.EmbedDistillLoss(student, projection_dim=job.teacher_width))
    trainer.save_model(str(folder))
    names: list[str] = []
    for file in folder.rglob("*.safetensors"):
        with safe_open(file, "pt") as kept:
            names += [f"0.{name}" for name in kept.keys()]  # noqa: SIM118  it is no mapping
    return names, list(_student().state_dict())


class _Spy(losses.MSELoss):
    """Writes down which labels came with which row."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.met: list[tuple[int, Tensor]] = []

    def forward(self, sentence_features: Any, labels: Tensor) -> Tensor:
        (features,) = sentence_features = list(sentence_features)
        starts = features["offsets"].tolist()
        self.met += zip((features["input_ids"][starts] - 1).tolist(), labels)
        return super().forward(sentence_features, labels)


def _joined(job: toys.Job) -> list[tuple[int, Tensor]]:
    """The labels are embeddings: each is handed on as the row's scores where it is the row's own."""
    student = _student()
    spy, (_, labels), truth = _Spy(student), _data(job), job.taught()
    _fit(job, student, spy)
    return [(row, truth[row] if torch.allclose(label, labels[row], atol=1e-5) else label[: toys.CLASSES] + 1e3) for row, label in spy.met]


def _reported(job: toys.Job) -> tuple[dict[str, float], float]:
    student, (data, labels) = _student(), _data(job)
    trainer = _fit(job, student, losses.MSELoss(student), logging_strategy="epoch")
    (trained,) = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    own = student.encode(data["text"], convert_to_tensor=True)
    return {"training": trained, "validation": trainer.evaluate()["eval_loss"]}, float(nn.functional.mse_loss(own, labels))


# -------------------------------------------------------------------------------------------------------------- options
def _keys() -> dict[str, bool]:
    student = _student()
    tries: dict[str, Callable[[], Any]] = {
        "gradient_acumulation_steps": lambda: st.SentenceTransformerTrainingArguments(gradient_acumulation_steps=2),
        "temprature": lambda: losses.DistillKLDivLoss(student, temprature=2.0),
        "projecton_dim": lambda: losses.EmbedDistillLoss(student, projecton_dim=4),
        "lable for the column of labels": lambda: _misnamed(student),
    }
    return {name: toys.refuses(run) for name, run in tries.items()}


def _misnamed(student: Any) -> None:
    job = toys.Job(4, 4)
    data = _data(job)[0].rename_column("label", "lable")
    with tempfile.TemporaryDirectory() as folder:
        arguments = st.SentenceTransformerTrainingArguments(folder, report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True)
        st.SentenceTransformerTrainer(student, arguments, train_dataset=data, loss=losses.MSELoss(student)).train()
