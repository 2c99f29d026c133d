"""A recipe as YAML again, with all defaults filled in: what a run folder keeps."""

from __future__ import annotations

from typing import Any

import yaml

from .recipe import Recipe


class _Dumper(yaml.SafeDumper):
    """Lists of plain values on one line, everything else in blocks."""

    def represent_list_flat(self, items: list[Any]) -> yaml.Node:
        flat = all(isinstance(item, str | int | float) for item in items)
        return self.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flat)


_Dumper.add_representer(list, _Dumper.represent_list_flat)


def dump(recipe: Recipe) -> str:
    """Return YAML that loads to an equal recipe."""
    values = recipe.model_dump(mode="json", by_alias=True)
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
