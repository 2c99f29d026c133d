"""What a worker opens: refs to functions of a JSON spec that give something with ``predict(rows)``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..lookup import load


def artifact(spec: Mapping[str, Any]) -> Any:
    """Open an exported artifact as serving would."""
    return load("potstill.serving.predictor:Predictor").open(Path(spec["folder"]), threads=spec["threads"])
