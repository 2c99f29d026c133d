"""WHAT PEOPLE SEE: one self-contained page per run.

Reads ``report.json`` alone (its JSON schema is ``schema.json``); writes ``report.html``: no script, no network, readable years later.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from .page import write

__all__ = ["schema", "write"]


def schema() -> dict[str, Any]:
    """Return the JSON schema of ``report.json``: CONTRACT's keys, and what this version adds to them."""
    found: dict[str, Any] = json.loads(resources.files(__package__).joinpath("schema.json").read_text("utf-8"))
    return found
