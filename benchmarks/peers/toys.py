"""Models and rows small enough to follow by hand, and what is written down while a tool trains on them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

WORDS, WIDTH, CLASSES = 30, 6, 3
LABELS = ("neg", "neu", "pos")
TEXTS = tuple(f"w{i} w{i + 3}" for i in range(1, 9))


class Net(nn.Module):
    """An embedding a token, a layer above it, a mean over tokens, and a linear layer. Row i of a job has token i + 1 alone, some times over:
    so the gradient of the embeddings tells which rows were learnt from. 0 is padding."""

    def __init__(self, *, seed: int, dropout: float = 0.0, width: int = WIDTH) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(WORDS, width)
            self.middle = nn.Linear(width, width)
            self.states = nn.Tanh()
            self.dropout = nn.Dropout(dropout)
            self.out = nn.Linear(width, CLASSES)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (rows, classes) and states (rows, length, width)."""
        mask = (ids > 0)[..., None]
        states = self.states(self.middle(self.embedding(ids)))
        pooled = (states * mask).sum(1) / mask.sum(1)
        return self.out(self.dropout(pooled)), states


@dataclass
class Job:
    """What to train on what: ``rows`` of 1, 3, 5 ... tokens; ``batch_size`` rows at a time, ``accumulate`` of these to an optimizer step."""

    rows: int = 12
    batch_size: int = 12
    accumulate: int = 1
    epochs: int = 1
    learning_rate: float = 0.0
    validates: bool = False
    teacher_width: int = WIDTH
    student: Net = field(default_factory=lambda: Net(seed=1))

    def __post_init__(self) -> None:
        self.teacher = Net(seed=0, width=self.teacher_width).eval()
        self.ids = [torch.full((1 + 2 * row,), row + 1) for row in range(self.rows)]
        self.gold = torch.arange(self.rows) % CLASSES

    def taught(self) -> Tensor:
        """Return the teacher's logits *Shape:* (rows, classes)."""
        with torch.no_grad():
            return torch.cat([self.teacher(ids[None])[0] for ids in self.ids])


def padded(ids: list[Tensor]) -> Tensor:
    return nn.utils.rnn.pad_sequence(ids, batch_first=True)


@dataclass
class Trace:
    """What was seen: the student's gradients at every optimizer step, and whether it was in train mode at every training batch."""

    steps: list[dict[str, Tensor]] = field(default_factory=list)
    modes: list[bool] = field(default_factory=list)
    validating: bool = False

    def rows(self) -> set[int]:
        """Return the rows that any step learnt from."""
        found: set[int] = set()
        for step in self.steps:
            (gradient,) = (value for name, value in step.items() if name.endswith("embedding.weight"))
            found |= {int(token) - 1 for token in gradient.abs().sum(1).nonzero() if token > 0}  # 0 is padding
        return found


@contextmanager
def watching(student: nn.Module) -> Iterator[Trace]:
    """Give what is written down of ``student`` inside the block."""
    trace = Trace()

    def at_step(optimizer: object, *_: object) -> None:
        trace.steps.append({name: p.grad.detach().clone() for name, p in student.named_parameters() if p.grad is not None})

    def at_forward(module: nn.Module, *_: object) -> None:
        if torch.is_grad_enabled() and not trace.validating:
            trace.modes.append(module.training)

    handles = [register_optimizer_step_pre_hook(at_step), student.register_forward_hook(at_forward)]
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def classifier(folder: Path, *, dropout: float = 0.0) -> Path:
    """Write a small BertForSequenceClassification with ``LABELS`` and its tokenizer, as transformers does; return the folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=32,
            hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, id2label=dict(enumerate(LABELS)), label2id={n: i for i, n in enumerate(LABELS)},
        )  # fmt: skip
        model = BertForSequenceClassification(config)
        nn.init.normal_(model.classifier.weight, std=1.0)
        model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(36))))}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    fast.save_pretrained(folder)
    return folder


def opened(folder: Path, labels: tuple[str, ...] = LABELS) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the classifier in ``folder`` as transformers opens it, its labels' order changed to ``labels`` in its config, and ``TEXTS`` as inputs."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model.config.id2label, model.config.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}
    return model, dict(AutoTokenizer.from_pretrained(folder)(list(TEXTS), padding=True, return_tensors="pt"))


def told(folder: Path) -> np.ndarray:
    """Return the probabilities of ``LABELS`` that the classifier in ``folder`` gives ``TEXTS``."""
    model, inputs = opened(folder)
    with torch.no_grad():
        return model(**inputs).logits.softmax(-1).numpy()


def quiet() -> None:
    """Turn off the bars and warnings of libraries."""
    import logging
    import os

    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    os.environ["TQDM_DISABLE"] = "1"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def refuses(run: Callable[[], Any]) -> bool:
    """Return whether the tool raises, however it does."""
    try:
        run()
    except Exception:  # however it is refused
        return True
    return False
