"""Each trap's test is shown to fail on a mutated copy of our code.

``MUTANTS`` is gathered from the ``MUTANTS`` lists of the modules ``mutants_*.py`` in this folder.
"""

from __future__ import annotations

import importlib
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


def run(mutant: Mutant, folder: Path) -> subprocess.CompletedProcess[str]:
    """Copy our sources to ``folder``, spoil one line, run the trap's test against the copy."""
    source = folder / "src"
    shutil.copytree(ROOT / "src" / "potstill", source / "potstill", ignore=shutil.ignore_patterns("__pycache__"))
    target = source / "potstill" / mutant.file
    text = target.read_text("utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"mutant of trap {mutant.trap}: {mutant.old!r} stands {text.count(mutant.old)} times in {mutant.file}, not once")
    target.write_text(text.replace(mutant.old, mutant.new), "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/{mutant.test}"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
