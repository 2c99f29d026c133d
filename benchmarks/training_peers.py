"""Our training over other trainers', an epoch after the first: the same student, rows and batch size, by their public interfaces alone.

    python benchmarks/training_peers.py textbrewer            --from DIR    # DIR holds SST-2's train.tsv
    python benchmarks/training_peers.py torchdistill          --from DIR
    python benchmarks/training_peers.py sentence-transformers --from DIR

They ask MiniLM (6 layers, 384 wide) online, in every step, unless they have another way: TextBrewer can cache logits, together with the batches,
whose company then stays the same in every epoch. All pad to the longest of a batch, are given the fused AdamW, clip and warm up as we do. fp32, one
thread, batches of 32. Epochs take turns in one process; ratios are of CPU time, of pairs of epochs. `sentence-transformers` is given the teacher's
embeddings, computed before (its own way to distil), against our logits from the store: the same body, heads and losses of like cost.
torchdistill imports torchvision, which has no part in this: an empty one stands in. Figures go to benchmarks/results/training-NAME.json.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import importlib.util
import json
import os
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", TQDM_DISABLE="1")

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pairs import ratio
from potstill.measuring.machine import machine
from potstill.training import schedules
from setting import HIDDEN, LOGITS, RATE, STEPS, Setting, ready, terms

HERE = Path(__file__).parent
TEMPERATURE = 2.0


@dataclass
class Turns:
    """Their trainer owns its loop: where an epoch of theirs begins or ends, ours takes its turn while their clock stands."""

    run: Any
    count: int  # steps of an epoch
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    began: float | None = None

    def __post_init__(self) -> None:
        self.batches = self.run.batches(0)

    def begin(self) -> None:
        """Take our turn, then start their clock."""
        began = time.process_time()
        for _ in range(self.count):
            self.run.step(next(self.batches))
        self.ours.append(time.process_time() - began)
        self.began = time.process_time()

    def end(self) -> None:
        if self.began is not None:
            self.theirs.append(time.process_time() - self.began)
        self.began = None

    def result(self) -> dict[str, Any]:
        """Return the ratio over all epochs but the first."""
        theirs, ours = self.theirs[1:], self.ours[1 : len(self.theirs)]
        return {"times": ratio(theirs, ours), "ms": {"theirs": 1e3 * float(np.median(theirs)) / self.count, "ours": 1e3 * float(np.median(ours)) / self.count}}


class Loader:
    """A DataLoader whose epochs are turns."""

    def __init__(self, inner: DataLoader[Any], turns: Turns) -> None:
        self.inner, self.turns = inner, turns

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Iterator[Any]:
        self.turns.begin()
        yield from self.inner
        self.turns.end()


@dataclass
class Race:
    """What every adapter starts from: their copy of the student, the teacher as `transformers` opens it, the rows, our turns."""

    setting: Setting
    name: str
    objectives: Sequence[dict[str, Any]]
    epochs: int
    work: Path

    def __post_init__(self) -> None:
        ours = self.setting.student(self.name)
        self.student, self.teacher = copy.deepcopy(ours.module).train(), copy.deepcopy(self.setting.teacher._model).eval()
        self.items = ours.preprocess.encode([row.fields for row in self.setting.rows])
        self.names, self.width = ours.preprocess.inputs, ours.width
        self.pairs = [(want.layer, layer) for term in terms(ours, self.objectives) if term.hidden for want, layer in self._layers(term)]
        self.count = -(-len(self.items) // 32)
        self.turns = Turns(ready(self.setting, ours, self.objectives), self.count)

    @staticmethod
    def _layers(term: Any) -> Iterator[tuple[Any, int]]:
        by_layer = {want.layer: want for want in term.needs}
        return ((by_layer[teacher], student) for teacher, student in term.module.pairs)

    def collate(self, rows: Sequence[dict[str, np.ndarray]]) -> dict[str, Tensor]:
        pad = torch.nn.utils.rnn.pad_sequence
        return {name: pad([torch.from_numpy(row[name]) for row in rows], batch_first=True) for name in self.names}

    def loader(self) -> DataLoader[Any]:
        return DataLoader(self.items, batch_size=32, shuffle=True, collate_fn=self.collate)  # type: ignore[arg-type]

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.student.parameters(), lr=RATE, weight_decay=0.01, fused=True)


# --------------------------------------------------------------------------------------------------------- TextBrewer
def textbrewer(race: Race, *, cached: bool = False) -> dict[str, Any]:
    """TextBrewer's GeneralDistiller, which asks online; ``cached``: its BasicDistiller with `is_caching_logits`."""
    from textbrewer import BasicDistiller, DistillationConfig, GeneralDistiller, TrainingConfig

    matches = [
        {"layer_T": told, "layer_S": own, "feature": "hidden", "loss": "hidden_mse", "weight": 1 / len(race.pairs), "proj": ["linear", race.width, 384]}
        for told, own in race.pairs
    ]
    steps = 0

    def adapt(batch: dict[str, Tensor], output: Any) -> dict[str, Any]:
        found = {"logits": output.logits, "inputs_mask": batch["attention_mask"]}
        return {**found, "hidden": output.hidden_states} if race.pairs else found

    def adapt_student(batch: dict[str, Tensor], output: Any) -> dict[str, Any]:
        nonlocal steps
        if cached and steps % race.count == 0:  # its cache is no loader of ours: here is where an epoch's first step is seen
            race.turns.end()
            race.turns.begin()
        steps += 1
        return adapt(batch, output)

    config = TrainingConfig(output_dir=str(race.work / "textbrewer"), device="cpu", ckpt_epoch_frequency=10**6)
    distil = DistillationConfig(temperature=TEMPERATURE, kd_loss_type="ce", intermediate_matches=matches or None, is_caching_logits=cached)
    distiller = (BasicDistiller if cached else GeneralDistiller)(config, distil, race.teacher, race.student, adapt, adapt_student)
    loader = race.loader() if cached else Loader(race.loader(), race.turns)
    with distiller:
        distiller.train(
            race.optimizer(), loader, num_epochs=race.epochs, max_grad_norm=1.0, scheduler_class=torch.optim.lr_scheduler.LambdaLR,
            scheduler_args={"lr_lambda": lambda step: schedules.linear(step, steps=STEPS, warmup=0.06)}, output_hidden_states=bool(race.pairs),
        )  # fmt: skip
    return race.turns.result()


