"""What is wanted: the recipe, one file a section, each choice a model of its own tagged by ``kind``.

Reads a YAML file, its places kept, and the ``--set`` of the command line; gives a frozen :class:`Recipe`, or all
problems at once. Stands on pydantic and pyyaml alone.
"""

from __future__ import annotations

from .dump import dump
from .load import load
from .recipe import Recipe

__all__ = ["Recipe", "dump", "load"]
