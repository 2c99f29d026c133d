"""The loop's state on disk: tensors as safetensors, the rest as JSON. Nothing is pickled.

One folder a checkpoint, named by its step and complete when its manifest is there; the one before it goes away only then.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .. import storage
from ..runlog import RunLog

STUDENT, BEST, REST = "student.safetensors", "best.safetensors", "rest.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")  # what AdamW and SGD remember of a parameter


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: ``state`` is the loop's JSON, ``best`` the best weights so far, ``random`` the generators' states."""

    state: dict[str, Any]
    best: dict[str, Tensor]
    random: dict[str, Tensor]


def weights(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, each once however often it is tied; they share the module's memory."""
    return {name: tensor.detach() for name, tensor in (*module.named_parameters(), *module.named_buffers())}


def copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in weights(module).items()}


@torch.no_grad()
def put(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy ``tensors`` into the module's own."""
    for name, tensor in weights(module).items():
        tensor.copy_(tensors[name])


def save(
    root: Path, *, plan: str, state: Mapping[str, Any], student: nn.Module, beside: nn.Module, optimizer: torch.optim.Optimizer,
    random: Mapping[str, Tensor], best: Mapping[str, Tensor] | None,
) -> None:  # fmt: skip
    """Write ``root/checkpoint-STEP`` all or nothing, then remove older ones.

    ``plan`` says what is trained on what: only the same training goes on from it. ``best`` None: the student's weights are the
    best. Weights that are on disk already are linked, not written again.
    """
    earlier = list(_complete(root, plan))
    moments = [(name, optimizer.state[parameter]) for name, parameter in _parameters(student, beside) if parameter in optimizer.state]
    rest = {f"beside.{name}": tensor for name, tensor in weights(beside).items()}
    rest |= {f"random.{name}": tensor for name, tensor in random.items()}
    rest |= {f"{kind}.{name}": state[kind] for name, state in moments for kind in MOMENTS if kind in state}
    with storage.new_folder(root / f"checkpoint-{state['steps']:08d}", {"plan": plan, "state": dict(state)}, point="checkpoint") as partial:
        _write(partial / STUDENT, weights(student))
        _write(partial / REST, rest)
        if best is None:
            _link(partial / STUDENT, partial / BEST)
        elif earlier:
            _link(earlier[0] / BEST, partial / BEST)
        else:
            _write(partial / BEST, best)
    for folder in earlier:
        shutil.rmtree(folder, ignore_errors=True)


def restore(root: Path, *, plan: str, student: nn.Module, beside: nn.Module, optimizer: torch.optim.Optimizer, log: RunLog) -> Checkpoint | None:
    """Put the newest checkpoint of this ``plan`` back and return the rest of it; None where there is none that is whole."""
    for folder in _complete(root, plan):
        manifest = storage.read_json(folder / storage.MANIFEST)
        if any(not (folder / name).is_file() or storage.sha256_file(folder / name) != f["sha256"] for name, f in manifest["files"].items()):
            log.warn(f"the checkpoint {folder} is damaged, and not used")
            continue
        rest = load_file(folder / REST)
        put(student, load_file(folder / STUDENT))
        put(beside, _under(rest, "beside."))
        for name, parameter in _parameters(student, beside):
            moments = {kind: rest[f"{kind}.{name}"].to(parameter.device) for kind in MOMENTS if f"{kind}.{name}" in rest}
            if moments:
                optimizer.state[parameter] = moments
        return Checkpoint(manifest["state"], load_file(folder / BEST), _under(rest, "random."))
    return None


def _complete(root: Path, plan: str) -> Iterator[Path]:
    """Yield the complete checkpoints of this plan, newest first."""
    for folder in sorted(root.glob("checkpoint-*"), reverse=True):
        manifest = storage.read_manifest(folder)
        if manifest is not None and manifest.get("plan") == plan:
            yield folder


def _parameters(student: nn.Module, beside: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    for prefix, module in (("student", student), ("beside", beside)):
        yield from ((f"{prefix}.{name}", parameter) for name, parameter in module.named_parameters())


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a disk without hard links
        shutil.copyfile(source, target)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
