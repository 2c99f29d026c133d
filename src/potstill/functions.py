"""A function of the user's, by "module:function": below a folder or where Python finds modules, loaded anew where its file changed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from . import storage
from .errors import UserError
from .lookup import did_you_mean

_loaded: dict[str, tuple[Path, str]] = {}  # modules that were loaded here: the file, and what it held then


def find(name: str, folder: str | None, *, place: str, error: type[UserError] = UserError) -> Callable[..., Any]:
    """Return the function ``name``; ``place`` is the section of the recipe that names it. Raises ``error`` where it can't be found or loaded."""
    module_name, _, function_name = name.partition(":")
    found = getattr(_module(module_name, source_of(name, folder, place=place, error=error), error), function_name, None)
    if not callable(found):
        there = [known for known, value in vars(sys.modules[module_name]).items() if callable(value) and not known.startswith("_")]
        raise error(f"'{module_name}' has no function '{function_name}'", place=f"{place}.function", remedy=did_you_mean(function_name, there))
    function: Callable[..., Any] = found
    return function


def source_of(name: str, folder: str | None, *, place: str, error: type[UserError] = UserError) -> Path:
    """Return the file of a function's module: below ``folder``, else where Python finds modules. It is not run. Raises ``error`` where there is none."""
    module = name.partition(":")[0]
    parts = module.split(".")
    for root in [*([folder] if folder else []), *sys.path]:
        base = Path(root or ".").joinpath(*parts)
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                return path.resolve()
    try:
        found = importlib.util.find_spec(module)  # what is installed in other ways than by a folder
    except (ImportError, ValueError):
        found = None
    if found is None or not found.origin or not Path(found.origin).is_file():
        where = f"{folder} and PYTHONPATH" if folder else "PYTHONPATH"
        remedy = f"put {parts[-1]}.py into {folder or 'a folder on PYTHONPATH'}, or name its folder: {place}.folder"
        raise error(f"there is no module '{module}' in {where}", place=f"{place}.function", remedy=remedy)
    return Path(found.origin).resolve()


def _module(name: str, path: Path, error: type[UserError]) -> ModuleType:
    """Return the module in ``path``, loaded anew where the file changed: what runs must be what the identity is told of.

    Raises ``error`` where loading it fails, or where another module has its name already.
    """
    held = storage.sha256_file(path)
    there = sys.modules.get(name)
    if there is not None and name not in _loaded and _file(there) == path:
        return there  # the user's program runs it already
    if there is not None and name not in _loaded:
        raise error(f"another module is called '{name}': {_file(there) or 'a part of Python'}", place=str(path), remedy="rename yours")
    if there is not None and _loaded[name] == (path, held):
        return there
    root = str(path.parents[len(name.split(".")) - (path.name != "__init__.py")])
    if root not in sys.path:
        sys.path.append(root)  # at the end: what stands beside the module hides nothing that is installed
    if "." in name:
        _parents(name, path, error)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise error("Python can't load this", place=str(path), remedy="name a module: a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as cause:  # whatever a user's module raises
        del sys.modules[name]
        raise error(f"the module can't be loaded: {words(cause)}", place=str(path), remedy="does `python -c 'import ...'` work in this environment?") from cause
    _loaded[name] = (path, held)
    return module


def _parents(name: str, path: Path, error: type[UserError]) -> None:
    try:
        importlib.import_module(name.rpartition(".")[0])
    except Exception as cause:
        raise error(f"the package can't be loaded: {words(cause)}", place=str(path)) from cause


def _file(module: ModuleType) -> Path | None:
    found = getattr(module, "__file__", None)
    return Path(found).resolve() if found else None


def words(error: Exception) -> str:
    """Return what a user's function or module raised, in a line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['without a word'])[0][:200]}"
