"""docs/cli.md is what the commands say of themselves."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from potstill.cli.main import VERBS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_commands_is_current():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.main(["--check"]) == 0, "run: python docs/generate.py"
    assert all(f"### potstill {verb.name}" in generate.page() for verb in VERBS)
