"""torchdistill through its losses, made from configurations, and its ``DistillationBox``, driven by the loop of its example scripts.

Its registries import torchvision (models and data sets by name), which has no build for every torch. While torchdistill is being imported, empty
modules of torchvision's names stand in for it, with two or three empty classes to inherit from, and are taken away again; nothing that is
run here is theirs. Models are plain torch modules. Configurations follow its GLUE samples: ``KDLoss`` on the ``.classifier`` outputs, a teacher
opened by ``from_pretrained`` with ``requires_grad: False``. Its image example hands labels to the box, its GLUE example ``targets=None``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import transformers  # noqa: F401  looks for torchvision, so it comes before the stand-in
from torch import Tensor, nn
from torch.utils.data import SequentialSampler

from . import Tool, toys

STANDING_IN = ("torchvision", "torchvision.datasets", "torchvision.models", "torchvision.models.detection", "torchvision.models.segmentation",
               "torchvision.models.quantization", "torchvision.models.densenet", "torchvision.models.resnet")  # fmt: skip


def _import() -> None:
    if "torchdistill.core.distillation" in sys.modules:
        return
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "torchvision"}
    if not kept:
        for name in STANDING_IN:
            module: Any = ModuleType(name)
            for needed in ("_DenseBlock", "_Transition", "BasicBlock", "conv1x1"):
                setattr(module, needed, type(needed, (nn.Module,), {}))
            parent, _, last = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], last, module)
            sys.modules[name] = module
    try:
        importlib.import_module("torchdistill.core.distillation")
    finally:
        for name in STANDING_IN:
            if name not in kept:
                sys.modules.pop(name, None)


_import()
import torchdistill  # noqa: E402
from torchdistill.common.main_util import save_ckpt  # noqa: E402
from torchdistill.core.distillation import get_distillation_box  # noqa: E402
from torchdistill.core.interfaces.registry import register_forward_proc_func  # noqa: E402
from torchdistill.datasets.registry import register_collate_func  # noqa: E402
from torchdistill.losses.registry import get_high_level_loss, get_mid_level_loss  # noqa: E402

LABELED, UNLABELED = "labels given", "targets=None, as in its GLUE example"
ALPHA = 0.5


def tool() -> Tool:
    return Tool(
        "torchdistill", torchdistill.__version__,
        {
            "soft": {f"KDLoss, {LABELED}": _soft(True), f"KDLoss, {UNLABELED}": _soft(False)},
            "positions": {"KDLoss on (rows, classes, length)": _positions(turned=True),
                          "reduction: mean": _positions(turned=True, reduction="mean"),
                          "(rows, length, classes), as transformers give them": _positions()},
            "gold": {"KDLoss with ignore_index": _gold},
            "hidden": {"MSELoss on a layer's output": _hidden},
            "labels": {"DistillationBox": _labels},
            "teacher": {"from_pretrained, requires_grad: False": _teacher(False), "a teacher in train mode": _teacher(True),
                        "no requires_grad: False": _teacher(False, frozen=False)},
            "train": {"KDLoss": _train(), "KDLoss and MSELoss on states": _train(states=True)},
            "saved": {"save_ckpt after KDLoss and MSELoss": _saved},
            "keys": {"configuration": _keys},
        },
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- losses
def _kd(path: str = "out", **options: Any) -> dict[str, Any]:
    ends = {"student_module_path": path, "student_module_io": "output", "teacher_module_path": path, "teacher_module_io": "output"}
    return {"criterion": {"key": "KDLoss", "kwargs": {**ends, "temperature": 1.0, "alpha": ALPHA, **options}}, "weight": 1.0}


def _mse() -> dict[str, Any]:
    ends = {
        "input": {"is_from_teacher": False, "module_path": "states", "io": "output"},
        "target": {"is_from_teacher": True, "module_path": "states", "io": "output"},
    }
    return {"criterion": {"key": "MSELoss", "kwargs": {}}, "criterion_wrapper": {"key": "SimpleLossWrapper", "kwargs": ends}, "weight": 1.0}


def _loss(terms: dict[str, Any], student: dict[str, Tensor], teacher: dict[str, Tensor], targets: Tensor | None) -> Tensor:
    made = get_high_level_loss({"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms}})
    seen = [{path: {"output": value} for path, value in side.items()} for side in (student, teacher)]
    found: Tensor = made({"student": seen[0], "teacher": seen[1]}, {}, targets)
    return found


def _soft(labeled: bool) -> Callable[..., Tensor]:
    """The loss on softened classes alone: with labels, the whole less its share of cross-entropy, over the weight that is left."""

    def run(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        targets = teacher.argmax(-1) if labeled else None
        whole = _loss({"kd": _kd(temperature=temperature)}, {"out": student}, {"out": teacher}, targets)
        return (whole - ALPHA * nn.functional.cross_entropy(student, targets)) / (1 - ALPHA) if labeled else whole

    return run


def _positions(turned: bool = False, **options: Any) -> Callable[..., Tensor]:
    def run(student: Tensor, teacher: Tensor) -> Tensor:
        sides = [side.transpose(1, 2) if turned else side for side in (student, teacher)]
        return _loss({"kd": _kd(**options)}, {"out": sides[0]}, {"out": sides[1]}, None)

    return run


def _gold(logits: Tensor, gold: Tensor) -> Tensor:
    return _loss({"kd": _kd(alpha=1.0, ignore_index=-1)}, {"out": logits}, {"out": logits.detach()}, gold)


def _hidden(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    return _loss({"states": _mse()}, {"states": student}, {"states": teacher}, None)


# ------------------------------------------------------------------------------------------------------ the box, its loop
@register_forward_proc_func
def potstill_ids(model: nn.Module, sample: Any, targets: Any = None, supp_dict: Any = None, **_: Any) -> Any:
    return model(**sample) if isinstance(sample, dict) else model(sample)


@register_collate_func
def potstill_pad(rows: list[tuple[Tensor, Tensor, dict[str, Any]]]) -> tuple[Tensor, Tensor, dict[str, Any]]:
    ids, gold, _ = zip(*rows)
    return toys.padded(list(ids)), torch.stack(gold), {}


def _box(teacher: nn.Module, student: nn.Module, rows: Any, terms: dict[str, Any], *, size: int = 1, accumulate: int = 1, epochs: int = 1, rate: float = 0.0,
         paths: tuple[str, ...] = ("out",), teaches: dict[str, Any] | None = None, optimizer: dict[str, Any] | None = None) -> Any:  # fmt: skip
    ends = {"forward_proc": "potstill_ids", "forward_hook": {"input": [], "output": list(paths)}}
    data = {
        "dataset_id": "train",
        "sampler": {"class_or_func": SequentialSampler},
        "collate_fn": "potstill_pad",
        "kwargs": {"batch_size": size},
    }
    config = {
        "num_epochs": epochs, "train_data_loader": data, "val_data_loader": {},
        "teacher": {**ends, **({"requires_grad": False} if teaches is None else teaches)}, "student": {**ends, "requires_grad": True},
        "optimizer": {"key": "SGD", "kwargs": {"lr": rate}, "grad_accum_step": accumulate, **(optimizer or {})},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms}},
    }  # fmt: skip
    return get_distillation_box(teacher, student, {"train": rows}, config, torch.device("cpu"), [], False, 1.0)


def _run(job: toys.Job, terms: dict[str, Any], paths: tuple[str, ...]) -> toys.Trace:
    box = _box(job.teacher, job.student, list(zip(job.ids, job.gold)), terms, size=job.batch_size, accumulate=job.accumulate, epochs=job.epochs,
               rate=job.learning_rate, paths=paths)  # fmt: skip
    with toys.watching(job.student) as trace:
        for epoch in range(box.num_epochs):
            box.pre_epoch_process(epoch=epoch)
            for sample, targets, supplement in box.train_data_loader:
                box.post_forward_process(loss=box.forward_process(sample, targets, supplement))
            if job.validates:
                trace.validating = True
                job.student.eval()(toys.padded(job.ids))
                trace.validating = False
            box.post_epoch_process()
    return trace


def _train(states: bool = False) -> Callable[[toys.Job], toys.Trace]:
    terms, paths = ({"kd": _kd(), "states": _mse()}, ("out", "states")) if states else ({"kd": _kd()}, ("out",))
    return lambda job: _run(job, terms, paths)


def _saved(job: toys.Job, folder: Path) -> tuple[list[str], list[str]]:
    job = toys.Job(learning_rate=job.learning_rate)  # its loss on states takes equal widths
    _run(job, {"kd": _kd(), "states": _mse()}, ("out", "states"))
    save_ckpt(job.student, torch.optim.SGD(job.student.parameters()), None, 0.0, None, str(folder / "student.pt"))
    return list(torch.load(folder / "student.pt", weights_only=False)["model"]), list(toys.Net(seed=1).state_dict())


def _labels(folder: Path, labels: tuple[str, ...], texts: tuple[str, ...]) -> np.ndarray:
    (teacher, inputs), (student, _) = toys.opened(folder), toys.opened(folder, labels)
    box = _box(teacher, student, [(torch.zeros(1), torch.zeros(1))], {"kd": _kd("classifier")}, paths=("classifier",))
    kept: list[Tensor] = []
    handle = student.classifier.register_forward_hook(lambda module, given, made: kept.append(made))
    loss = box.forward_process(inputs, None, None)
    handle.remove()
    found: np.ndarray = (kept[0].softmax(-1) - len(texts) * torch.autograd.grad(loss, kept[0])[0]).detach().numpy()
    return found


def _teacher(training: bool, frozen: bool = True) -> Callable[[Path], tuple[float, bool]]:
    def run(folder: Path) -> tuple[float, bool]:
        (teacher, inputs), (student, _) = toys.opened(folder), toys.opened(folder)
        before = {name: value.clone() for name, value in teacher.state_dict().items()}
        box = _box(teacher.train(training), student, [(torch.zeros(1), torch.zeros(1))], {"kd": _kd("classifier")}, paths=("classifier",), rate=0.0,
                   teaches=None if frozen else {})  # fmt: skip
        said: list[Tensor] = []
        handle = teacher.classifier.register_forward_hook(lambda module, given, made: said.append(made.detach()))
        box.pre_epoch_process(epoch=0)
        for _ in range(2):
            box.post_forward_process(loss=box.forward_process(inputs, None, None))
        handle.remove()
        optimized = {id(p) for group in box.optimizer.param_groups for p in group["params"]}
        trained = any(id(p) in optimized and p.requires_grad for p in teacher.parameters())
        assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())  # the rate is 0: only dropout may differ
        return float((said[0] - said[1]).abs().max()), trained

    return run


# -------------------------------------------------------------------------------------------------------------- options
def _keys() -> dict[str, bool]:
    def box(**options: Any) -> Any:
        return _box(toys.Net(seed=0), toys.Net(seed=1), [(torch.ones(1).long(), torch.zeros(1))], {"kd": _kd()}, **options)

    ends = {key: value for key, value in _kd()["criterion"]["kwargs"].items()}
    tries: dict[str, Callable[[], Any]] = {
        "grad_acum_step": lambda: box(optimizer={"grad_acum_step": 2}),
        "max_grad_nrom": lambda: box(optimizer={"max_grad_nrom": 1.0}),
        "require_grad of the teacher": lambda: box(teaches={"require_grad": False}),
        "temprature": lambda: get_mid_level_loss({"key": "KDLoss", "kwargs": {**ends, "temprature": 2.0}}),
        "KDLos": lambda: get_mid_level_loss({"key": "KDLos", "kwargs": ends}),
    }
    return {name: toys.refuses(run) for name, run in tries.items()}
