"""The fastest arithmetic that this machine does natively."""

from __future__ import annotations

from pathlib import Path

import torch

CPU_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")  # x86, and Arm's name


def resolve(name: str) -> str:
    """Return "bf16" or "fp32" for a recipe's ``auto | fp32 | bf16``.

    ``auto`` takes bf16 only where it is done in hardware: emulated on an AVX2 machine it was measured 15 times slower than fp32.
    """
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if cpu_has_bf16() else "fp32"


def cpu_has_bf16() -> bool:
    info = Path("/proc/cpuinfo")
    flags = next((line for line in info.read_text("utf-8").splitlines() if line.startswith(("flags", "Features"))), "") if info.is_file() else ""
    return bool(set(flags.split()) & set(CPU_FLAGS))
