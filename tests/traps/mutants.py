"""Each trap's test is shown to fail on a mutated copy of our code.

``MUTANTS`` is gathered from the ``MUTANTS`` lists of the modules ``mutants_*.py`` in this folder.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """One wrong line: in ``file`` (below src/potstill) ``old`` becomes ``new``; then ``test`` (a pytest node id below tests/) must fail."""

    trap: int
    file: str
    old: str
    new: str
    test: str


def gather() -> list[Mutant]:
    modules = sorted(path.stem for path in Path(__file__).parent.glob("mutants_*.py"))
    return [mutant for module in modules for mutant in importlib.import_module(f"tests.traps.{module}").MUTANTS]


def spoilt(mutant: Mutant, folder: Path) -> Path:
    """Copy our sources to ``folder`` and spoil one line; return the copy."""
    source = folder / "src"
    shutil.copytree(ROOT / "src" / "potstill", source / "potstill", ignore=shutil.ignore_patterns("__pycache__"))
    target = source / "potstill" / mutant.file
    text = target.read_text("utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"mutant of trap {mutant.trap}: {mutant.old!r} stands {text.count(mutant.old)} times in {mutant.file}, not once")
    target.write_text(text.replace(mutant.old, mutant.new), "utf-8")
    return source


class Nursery:
    """A process that runs one test after another against a copy of our sources, each in a fork of its own: see :mod:`.nursery`."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.traps.nursery"]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._process.stdout.readline().strip() != "ready":
            raise RuntimeError("the nursery did not start")

    def run(self, test: str, source: Path, folder: Path) -> tuple[int, str]:
        """Return pytest's exit code on ``test`` (a node id below tests/), and what it said."""
        told = folder / "told"
        self._process.stdin.write(json.dumps({"source": str(source), "test": test, "told": str(told)}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline()), told.read_text("utf-8", "replace")

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