# ------------------------------------------------------------------------------------------------------- torchdistill
def _no_vision() -> None:
    """Put an empty torchvision where torchdistill looks for it."""

    class _Part:
        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    parts = ("", ".models", ".models.detection", ".models.segmentation", ".models.densenet", ".models.resnet", ".datasets", ".transforms", ".ops", ".utils")
    made = {f"torchvision{part}": types.ModuleType(f"torchvision{part}") for part in parts}
    for name, module in made.items():
        module.__spec__ = importlib.util.spec_from_loader(name, loader=None)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(made[parent], child, module)
    made["torchvision.models.densenet"]._DenseBlock = made["torchvision.models.densenet"]._Transition = _Part  # type: ignore[attr-defined]
    for name in ("BasicBlock", "Bottleneck", "ResNet", "conv1x1", "conv3x3"):
        setattr(made["torchvision.models.resnet"], name, _Part)
    sys.modules.update(made)


def torchdistill(race: Race) -> dict[str, Any]:
    """torchdistill's DistillationBox as its examples for text drive it: KDLoss over the logits, alpha 0."""
    _no_vision()
    from torchdistill.core.distillation import DistillationBox
    from torchdistill.core.interfaces.registry import register_forward_proc_func
    from torchdistill.datasets.registry import register_collate_func

    @register_collate_func(key="text")  # type: ignore[untyped-decorator]
    def collate(rows: Sequence[tuple[Any, ...]]) -> Any:
        return race.collate([row[0] for row in rows]), None, {}

    @register_forward_proc_func(key="logits")  # type: ignore[untyped-decorator]
    def logits(model: Any, batch: dict[str, Tensor], targets: Any = None, supp_dict: Any = None, **_: Any) -> Tensor:
        found: Tensor = model(**batch).logits
        return found

    loss = {
        "student_module_path": ".", "student_module_io": "output", "teacher_module_path": ".", "teacher_module_io": "output",
        "temperature": TEMPERATURE, "alpha": 0.0, "reduction": "batchmean",
    }  # fmt: skip
    config = {
        "num_epochs": race.epochs,
        "train_data_loader": {
            "dataset_id": "train", "sampler": {"class_or_func": torch.utils.data.RandomSampler}, "collate_fn": "text", "kwargs": {"batch_size": 32},
        },
        "teacher": {"forward_proc": "logits", "requires_grad": False}, "student": {"forward_proc": "logits"},
        "optimizer": {"key": "AdamW", "kwargs": {"lr": RATE, "weight_decay": 0.01, "fused": True}, "max_grad_norm": 1.0},
        "scheduler": {"key": "LambdaLR", "kwargs": {"lr_lambda": lambda step: schedules.linear(step, steps=STEPS, warmup=0.06)}, "scheduling_step": 1},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": {"key": "KDLoss", "kwargs": loss}, "weight": TEMPERATURE**2}}}},
    }  # fmt: skip
    rows = [(item, 0) for item in race.items]
    box = DistillationBox(race.teacher, race.student, {"train": rows}, config, torch.device("cpu"), None, False, 1.0)
    for epoch in range(race.epochs):
        race.turns.begin()
        box.pre_epoch_process(epoch=epoch)
        for batch, targets, more in box.train_data_loader:
            box.pre_forward_process()
            box.post_forward_process(box.forward_process(batch, targets, more))
        box.post_epoch_process()
        race.turns.end()
    return race.turns.result()


