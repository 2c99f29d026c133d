"""A whole run that can be disturbed, and what must be the same of it whatever happened on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill import storage

ROOT = Path(__file__).parents[2]

# What may differ between two runs of one recipe, and nothing else: clocks, what was timed, and what holds the names of folders.
TIMED = frozenset({
    "created", "time", "seconds", "train_seconds", "cost", "latency_ms", "latency_intervals", "throughput_per_s", "speedup", "peak_memory_bytes",
    "start_s", "energy_j_per_1000", "batch_size",
    "limits", "usage", "command", "path", "made_from",
})  # fmt: skip
DRAWN = ("README.md", "report.html", "stages/speed-*/result.json")  # clocks and what is drawn from them: only that they are there
OWN = frozenset({".lock", "events.jsonl", "run.json"})  # process numbers, times, the folder's name in the ledger
FINISHED = (0, 3)  # the exit codes of a run that came to a verdict


@dataclass(frozen=True)
class Whole:
    """One run folder with a home of its own, over a job that several share."""

    folder: Path
    recipe: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)

    def start(self, **environment: str) -> subprocess.Popen[str]:
        env = {
            **os.environ,
            "POTSTILL_HOME": str(self.folder / "home"),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        command = [sys.executable, "-m", "tests.faults.child", str(self.folder), str(self.recipe), str(self.run)]
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def go(self, **environment: str) -> tuple[int, str]:
        """Run until it ends or dies; return the exit code and what it said on standard error."""
        process = self.start(**environment)
        _, said = process.communicate(timeout=300)
        return process.returncode, said

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def points(self) -> list[str]:
        return (self.folder / "points").read_text("utf-8").split()

    @property
    def asked(self) -> Counter[str]:
        return Counter((self.folder / "asked").read_text("utf-8").split())

    @property
    def report(self) -> dict[str, Any]:
        return storage.read_json(self.run / "report.json")

    def state(self) -> dict[str, Any]:
        """Return what must be equal: every file of the run folder by name, its content's hash, or its JSON without clocks."""
        files = {str(path.relative_to(self.run)): path for path in sorted(self.run.rglob("*")) if path.is_file() and path.name not in OWN}
        return {name: "" if any(path.match(drawn) for drawn in DRAWN) else _content(path) for name, path in files.items()}


def _content(path: Path) -> Any:
    if path.suffix != ".json":
        return storage.sha256_bytes(path.read_bytes())
    found = storage.read_json(path)
    if path.name == storage.MANIFEST and isinstance(found.get("files"), dict):
        found["files"] = sorted(found["files"])  # the hashes of files with clocks in them differ; every file is compared by itself
    return _without(found, TIMED)


def _without(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(part, names) for key, part in value.items() if key not in names}
    return [_without(part, names) for part in value] if isinstance(value, list) else value


def differing(one: Any, other: Any, place: str = "") -> list[str]:
    """Return the places that differ, and how: for a message that helps."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [line for key in sorted({*one, *other}) for line in differing(one.get(key), other.get(key), f"{place}/{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [line for i, (a, b) in enumerate(zip(one, other)) for line in differing(a, b, f"{place}[{i}]")]
    return [] if one == other else [f"{place}: {one!r} is not {other!r}"]
