"""The fastest arithmetic that this machine does natively."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # x86's names, and Arm's


@dataclass(frozen=True)
class Precision:
    """What is computed in, and why."""

    name: Literal["bf16", "fp32"]
    reason: str


def resolve(name: Literal["auto", "fp32", "bf16"] | str) -> Precision:
    """Return what a recipe's ``auto | fp32 | bf16`` means on this machine.

    ``auto`` takes bf16 only where it is done in hardware: emulated on an AVX2 machine it was measured 15 times slower than fp32.
    """
    if name in ("bf16", "fp32"):
        return Precision("bf16" if name == "bf16" else "fp32", "as the recipe says")
    if torch.cuda.is_available():
        native, what = torch.cuda.is_bf16_supported(), torch.cuda.get_device_name()
    else:
        native, what = bool(cpu_flags() & CPU_FLAGS), "this processor"
    return Precision("bf16", f"{what} does it natively") if native else Precision("fp32", f"{what} has no native bf16")


def cpu_flags(info: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return what the first processor says that it can do; nothing where the system has no such file."""
    if not info.is_file():
        return frozenset()
    lines = info.read_text("utf-8", "replace").splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(flags.partition(":")[2].split())
