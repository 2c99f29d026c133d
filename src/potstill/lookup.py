"""From a name to the object behind it, loaded when it is called for; and the nearest name to a misspelt one."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from typing import Any

from .errors import MissingExtraError, UserError

# The packages whose absence names an extra: import name -> extra.
EXTRA_OF = {
    "torch": "train", "transformers": "train", "accelerate": "train", "safetensors": "train", "pyarrow": "train",
    "sklearn": "train", "onnx": "train", "onnxruntime": "serve", "tokenizers": "serve", "starlette": "serve",
    "uvicorn": "serve", "prometheus_client": "serve", "lightgbm": "trees", "scipy": "trees", "gguf": "gguf",
    "peft": "lora", "uvloop": "fast",
}  # fmt: skip


def load(ref: str) -> Any:
    """Return the object that ``"package.module:object"`` names.

    Raises :class:`MissingExtraError` when a package of an extra is not installed, :class:`UserError` when the module or
    the object does not exist.
    """
    module_name, _, attribute = ref.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == __package__:
            raise  # a module of ours: a fault of ours
        raise missing(error) from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise UserError(f"'{module_name}' has no '{attribute}'", remedy=did_you_mean(attribute, dir(module))) from error


def missing(error: ModuleNotFoundError) -> UserError:
    """Turn a failed import into an error that names the extra and the command to install it."""
    package = (error.name or "").partition(".")[0]
    if package in EXTRA_OF:
        extra = EXTRA_OF[package]
        return MissingExtraError(f"this needs '{package}', which is not installed", remedy=f"pip install 'potstill[{extra}]'")
    return UserError(f"there is no module named '{error.name}'", remedy="is it installed in this environment, and spelt so?")


def require(*packages: str) -> None:
    """Raise :class:`MissingExtraError` unless all ``packages`` can be found; imports none of them."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise missing(ModuleNotFoundError(name=package))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?", or the known names when none is near; empty when nothing is known."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known: {', '.join(names)}" if names else ""
