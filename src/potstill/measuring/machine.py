"""What this machine is: measurements are of it, and stand beside it in the report."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "onnxruntime", "tokenizers", "torch", "transformers")
MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # a container's, by kind of cgroup


def machine(threads: int) -> dict[str, Any]:
    """Return {cpu, cores, threads, memory_bytes, devices, precision, versions}; loads none of the packages that it names."""
    return {
        "cpu": cpu(), "cores": cores(), "threads": threads, "memory_bytes": memory_bytes(), "devices": devices(),
        "precision": precisions(), "versions": {"python": platform.python_version(), **versions()},
    }  # fmt: skip


def cpu() -> str:
    return next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )


def cores() -> int:
    """Return the logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def devices() -> list[str]:
    """Return "cpu" and the names of NVIDIA cards, as their driver tells them."""
    cards = [f"/proc/driver/nvidia/gpus/{card.name}/information" for card in sorted(Path("/proc/driver/nvidia/gpus").glob("*"))]
    names = [line.partition(":")[2].strip() for card in cards for line in _lines(card) if line.startswith("Model:")]
    return ["cpu", *names]


def precisions() -> list[str]:
    """Return what the CPU does in hardware beside fp32."""
    flags = next((set(line.split()) for line in _lines("/proc/cpuinfo") if line.startswith(("flags", "Features"))), set())
    return [name for name, known in (("bf16", {"avx512_bf16", "amx_bf16"}), ("int8", {"avx512_vnni", "avx_vnni", "amx_int8"})) if flags & known]


def memory_bytes() -> int:
    """Return the memory that this process may use: the machine's, or its container's limit."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [int(line) for place in MEMORY_LIMITS for line in _lines(place)[:1] if line.isdigit()]
    return min([whole, *limits])


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # an extra that is not installed
            continue
    return found


def _lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8").splitlines() if Path(path).is_file() else []
