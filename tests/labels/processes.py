"""Start the worker as a process of its own, and read what it was asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import potstill

ROOT = Path(__file__).parents[2]
POINTS = ("labels.intent.after", "labels.shard.before", "labels.shard.after", "labels.index.before", "labels.index.after")


def start(folder: Path, *, rows: int = 40, batch: int = 8, seconds: float = 0.0, kill_at: str = "", run: str = "run") -> subprocess.Popen:
    spec = {"root": str(folder / "labels"), "counter": str(folder / "calls"), "rows": rows, "batch": batch, "seconds": seconds, "run": run}
    return _process("tests.labels.worker", spec, folder, kill_at)


def call(folder: Path, url: str, *, rows: int = 40, kill_at: str = "", **options) -> subprocess.Popen:
    """Start a process that asks the endpoint at ``url`` row by row; ``options`` are of the teacher's section."""
    spec = {"root": str(folder / "labels"), "url": url, "rows": rows, "options": options}
    return _process("tests.labels.caller", spec, folder, kill_at)


def _process(module: str, spec: dict, folder: Path, kill_at: str) -> subprocess.Popen:
    path = os.pathsep.join([str(Path(potstill.__file__).parents[1]), str(ROOT)])  # the mutated copy, where a mutant is tested
    environment = {**os.environ, "PYTHONPATH": path, "POTSTILL_HOME": str(folder / "home"), "POTSTILL_KILL_AT": kill_at}
    command = [sys.executable, "-m", module, json.dumps(spec)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out)


def calls(folder: Path) -> list[str]:
    """The ids that the teacher was really asked, each as often as it was."""
    path = folder / "calls"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []
