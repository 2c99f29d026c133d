"""Where it runs: on this machine, in processes of their own. One interface of few calls, so that a cluster can take its place.

A piece of work is "module:function" and a spec of JSON: no closures cross a border.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..contracts import Engine
from ..lookup import load

KINDS: Mapping[str, str] = {"local": "potstill.engines.local:LocalEngine"}


def engine(kind: str) -> Engine:
    """Return the engine that a recipe's ``engine`` names."""
    found: Engine = load(KINDS[kind])()
    return found
