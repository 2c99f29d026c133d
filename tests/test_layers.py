"""Who may import whom: ARCHITECTURE.md's rule, held by reading the imports of every file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "potstill"
WORDS = {"errors", "functions", "records", "contracts", "storage", "cache", "instructions", "lookup", "redact", "rng", "runlog"}
MATHS = {"objectives", "evaluation.metrics", "evaluation.generation", "evaluation.statistics", "training.schedules"}
ARROWS = {  # from a stage's folder to a module of another: each of them argued for in ARCHITECTURE.md
    "training": {"students", "objectives", "serving.turns"},
    "students": {"serving.preprocess", "serving.hashing", "serving.turns", "serving.conversation"},
    "teachers": {"serving.preprocess", "serving.turns", "serving.completions", "serving.predictor", "students.attention"},
    "export": {"serving.predictor", "serving.preprocess", "serving.generator", "students.protocol"},
    "evaluation": {"serving.predictor"},
    "measuring": {"serving.predictor", "engines"},
    "serving": {"bundle", "cascade"},
    "objectives": {"students.protocol"},
    "dataset": {"teachers.loading"},  # augmentation opens a model as quietly as teachers are
    "tasks": {"serving.conversation"},  # what a row says and what of it is learnt: a student must read it so, too
}
WIRING = {"pipeline", "cascading", "standby", "steps", "workspace", "results", "explain", "doctor", "quickstart", "recipes"}
SHIPPED = {"serving", "bundle", "cascade", "monitoring"}  # what runs beside the student: never torch
HEAVY = {"torch", "transformers", "accelerate", "sklearn", "pyarrow", "onnx", "onnxruntime", "tokenizers", "safetensors", "lightgbm", "scipy"}
LIGHT = WORDS | {"recipe", "recipes", "cli", "quickstart", "explain", "doctor", "pipeline", "cascading", "standby", "steps", "workspace", "results"}


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path, *, top_level_only: bool = False, skip_typing: bool = True) -> set[str]:
    """Absolute names of what a file imports; names under `if TYPE_CHECKING` don't count."""
    tree = ast.parse(path.read_text("utf-8"))
    package = ["potstill", *path.relative_to(SOURCE).parts[:-1]]
    found: set[str] = set()

    def visit(node: ast.AST, inside: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if skip_typing and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import) and not (inside and top_level_only):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and not (inside and top_level_only):
                base = ".".join(package[: len(package) - child.level + 1]) if child.level else ""
                module = ".".join(part for part in (base, child.module or "") if part)
                found.add(module)
                found.update(f"{module}.{alias.name}" for alias in child.names)
            visit(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    visit(tree, False)
    return found


def ours(path: Path) -> set[str]:
    """What a file imports of ours, as names below potstill that are modules or folders."""
    known = {name_of(p) for p in modules()}
    names = {name.removeprefix("potstill.") for name in imports(path) if name.startswith("potstill.")}
    return {name for name in names if name in known}


def allowed(name: str, target: str) -> bool:
    room, other = name.partition(".")[0], target.partition(".")[0]
    if room == other or other in WORDS or target == "":
        return True
    if room in WORDS:
        return False
    if room == "recipe":
        return False
    if room == "cli":
        return other in {"recipe"} or other in WIRING
    if room in WIRING:
        return True
    if any(target == maths or target.startswith(f"{maths}.") for maths in MATHS):
        return True
    if target == "recipe" or target.startswith("recipe."):
        return True
    return any(target == arrow or target.startswith(f"{arrow}.") for arrow in ARROWS.get(room, ()))


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_follow_the_layers(path):
    name = name_of(path)
    wrong = sorted(target for target in ours(path) if not allowed(name, target) and name not in ("", "__main__"))
    assert not wrong, f"potstill.{name} may not import {wrong}"


@pytest.mark.parametrize("path", [p for p in modules() if name_of(p).partition(".")[0] in SHIPPED], ids=name_of)
def test_what_ships_never_imports_torch(path):
    assert not {name.partition(".")[0] for name in imports(path)} & {"torch", "transformers", "accelerate", "sklearn", "pyarrow", "lightgbm", "scipy"}


@pytest.mark.parametrize("path", [p for p in modules() if name_of(p).partition(".")[0] in LIGHT], ids=name_of)
def test_light_modules_import_nothing_heavy_at_the_top(path):
    assert not {name.partition(".")[0] for name in imports(path, top_level_only=True)} & HEAVY


def test_import_and_help_load_neither_torch_nor_a_web_server():
    program = (
        "import sys, potstill, potstill.cli.main as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {n.partition('.')[0] for n in sys.modules} & "
        "{'torch','transformers','sklearn','pyarrow','onnx','onnxruntime','starlette','uvicorn','fastapi','tokenizers','scipy'}\n"
        "print('HEAVY', sorted(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "HEAVY []" in result.stdout, result.stdout[-500:] + result.stderr[-500:]
