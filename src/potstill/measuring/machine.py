"""What this machine is: measurements are of it, and stand beside it in the report."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "onnxruntime", "tokenizers", "torch", "transformers")


def machine(threads: int) -> dict[str, Any]:
    """Return {cpu, cores, threads, memory_bytes, devices, precision, versions}; loads none of the packages that it names."""
    return {
        "cpu": cpu(), "cores": os.cpu_count() or 1, "threads": threads, "memory_bytes": memory_bytes(), "devices": ["cpu"],
        "precision": precisions(), "versions": {"python": platform.python_version(), **versions()},
    }  # fmt: skip


def cpu() -> str:
    return next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )


def precisions() -> list[str]:
    """Return what the CPU does in hardware beside fp32."""
    flags = next((set(line.split()) for line in _lines("/proc/cpuinfo") if line.startswith(("flags", "Features"))), set())
    return [name for name, known in (("bf16", {"avx512_bf16", "amx_bf16"}), ("int8", {"avx512_vnni", "avx_vnni", "amx_int8"})) if flags & known]


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8").splitlines() if Path(path).is_file() else []