# ---------------------------------------------------------------------------------------------- sentence-transformers
def sentence_transformers(race: Race) -> dict[str, Any]:
    """Its trainer with MSELoss on the teacher's embeddings, computed before: `examples/sentence_transformer/training/distillation`."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MSELoss
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import TrainerCallback

    folder = race.work / f"student-{race.name}"
    race.student.save_pretrained(folder)
    race.setting.student(race.name).tokenizer.save_pretrained(folder)
    model = SentenceTransformer(modules=[Transformer(str(folder), max_seq_length=128), Pooling(race.width)], device="cpu")
    texts = [str(row.fields["text"]) for row in race.setting.rows]
    told = np.random.default_rng(0).normal(size=(len(texts), race.width)).astype(np.float32)  # what they are costs nothing
    turns = race.turns

    class Epochs(TrainerCallback):  # type: ignore[misc]
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            turns.begin()

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            turns.end()

    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(race.work / "st"), num_train_epochs=race.epochs, per_device_train_batch_size=32, learning_rate=RATE, warmup_steps=2,
        weight_decay=0.01, max_grad_norm=1.0, optim="adamw_torch_fused", use_cpu=True, save_strategy="no", report_to="none", disable_tqdm=True,
        logging_strategy="no",
    )  # fmt: skip
    data = Dataset.from_dict({"sentence": texts, "label": told.tolist()})
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=MSELoss(model), callbacks=[Epochs()])
    trainer.train()
    return turns.result()


RACES: dict[str, tuple[float, tuple[tuple[str, str, Sequence[dict[str, Any]], Callable[[Race], dict[str, Any]]], ...]]] = {
    "textbrewer": (3.0, (
        ("logits, online", "narrow", LOGITS, textbrewer), ("logits, its cache", "narrow", LOGITS, lambda race: textbrewer(race, cached=True)),
        ("logits and hidden states", "narrow", HIDDEN, textbrewer), ("logits, online", "thin", LOGITS, textbrewer),
    )),
    "torchdistill": (3.0, (("logits", "narrow", LOGITS, torchdistill), ("logits", "thin", LOGITS, torchdistill))),
    "sentence-transformers": (2.0, (("embeddings / logits", "half", LOGITS, sentence_transformers),
        ("embeddings / logits", "narrow", LOGITS, sentence_transformers))),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=tuple(RACES))
    parser.add_argument("--from", dest="source", type=Path, required=True, help="the folder with SST-2's train.tsv")
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    texts = [line.rpartition("\t")[0].strip() for line in (options.source / "train.tsv").read_text("utf-8").splitlines()][: options.rows]
    target, races = RACES[options.peer]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["POTSTILL_HOME"] = folder
        setting, lines = Setting.of(texts, Path(folder)), []
        for title, name, objectives, run in races:
            found = run(Race(setting, name, objectives, options.epochs, Path(folder)))
            lines.append({"work": title, "student": name, **found})
            print(json.dumps(lines[-1]), flush=True)
        result = {
            "machine": machine(1), "rows": len(setting.rows), "tokens": setting.tokens(), "epochs": options.epochs - 1, "target": target,
            "version": importlib.metadata.version(options.peer), "lines": lines,
        }  # fmt: skip
    (HERE / "results" / f"training-{options.peer}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
