"""The recipe's JSON schema, for completion and checks in editors."""

from __future__ import annotations

from typing import Any

from .answers import KINDS
from .recipe import Recipe


def schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of the recipe as people write it: ``kind`` is required where there is a choice."""
    made = Recipe.model_json_schema(by_alias=True, mode="validation")
    for definition in made.get("$defs", {}).values():
        kind = definition.get("properties", {}).get("kind")
        if kind is not None:
            kind.pop("default", None)
            definition["required"] = ["kind", *definition.get("required", [])]
    _bare(made["$defs"]["Generation"]["properties"]["metrics"])
    rounds = made["properties"]["rounds"]
    made["properties"]["rounds"] = {
        "anyOf": [{"type": "integer", "minimum": 1}, {key: rounds[key] for key in rounds if key != "default"}],
        "default": rounds.get("default", 1), "description": "a mapping, or a bare number: the count",
    }  # fmt: skip
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "potstill recipe"}


def _bare(metrics: dict[str, Any]) -> None:
    """Let the bare name of a metric, whose options all have defaults, stand for it."""
    names = [name for name in KINDS if name != "callable"]
    metrics["items"] = {"anyOf": [{"enum": names}, metrics["items"]]}
