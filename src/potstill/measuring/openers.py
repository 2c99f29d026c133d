"""What a worker opens: refs to functions of a JSON spec that give something with ``predict(rows)``.

A teacher is opened by its own folder ("potstill.teachers.timed:open_timed"): measuring itself never loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..lookup import load


def artifact(spec: Mapping[str, Any]) -> Any:
    """Open the exported artifact in ``spec["folder"]`` exactly as serving would, on ``spec["threads"]`` threads."""
    return load("potstill.serving.predictor:Predictor").open(Path(spec["folder"]), threads=spec["threads"])
