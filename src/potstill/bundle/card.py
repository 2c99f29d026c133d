"""The model card: what it is, how good, from what, under which licenses, and how to load it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def model_card(facts: Mapping[str, Any]) -> str:
    """Return the card as Markdown with the front matter that model hubs read.

    ``facts``: name, task, decision, lines (of the requirement), quality, student, teacher, data, licenses, limits, command, loader.
    """
    licenses = facts["licenses"]
    front = [
        "---",
        f"license: {json.dumps(licenses.get('teacher weights', 'unknown'))}",
        "library_name: potstill",
        f"pipeline_tag: {facts['task']}",
        "tags: [distillation]",
        "---",
    ]
    parts = [
        "\n".join(front),
        f"# {facts['name']}\n\nA student distilled by potstill for {facts['task']}. {facts['summary']}",
        "## Use\n\n```\npip install 'potstill[serve]'\npotstill verify .\necho 'some text' | potstill predict .\n```\n\n"
        '```python\nfrom potstill.serving.predictor import Predictor\n\npredictor = Predictor.open(Path("."))\n'
        f"print(predictor.decide(predictor.predict([{{{', '.join(f'{json.dumps(field)}: {chr(34)}...{chr(34)}' for field in facts['fields'])}}}])))\n```",
        _section("Without potstill", facts.get("loader")),
        _table("How good", ("what", "value", "interval", "n"), facts["figures"]),
        _table("The requirement", ("line", "required", "value", "bounds", "n", "status"), facts["checks"]),
        _list("From what", facts["provenance"]),
        _list("Licenses", [f"{name}: {value}" for name, value in licenses.items()]),
        _list("Limits", facts["limits"]),
        f"## Made by\n\n```\n{facts['command']}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, text: str | None) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _list(title: str, lines: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _table(title: str, head: tuple[str, ...], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    lines = [head, tuple("---" for _ in head), *rows]
    return f"## {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)
