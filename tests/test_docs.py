"""Documentation that can't lie: the tree in ARCHITECTURE.md is the tree, the README's commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "potstill"


def test_the_captions_match_the_tree():
    block = (ROOT / "ARCHITECTURE.md").read_text("utf-8").split("<!-- tree")[1].split("```")[1]
    captioned = {line.split()[0].rstrip("/") for line in block.splitlines() if line.startswith("  ")}
    there = {p.name for p in SOURCE.iterdir() if (p.suffix == ".py" or (p.is_dir() and (p / "__init__.py").is_file()))}
    assert captioned == there


def test_every_room_says_what_it_is():
    silent = [p.name for p in SOURCE.iterdir() if (p / "__init__.py").is_file() and not (p / "__init__.py").read_text("utf-8").startswith('"""')]
    assert not silent


def test_the_readme_names_only_commands_that_exist():
    blocks = re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    commands = set(re.findall(r"^potstill ([a-z]+)", "\n".join(blocks), re.MULTILINE))
    assert commands, "the README shows no command"
    for command in sorted(commands):
        result = subprocess.run([sys.executable, "-m", "potstill", command, "--help"], capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, f"potstill {command}: {result.stderr[-300:]}"


def test_the_readme_recipe_loads(tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert blocks, "the README shows no recipe"
    from potstill.recipe.load import load

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "tickets.jsonl").write_text('{"text": "hello", "label": "greeting"}\n')
    (tmp_path / "unlabeled.jsonl").write_text('{"text": "hello there"}\n')
    for block in blocks:
        (tmp_path / "recipe.yaml").write_text(block)
        assert load(tmp_path / "recipe.yaml").students


def test_no_registry_host_and_no_secret_stands_in_any_file():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    texts = {f: (ROOT / f).read_text("utf-8", "replace") for f in files if (ROOT / f).is_file() and f != "tests/test_docs.py"}
    hosts = re.compile(r"https?://(?:[\w.-]*pypi|files\.pythonhosted|registry\.npmjs|deb\.debian)", re.IGNORECASE)
    assert not [f for f, text in texts.items() if hosts.search(text)]


def test_the_tables_are_those_of_the_results():
    result = subprocess.run([sys.executable, "benchmarks/tables.py", "--check"], cwd=ROOT, check=False)
    assert result.returncode == 0, "run: python benchmarks/tables.py"
