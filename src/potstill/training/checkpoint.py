"""The loop's state on disk: tensors as safetensors, the rest as JSON. Nothing is pickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .. import storage

TENSORS = "state.safetensors"


def save(folder: Path, *, module: nn.Module, optimizer: torch.optim.Optimizer, best: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write weights, the best weights so far, the optimizer's moments, the generator's state and ``state``; all or nothing."""
    tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    tensors["rng"] = torch.get_rng_state()
    with storage.new_folder(folder, {"state": dict(state)}, point="checkpoint") as partial:
        # Cloned, because safetensors refuses tensors that share memory, as tied weights do.
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, partial / TENSORS)


def restore(folder: Path, *, module: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Put a checkpoint back; return its ``state`` and the best weights, or None where there is none."""
    manifest = storage.read_manifest(folder)
    if manifest is None:
        return None
    tensors = load_file(folder / TENSORS)
    module.load_state_dict(_under(tensors, "module."))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _under(tensors, "optimizer.").items():
        index, _, kind = name.partition(".")
        moments.setdefault(int(index), {})[kind] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["rng"])
    return manifest["state"], _under(tensors, "best.")


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
